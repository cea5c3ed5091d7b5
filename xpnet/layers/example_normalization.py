"""Normalisation of each example by itself: the same in training and after, for any size of batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.checks import check_above_zero
from xpnet.initializers import constant
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Shape, check_positive

Axes = tuple[int, ...]


def standardize(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    """x̂ = (x - μ) r with the mean μ and r = 1 / sqrt(variance + eps) over the axes: x̂ and r."""
    xp = array_namespace(x)
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    return _scale_to_unit(centred, axes, eps)


def standardize_gradient(g: Array, x_hat: Array, inverse_std: Array, axes: Axes) -> Array:
    """dL/dx = r (g - mean g - x̂ mean(g x̂)) for g = dL/dx̂."""
    xp = array_namespace(g)
    return _scale_to_unit_gradient(g - xp.mean(g, axis=axes, keepdims=True), x_hat, inverse_std, axes)


def _scale_to_unit(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    """x̂ = x r with r = 1 / sqrt(mean x² + eps): x̂ and r."""
    xp = array_namespace(x)
    inverse = 1 / xp.sqrt(xp.mean(x * x, axis=axes, keepdims=True) + eps)
    return x * inverse, inverse


def _scale_to_unit_gradient(g: Array, x_hat: Array, inverse: Array, axes: Axes) -> Array:
    """dL/dx = r (g - x̂ mean(g x̂)) for g = dL/dx̂."""
    return inverse * (g - x_hat * array_namespace(g).mean(g * x_hat, axis=axes, keepdims=True))


@dataclass(frozen=True)
class _ExampleNorm(Layer):
    """A layer y = weight * x̂ + bias with x̂ made of one example's values alone; eps keeps its divisor above 0."""

    eps: float = 1e-5
    in_float32: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_above_zero(type(self).__name__, "eps", self.eps, "Try 1e-5.")

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape, channels = self.output_shape(input_shape), input_shape[-1]
        return Variables({"weight": constant(1.0, channels), "bias": constant(0.0, channels)}, {}, output_shape)

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[0]


