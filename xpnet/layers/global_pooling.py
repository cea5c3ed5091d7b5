"""Pooling over whole images, or over as many parts of them as are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.kernels.windows import join, narrow, pad, sum_arrays
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, shape_holder
from xpnet.shapes import Pair, Shape, as_pair


@dataclass(frozen=True)
class _GlobalAvgPool(Layer):
    """Mean of each channel over all places, whatever axes these have."""

    prefix: ClassVar[str] = "global_pool"

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = array_namespace(x).mean(x, axis=tuple(range(1, x.ndim - 1)))
        return Forward(y, {"x_shape": shape_holder(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        xp, batch, (*sizes, channels) = array_namespace(dy), dy.shape[0], cache["x_shape"].shape[1:]
        share = xp.reshape(dy / math.prod(sizes), (batch, *(1,) * len(sizes), channels))
        return Backward(xp.broadcast_to(share, (batch, *sizes, channels)), {})


@dataclass(frozen=True)
class GlobalAvgPool2D(_GlobalAvgPool):
    r"""Mean of each channel over the whole image.

    Raises
    ------
    InputError
        If the input is not a non-empty batch of floating point images.

    Notes
    -----
    .. math:: y_{nc} = \frac{1}{HW} \sum_{i,j} x_{nijc}

    Backward, with g = dL/dy:

    .. math:: dx_{nijc} = \frac{g_{nc}}{HW}

    Shapes: x (N, H, W, C) -> y (N, C).

    References
    ----------
    Lin, Chen and Yan, ICLR 2014, section 3.2.
    """

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.check_images(input_shape)[2],)


@dataclass(frozen=True)
class GlobalAvgPool1D(_GlobalAvgPool):
    r"""Mean of each channel over the whole sequence.

    Raises
    ------
    InputError
        If the input is not a non-empty batch of sequences.

    Notes
    -----
    .. math:: y_{nc} = \frac{1}{T} \sum_t x_{ntc}

    Backward, with g = dL/dy:

    .. math:: dx_{ntc} = \frac{g_{nc}}{T}

    Shapes: x (N, T, C) -> y (N, C).

    References
    ----------
    Lin, Chen and Yan, ICLR 2014, section 3.2.
    """

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.check_sequences(input_shape)[1],)


@dataclass(frozen=True)
class GlobalMaxPool2D(Layer):
    r"""Maximum of each channel over the whole image.

    Raises
    ------
    InputError
        If the input is not a non-empty batch of floating point images.

    Notes
    -----
    .. math:: y_{nc} = \max_{i,j} x_{nijc}

    Backward: dL/dy goes to the maximum, the first in row-major order among equals.

    Shapes: x (N, H, W, C) -> y (N, C).

    References
    ----------
    Oquab et al., CVPR 2015, section 3.
    """

    prefix: ClassVar[str] = "global_pool"

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.check_images(input_shape)[2],)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        xp = array_namespace(x)
        pixels = xp.reshape(x, (x.shape[0], -1, x.shape[3]))
        y = xp.max(pixels, axis=1)
        if not train:
            return Forward(y, None, state)
        return Forward(y, {"winner": xp.argmax(pixels, axis=1, keepdims=True), "x_shape": shape_holder(x)}, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        xp, winner, (height, width, channels) = array_namespace(dy), cache["winner"], cache["x_shape"].shape[1:]
        places = xp.arange(height * width, dtype=winner.dtype, device=device(winner))
        won = xp.astype(winner == places[:, None], dy.dtype)
        return Backward(xp.reshape(won * dy[:, None, ...], (dy.shape[0], height, width, channels)), {})


@dataclass(frozen=True)
class AdaptiveAvgPool2D(Layer):
    r"""Means over as many parts of images (N, H, W, C) as the output has pixels, whatever the size of the images.

    Parameters
    ----------
    output_size
        H' and W': a number or a pair. Parts overlap where H is not a multiple of H'.

    Raises
    ------
    InputError
        If output_size is out of range, or the input is not a non-empty batch of floating point images.

    Notes
    -----
    With the part P(i) of H, and Q(j) of W likewise:

    .. math::

        y_{nijc} = \frac{1}{|P(i)| \, |Q(j)|} \sum_{k \in P(i), \, l \in Q(j)} x_{nklc}, \quad
        P(i) = \{ k : \lfloor iH/H' \rfloor \le k < \lceil (i+1)H/H' \rceil \}

    Backward: each dL/dy is shared out equally over its part and adds up where parts overlap.

    Shapes: x (N, H, W, C) -> y (N, H', W', C).

    References
    ----------
    PyTorch's ``AdaptiveAvgPool2d``; He et al., "Spatial pyramid pooling", ECCV 2014.
    """

    output_size: int | Pair
    prefix: ClassVar[str] = "adaptive_pool"

    def __post_init__(self) -> None:
        _ = self.size  # checks it

    @cached_property
    def size(self) -> Pair:
        """The output's height and width."""
        return as_pair("AdaptiveAvgPool2D", "output_size", self.output_size, minimum=1)

    def output_shape(self, input_shape: Shape) -> Shape:
        return *self.size, self.check_images(input_shape)[2]

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        xp, y = array_namespace(x), x
        for axis, count in zip((1, 2), self.size, strict=True):
            parts = (narrow(y, axis, *part) for part in parts_of(y.shape[axis], count))
            y = join([xp.mean(part, axis=axis, keepdims=True) for part in parts], axis)
        return Forward(y, {"x_shape": shape_holder(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        for axis, count in zip((2, 1), reversed(self.size), strict=True):
            length = cache["x_shape"].shape[axis]
            shares = [
                pad(
                    join([narrow(dy, axis, i, i + 1) / (stop - start)] * (stop - start), axis),
                    axis,
                    start,
                    length - stop,
                )
                for i, (start, stop) in enumerate(parts_of(length, count))
            ]
            dy = sum_arrays(shares)
        return Backward(dy, {})


def parts_of(length: int, count: int) -> list[Pair]:
    """Where each part of an axis begins and ends."""
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]
