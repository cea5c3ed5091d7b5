"""Larger images from smaller ones, without parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from xpnet.backend import Array
from xpnet.checks import pick
from xpnet.kernels.windows import interleave, join, narrow, pad, sum_arrays
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.shapes import Pair, Shape, as_pair


@dataclass(frozen=True)
class Upsample2D(Layer):
    r"""Images (N, H, W, C) enlarged by integer factors, along one axis after the other.

    Parameters
    ----------
    scale
        The factor s of both axes, or of each.
    mode
        "nearest" repeats pixels; "bilinear" goes straight from the middle of one to that of the next, PyTorch's rule
        with ``align_corners=False``: pixels are squares, and both images cover the same area.

    Raises
    ------
    InputError
        If a setting is out of range, or the input is not a batch of images.

    Notes
    -----
    Along an axis, output si + r lies at p of the input, with the part f of a pixel behind floor(p) and indices held
    within x:

    .. math:: \text{nearest:} \quad y_{si+r} = x_i

    .. math::

        \text{bilinear:} \quad y_{si+r} = (1 - f) \, x_{\lfloor p \rfloor} + f \, x_{\lfloor p \rfloor + 1}, \quad
        p = i + \frac{r + 1/2}{s} - \frac{1}{2}, \quad f = p - \lfloor p \rfloor

    Backward: each x takes the sum of dL/dy over the outputs that it was given to, times its weight there.

    Shapes: x (N, H, W, C) -> y (N, s*H, s*W, C).

    References
    ----------
    Keys, IEEE Transactions on Acoustics, Speech and Signal Processing 29(6), 1981 (interpolation).
    """

    scale: int | Pair = 2
    mode: Literal["nearest", "bilinear"] = "nearest"
    prefix: ClassVar[str] = "upsample"

    def __post_init__(self) -> None:
        pick("Upsample2D, mode", dict.fromkeys(("nearest", "bilinear")), self.mode)
        _ = self.factors  # checks the scale

    @cached_property
    def factors(self) -> Pair:
        """The scale as a pair."""
        return as_pair("Upsample2D", "scale", self.scale, minimum=1)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        return self.factors[0] * height, self.factors[1] * width, channels

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        for axis, factor in zip((1, 2), self.factors, strict=True):
            x = interleave([_blend(x, axis, offset) for offset in self._offsets(factor)], axis)
        return Forward(x, {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        for axis, factor in zip((2, 1), reversed(self.factors), strict=True):
            phases = [narrow(dy, axis, first, dy.shape[axis], factor) for first in range(factor)]
            offsets = self._offsets(factor)
            dy = sum_arrays([_blend_gradient(*part, axis=axis) for part in zip(phases, offsets, strict=True)])
        return Backward(dy, {})

    def _offsets(self, factor: int) -> list[float]:
        """How far each phase of the outputs lies from the input whose square it is in: -1/2 to 1/2."""
        return [(phase + 0.5) / factor - 0.5 if self.mode == "bilinear" else 0.0 for phase in range(factor)]


def _blend(x: Array, axis: int, offset: float) -> Array:
    """(1 - |offset|) x + |offset| times the neighbour on the offset's side, which at the end is x itself."""
    if offset == 0:
        return x
    last = x.shape[axis]
    if offset < 0:
        neighbour = join([narrow(x, axis, 0, 1), narrow(x, axis, 0, last - 1)], axis)
    else:
        neighbour = join([narrow(x, axis, 1, last), narrow(x, axis, last - 1, last)], axis)
    return (1 - abs(offset)) * x + abs(offset) * neighbour


def _blend_gradient(dy: Array, offset: float, axis: int) -> Array:
    """Adjoint of ``_blend``."""
    if offset == 0:
        return dy
    last = dy.shape[axis]
    if offset < 0:
        inner = pad(narrow(dy, axis, 1, last), axis, 0, 1)
        end = pad(narrow(dy, axis, 0, 1), axis, 0, last - 1)
    else:
        inner = pad(narrow(dy, axis, 0, last - 1), axis, 1, 0)
        end = pad(narrow(dy, axis, last - 1, last), axis, last - 1, 0)
    return (1 - abs(offset)) * dy + abs(offset) * (inner + end)
