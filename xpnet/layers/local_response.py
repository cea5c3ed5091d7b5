"""Normalisation by neighbouring channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.checks import check_above_zero, check_at_least_zero
from xpnet.errors import InputError
from xpnet.kernels.windows import pad, sum_arrays, taps
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.shapes import Shape, check_positive


@dataclass(frozen=True)
class LocalResponseNorm(Layer):
    r"""Each value is damped by those of neighbouring channels at the same place.

    The sum is divided by the size, as in PyTorch; the paper's AlexNet, which does not, is
    ``LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)``.

    Parameters
    ----------
    size
        How many channels are neighbours, an odd number.
    alpha, beta, k
        α, β and k.

    Raises
    ------
    InputError
        If the size is not odd, or another setting out of range.

    Notes
    -----
    .. math::

        y_c = x_c s_c^{-\beta}, \quad s_c = k + \frac{\alpha}{\mathrm{size}} \sum_{|j-c| \le (\mathrm{size}-1)/2} x_j^2

    Backward, with g = dL/dy and the sum over the same neighbours:

    .. math:: dx_c = g_c s_c^{-\beta} - \frac{2 \alpha \beta}{\mathrm{size}} \, x_c \sum_j \frac{g_j y_j}{s_j}

    Shapes: x (..., C) -> y (..., C).

    References
    ----------
    Krizhevsky, Sutskever and Hinton, NIPS 2012, section 3.3.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    prefix: ClassVar[str] = "lrn"
    in_float32: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if check_positive("LocalResponseNorm", "size", self.size) % 2 == 0:
            raise InputError(f"LocalResponseNorm: expected an odd size, got {self.size}. Add 1.")
        check_at_least_zero("LocalResponseNorm", "alpha", self.alpha)
        check_above_zero("LocalResponseNorm", "beta", self.beta, "Try 0.75.")
        check_above_zero("LocalResponseNorm", "k", self.k, "Try 1.")

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        s = self.k + self.alpha / self.size * self._neighbours(x * x)
        return Forward(x * s**-self.beta, {"x": x, "s": s} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        x, s = cache["x"], cache["s"]
        damped = dy * s**-self.beta
        neighbours = self._neighbours(damped * x / s)
        return Backward(damped - 2 * self.alpha * self.beta / self.size * x * neighbours, {})

    def _neighbours(self, x: Array) -> Array:
        """For each channel, the sum over the window around it."""
        axis, reach = x.ndim - 1, self.size // 2
        return sum_arrays(taps(pad(x, axis, reach, reach), axis, self.size, 1, 1, x.shape[axis]))