@dataclass(frozen=True)
class LayerNorm(_ExampleNorm):
    r"""Layer normalisation: the features at each place to mean 0 and variance 1, then a learned scale and shift.

    Parameters
    ----------
    eps
        What keeps the divisor above 0.

    Raises
    ------
    InputError
        If eps is not above 0, or the number of features differs from that at init.

    Notes
    -----
    With μ and σ² the mean and variance of x over the last axis:

    .. math::

        \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \mathrm{eps}}}, \quad y = \mathrm{weight} \cdot \hat x + \mathrm{bias}

    Backward, with g = dL/dy, ĝ = weight * g, sums over all axes but the last and means over the last:

    .. math::

        d\mathrm{bias} = \sum g, \quad d\mathrm{weight} = \sum g \hat x, \quad
        dx = \frac{1}{\sqrt{\sigma^2 + \mathrm{eps}}}
        (\hat g - \mathrm{mean}(\hat g) - \hat x \cdot \mathrm{mean}(\hat g \hat x))

    Shapes: x (..., C) -> y (..., C).  Params: weight (C,), bias (C,).

    References
    ----------
    Ba, Kiros and Hinton, arXiv:1607.06450.
    """

    prefix: ClassVar[str] = "layer_norm"

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        x_hat, inverse_std = standardize(x, (-1,), self.eps)
        y = x_hat * params["weight"] + params["bias"]
        return Forward(y, {"x_hat": x_hat, "inverse_std": inverse_std} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        x_hat = cache["x_hat"]
        grads = {"weight": kernels.channel_sum(dy * x_hat), "bias": kernels.channel_sum(dy)}
        if not need_dx:
            return Backward(None, grads)
        return Backward(standardize_gradient(dy * params["weight"], x_hat, cache["inverse_std"], (-1,)), grads)


@dataclass(frozen=True)
class GroupNorm(_ExampleNorm):
    r"""Group normalisation: groups of channels of an image to mean 0 and variance 1, then a learned scale and shift.

    As many groups as channels make it InstanceNorm, one group the layer normalisation of whole images.

    Parameters
    ----------
    groups
        Into how many equal parts the channels are cut.
    eps
        What keeps the divisor above 0.

    Raises
    ------
    InputError
        If a setting is out of range, the channels cannot be cut into the groups, or they differ from those at init.

    Notes
    -----
    With μ and σ² the mean and variance of x over a group's channels and all places of an example:

    .. math::

        \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \mathrm{eps}}}, \quad y = \mathrm{weight} \cdot \hat x + \mathrm{bias}

    Backward, with g = dL/dy, ĝ = weight * g, sums over all axes but the last and means as those of x:

    .. math::

        d\mathrm{bias} = \sum g, \quad d\mathrm{weight} = \sum g \hat x, \quad
        dx = \frac{1}{\sqrt{\sigma^2 + \mathrm{eps}}}
        (\hat g - \mathrm{mean}(\hat g) - \hat x \cdot \mathrm{mean}(\hat g \hat x))

    Shapes: x (N, ..., C) -> y (N, ..., C).  Params: weight (C,), bias (C,).

    References
    ----------
    Wu and He, ECCV 2018; InstanceNorm: Ulyanov, Vedaldi and Lempitsky, arXiv:1607.08022.
    """

    eps: float = field(default=1e-5, kw_only=True)  # behind groups: GroupNorm(4) has four
    groups: int = 1
    prefix: ClassVar[str] = "group_norm"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("GroupNorm", "groups", self.groups)

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_groups(input_shape[-1], self.groups)
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        x_hat, inverse_std = standardize(self._grouped(x), (1, 3), self.eps)
        y = array_namespace(x).reshape(x_hat, x.shape) * params["weight"] + params["bias"]
        return Forward(y, {"x_hat": x_hat, "inverse_std": inverse_std} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        xp, x_hat = array_namespace(dy), cache["x_hat"]
        grads = {"weight": kernels.channel_sum(dy * xp.reshape(x_hat, dy.shape)), "bias": kernels.channel_sum(dy)}
        if not need_dx:
            return Backward(None, grads)
        g = self._grouped(dy * params["weight"])
        return Backward(xp.reshape(standardize_gradient(g, x_hat, cache["inverse_std"], (1, 3)), dy.shape), grads)

    def _grouped(self, x: Array) -> Array:
        """Examples, places, groups, channels of a group."""
        return array_namespace(x).reshape(x, (x.shape[0], -1, self.groups, x.shape[-1] // self.groups))


@dataclass(frozen=True)
class RMSNorm(_ExampleNorm):
    r"""The features at each place to a mean square of 1, then a learned scale.

    Parameters
    ----------
    eps
        What keeps the divisor above 0.

    Raises
    ------
    InputError
        If eps is not above 0, or the number of features differs from that at init.

    Notes
    -----
    With the mean over the last axis:

    .. math:: \hat x = \frac{x}{\sqrt{\mathrm{mean}(x^2) + \mathrm{eps}}}, \quad y = \mathrm{weight} \cdot \hat x

    Backward, with g = dL/dy, ĝ = weight * g, and the sum over all axes but the last:

    .. math::

        d\mathrm{weight} = \sum g \hat x, \quad
        dx = \frac{\hat g - \hat x \cdot \mathrm{mean}(\hat g \hat x)}{\sqrt{\mathrm{mean}(x^2) + \mathrm{eps}}}

    Shapes: x (..., C) -> y (..., C).  Params: weight (C,).

    References
    ----------
    Zhang and Sennrich, NeurIPS 2019.
    """

    prefix: ClassVar[str] = "rms_norm"

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        return Variables({"weight": constant(1.0, input_shape[-1])}, {}, self.output_shape(input_shape))

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        x_hat, inverse = _scale_to_unit(x, (-1,), self.eps)
        return Forward(x_hat * params["weight"], {"x_hat": x_hat, "inverse": inverse} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        x_hat = cache["x_hat"]
        grads = {"weight": kernels.channel_sum(dy * x_hat)}
        if not need_dx:
            return Backward(None, grads)
        return Backward(_scale_to_unit_gradient(dy * params["weight"], x_hat, cache["inverse"], (-1,)), grads)
