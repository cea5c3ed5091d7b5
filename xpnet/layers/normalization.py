"""Layers that shift and scale channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import device

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.checks import check_above_zero, check_bool, is_finite
from xpnet.errors import InputError, short
from xpnet.initializers import constant
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.parallel import ALONE, Group
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Normalize(Layer):
    r"""Fixed shift and scale of each input channel, learned from the training images and kept with the network.

    Being a layer, it travels with the weights: a trained network takes images as they come from the data set. Until the
    trainer (or ``Network.set_normalization``) sets it, mean is 0 and scale is 1.

    Raises
    ------
    InputError
        If the input has another number of channels, library, dtype or device than mean and scale.

    Notes
    -----
    .. math:: y = (x - \mathrm{mean}) \cdot \mathrm{scale}

    Backward, with g = dL/dy:

    .. math:: dx = g \cdot \mathrm{scale}

    Shapes: x (..., C) -> y (..., C).  State: mean (C,), scale (C,).

    References
    ----------
    LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, section 4.3.
    """

    prefix: ClassVar[str] = "normalize"
    in_float32: ClassVar[bool] = True

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        channels = input_shape[-1]
        return Variables(
            {}, {"mean": constant(0.0, channels), "scale": constant(1.0, channels)}, self.output_shape(input_shape)
        )

    def input_features(self, params: Params, state: State) -> int:
        return state["mean"].shape[0]

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = kernels.normalize(x, state["mean"], state["scale"])
        return Forward(y, {"scale": state["scale"]} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(dy * cache["scale"] if need_dx else None, {})


@dataclass(frozen=True)
class BatchNorm(Layer):
    r"""Batch normalisation: each channel to mean 0 and variance 1 over the batch, then a learned scale and shift.

    Parameters
    ----------
    momentum
        By how much the running statistics follow those of a batch (with the unbiased variance, as in PyTorch) in
        training.
    eps
        What keeps the divisor above 0.
    frozen
        Whether the running statistics take the place of μ and σ² while training too, as they always do in prediction.
        They are then constants, and the two means in dx vanish.

    Raises
    ------
    InputError
        If a setting is out of range, the number of channels differs from that at init, or a batch to train on has one
        value in each channel, whose variance is 0.

    Notes
    -----
    With μ and σ² the mean and variance of x over all axes but the last:

    .. math::

        \hat x = \frac{x - \mu}{\sqrt{\sigma^2 + \mathrm{eps}}}, \quad y = \mathrm{weight} \cdot \hat x + \mathrm{bias}

    .. math:: \mathrm{running} = (1 - \mathrm{momentum}) \cdot \mathrm{running} + \mathrm{momentum} \cdot \mathrm{batch}

    Backward, with g = dL/dy and means over the same axes:

    .. math::

        d\mathrm{bias} = \sum g, \quad d\mathrm{weight} = \sum g \hat x, \quad
        dx = \frac{\mathrm{weight}}{\sqrt{\sigma^2 + \mathrm{eps}}}
        (g - \mathrm{mean}(g) - \hat x \cdot \mathrm{mean}(g \hat x))

    Shapes: x (..., C) -> y (..., C).  Params: weight (C,), bias (C,).  State: running_mean (C,), running_var (C,).

    References
    ----------
    Ioffe and Szegedy, ICML 2015, algorithm 1 and section 3.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    frozen: bool = False
    prefix: ClassVar[str] = "bn"
    in_float32: ClassVar[bool] = True
    relu: ClassVar[bool] = False  # whether a ReLU after it is computed with it; set in fusion.py only

    def __post_init__(self) -> None:
        if not (is_finite(self.momentum) and 0 <= self.momentum <= 1):
            raise InputError(f"BatchNorm: expected a momentum in [0, 1], got {short(self.momentum)}. Try 0.1.")
        check_above_zero("BatchNorm", "eps", self.eps, "Try 1e-5.")
        check_bool("BatchNorm", "frozen", self.frozen)

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        channels = input_shape[-1]
        params = {"weight": constant(1.0, channels), "bias": constant(0.0, channels)}
        state = {"running_mean": constant(0.0, channels), "running_var": constant(1.0, channels)}
        return Variables(params, state, self.output_shape(input_shape))

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[0]

    def check_input(
        self, params: Params, state: State, shape: Shape, like: Array, *, train: bool = False, key: Array | None = None
    ) -> None:
        super().check_input(params, state, shape, like, train=train, key=key)
        if train and not self.frozen and math.prod(shape[:-1]) < 2:
            raise self.error(
                "expected at least 2 values in each channel to train on, got 1. Use a larger batch, or frozen=True."
            )

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        if train and not self.frozen:
            y, saved, state = kernels.batch_norm(by_batch, x, params, state, self.momentum, self.eps, relu=self.relu)
        else:
            y, saved = kernels.batch_norm_by_running_statistics(
                by_running_statistics, x, params, state, self.eps, relu=self.relu
            )
        return Forward(y, {"saved": saved} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        dx, grads = kernels.batch_norm_gradients(
            gradients, dy, params, cache["saved"], constant=self.frozen, need_dx=need_dx, relu=self.relu
        )
        return Backward(dx, grads)


@dataclass(frozen=True)
class SynchronizedBatchNorm(BatchNorm):
    """Batch normalisation over a batch of which several processes have some examples each: for training's step.

    With S(v) the sum of v over all examples of all processes, which is one all-reduce for all values together:

        n = S(1);  d = x - running_mean;  a = S(d) / n;  μ = running_mean + a;  σ² = S(d²) / n - a²

    then as ``BatchNorm``. Distances from the running mean, which all processes have, are small, so that the difference
    of squares loses no digits.

    Backward, with g = dL/dy of the whole batch's loss L:  dbias = sum g and dweight = sum g * x̂ over the own examples,
    which become those of the batch where the gradients of all processes are added;
    dx = weight / sqrt(σ² + eps) * (g - S(g)/n - x̂ * S(g * x̂)/n).

    Source: as ``BatchNorm``, over the whole batch.
    """

    group: Group = ALONE

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        xp, channels = array_namespace(x), x.shape[-1]
        distance = x - state["running_mean"]
        sums = [kernels.channel_sum(distance), kernels.channel_sum(distance * distance)]
        own_count = xp.full((1,), math.prod(x.shape[:-1]), dtype=x.dtype, device=device(x))
        total = self.group.all_reduce(xp.concat([*sums, own_count]))
        count = total[2 * channels :]
        shift = total[:channels] / count
        variance = xp.maximum(total[channels : 2 * channels] / count - shift * shift, xp.zeros_like(shift))
        running = {
            "running_mean": state["running_mean"] + self.momentum * shift,
            "running_var": (1 - self.momentum) * state["running_var"]
            + self.momentum * (count / (count - 1)) * variance,
        }
        y, cache = _scaled(distance - shift, variance, params, self.eps)
        return Forward(y, {**cache, "count": count}, running)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        xp, channels, x_hat = array_namespace(dy), dy.shape[-1], cache["batch"]
        grads = {"weight": kernels.channel_sum(dy * x_hat), "bias": kernels.channel_sum(dy)}
        if not need_dx:
            return Backward(None, grads)
        means = self.group.all_reduce(xp.concat([grads["weight"], grads["bias"]])) / cache["count"]
        dy = dy - means[channels:] - x_hat * means[:channels]
        return Backward(dy * (params["weight"] * cache["inverse_std"]), grads)


# The formulas of BatchNorm. A kernel for one library may take their place (xpnet/kernels).


def by_batch(x: Array, params: Params, state: State, momentum: float, eps: float) -> tuple[Array, Cache, State]:
    """Normalise x by its own mean and variance: y, what the gradients need, and new running statistics."""
    count = math.prod(x.shape[:-1])
    mean = kernels.channel_sum(x) / count
    centred = x - mean
    variance = kernels.channel_sum(centred * centred) / count
    running = {
        "running_mean": (1 - momentum) * state["running_mean"] + momentum * mean,
        "running_var": (1 - momentum) * state["running_var"] + momentum * count / (count - 1) * variance,
    }
    return *_scaled(centred, variance, params, eps), running


def by_running_statistics(x: Array, params: Params, state: State, eps: float) -> tuple[Array, Cache]:
    """Normalise x by the running mean and variance: y, and what the gradients need."""
    return _scaled(x - state["running_mean"], state["running_var"], params, eps)


def _scaled(centred: Array, variance: Array, params: Params, eps: float) -> tuple[Array, Cache]:
    inverse_std = 1 / array_namespace(centred).sqrt(variance + eps)
    x_hat = centred * inverse_std
    return x_hat * params["weight"] + params["bias"], {"batch": x_hat, "inverse_std": inverse_std}


def gradients(dy: Array, params: Params, cache: Cache, *, constant: bool, need_dx: bool) -> tuple[Array | None, Params]:
    """Gradients with respect to x (None unless needed) and the parameters; ``constant``: the statistics were given."""
    x_hat, count = cache["batch"], math.prod(dy.shape[:-1])
    grads = {"weight": kernels.channel_sum(dy * x_hat), "bias": kernels.channel_sum(dy)}
    if not need_dx:
        return None, grads
    if not constant:
        dy = dy - grads["bias"] / count - x_hat * (grads["weight"] / count)
    return dy * (params["weight"] * cache["inverse_std"]), grads
