"""Rectifiers: x above 0, and below it 0, a slope or a curve. All work element by element."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import device

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.checks import check_above_zero, is_finite
from xpnet.errors import InputError, short
from xpnet.initializers import constant
from xpnet.layers.activations import ActivationLayer
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Shape


@dataclass(frozen=True)
class ReLU(ActivationLayer):
    r"""Rectified linear unit.

    Notes
    -----
    .. math:: y = \max(x, 0)

    Backward, with g = dL/dy; the subgradient at 0 is 0, as in PyTorch:

    .. math:: dx = g \text{ where } y > 0, \text{ else } 0

    Shapes: any.

    References
    ----------
    Nair and Hinton, ICML 2010.
    """

    prefix: ClassVar[str] = "relu"

    def apply(self, x: Array) -> Array:
        return kernels.rectify(x)

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return kernels.rectify_gradient(dy, y)


@dataclass(frozen=True)
class ReLU6(ActivationLayer):
    r"""Rectified linear unit that is at most 6.

    Notes
    -----
    .. math:: y = \min(\max(x, 0), 6)

    Backward, with g = dL/dy:

    .. math:: dx = g \text{ where } 0 < y < 6, \text{ else } 0

    Shapes: any.

    References
    ----------
    Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010, section 3.
    """

    prefix: ClassVar[str] = "relu6"

    def apply(self, x: Array) -> Array:
        xp = array_namespace(x)
        return xp.minimum(kernels.rectify(x), xp.full(x.shape[-1:], 6, dtype=x.dtype, device=device(x)))

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return dy * array_namespace(dy).astype((y > 0) & (y < 6), dy.dtype)


@dataclass(frozen=True)
class LeakyReLU(ActivationLayer):
    r"""Rectified linear unit that lets a little through below 0.

    Parameters
    ----------
    slope
        What inputs below 0 are multiplied by.

    Raises
    ------
    InputError
        Unless 0 < slope < 1.

    Notes
    -----
    .. math:: y = \max(x, 0) + \mathrm{slope} \cdot \min(x, 0)

    Backward, with g = dL/dy:

    .. math:: dx = g \text{ where } y > 0, \text{ else } \mathrm{slope} \cdot g

    Shapes: any.

    References
    ----------
    Maas, Hannun and Ng, ICML workshop 2013.
    """

    slope: float = 0.01
    prefix: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        if not (is_finite(self.slope) and 0 < self.slope < 1):
            raise InputError(f"LeakyReLU: expected a slope above 0 and below 1, got {short(self.slope)}. Try 0.01.")

    def apply(self, x: Array) -> Array:
        return array_namespace(x).maximum(x, self.slope * x)

    def input_gradient(self, y: Array, dy: Array) -> Array:
        active = array_namespace(dy).astype(y > 0, dy.dtype)
        return dy * (self.slope + (1 - self.slope) * active)


@dataclass(frozen=True)
class PReLU(Layer):
    r"""Rectified linear unit with a slope below 0 that each channel learns.

    Parameters
    ----------
    slope
        Where the weight begins.

    Raises
    ------
    InputError
        Unless 0 <= slope < 1.

    Notes
    -----
    .. math:: y = \max(x, 0) + \mathrm{weight} \cdot \min(x, 0)

    Backward, with g = dL/dy and the sum over all axes but the last:

    .. math::

        dx = g \text{ where } x > 0, \text{ else } \mathrm{weight} \cdot g, \quad
        d\mathrm{weight} = \sum g \cdot \min(x, 0)

    Shapes: x (..., C) -> y (..., C).  Params: weight (C,).

    References
    ----------
    He et al., "Delving deep into rectifiers", ICCV 2015, section 2.1.
    """

    slope: float = 0.25
    prefix: ClassVar[str] = "prelu"

    def __post_init__(self) -> None:
        if not (is_finite(self.slope) and 0 <= self.slope < 1):
            raise InputError(f"PReLU: expected a slope of at least 0 and below 1, got {short(self.slope)}. Try 0.25.")

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        return Variables({"weight": constant(self.slope, input_shape[-1])}, {}, self.output_shape(input_shape))

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[0]

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = kernels.rectify(x) - params["weight"] * kernels.rectify(-x)
        return Forward(y, {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        below = array_namespace(dy).astype(cache["x"] <= 0, dy.dtype) * dy
        grads = {"weight": kernels.channel_sum(below * cache["x"])}
        return Backward(dy - below + params["weight"] * below if need_dx else None, grads)


@dataclass(frozen=True)
class ELU(ActivationLayer):
    r"""Exponential linear unit: as ReLU above 0, and below it smoothly down to -alpha.

    Parameters
    ----------
    alpha
        α.

    Raises
    ------
    InputError
        Unless alpha is above 0 and finite.

    Notes
    -----
    .. math:: y = x \text{ where } x > 0, \text{ else } \alpha (e^x - 1)

    Backward, with g = dL/dy:

    .. math:: dx = g \text{ where } y > 0, \text{ else } (y + \alpha) g

    Shapes: any.

    References
    ----------
    Clevert, Unterthiner and Hochreiter, ICLR 2016.
    """

    alpha: float = 1.0
    prefix: ClassVar[str] = "elu"

    def __post_init__(self) -> None:
        check_above_zero("ELU", "alpha", self.alpha, "Try 1.")

    def apply(self, x: Array) -> Array:
        return kernels.rectify(x) + self.alpha * array_namespace(x).expm1(-kernels.rectify(-x))

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return dy * array_namespace(dy).where(y > 0, 1.0, y + self.alpha)


@dataclass(frozen=True)
class SELU(ActivationLayer):
    r"""Exponential linear unit that draws signals to mean 0 and variance 1, where weights begin with std sqrt(1/n_in).

    Notes
    -----
    .. math::

        y = \lambda x \text{ where } x > 0, \text{ else } \lambda \alpha (e^x - 1), \quad \alpha = 1.67326\dots, \quad
        \lambda = 1.05070\dots

    Backward, with g = dL/dy:

    .. math:: dx = \lambda g \text{ where } y > 0, \text{ else } (y + \lambda \alpha) g

    Shapes: any.

    References
    ----------
    Klambauer et al., NIPS 2017, equations 2 and 14; ``lecun_normal`` draws such weights.
    """

    prefix: ClassVar[str] = "selu"
    alpha: ClassVar[float] = 1.6732632423543772
    scale: ClassVar[float] = 1.0507009873554805

    def apply(self, x: Array) -> Array:
        below = array_namespace(x).expm1(-kernels.rectify(-x))
        return self.scale * kernels.rectify(x) + self.scale * self.alpha * below

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return dy * array_namespace(dy).where(y > 0, self.scale, y + self.scale * self.alpha)


@dataclass(frozen=True)
class Softplus(ActivationLayer):
    r"""Smooth rectifier.

    Notes
    -----
    .. math:: y = \log(1 + e^x) = \max(x, 0) + \log(1 + e^{-|x|})

    The second form is the one computed: it overflows for no x.

    Backward, with g = dL/dy:

    .. math:: dx = g \, \sigma(x) = g \, (1 - e^{-y})

    Shapes: any.

    References
    ----------
    Dugas et al., NIPS 2000.
    """

    prefix: ClassVar[str] = "softplus"

    def apply(self, x: Array) -> Array:
        xp = array_namespace(x)
        return kernels.rectify(x) + xp.log1p(xp.exp(-xp.abs(x)))

    def input_gradient(self, y: Array, dy: Array) -> Array:
        return -dy * array_namespace(dy).expm1(-y)
