"""Layers that shift and scale channels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.checks import check_above_zero
from xpnet.errors import InputError
from xpnet.initializers import constant
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Normalize(Layer):
    """Fixed shift and scale of each input channel, learned from the training images and kept with the network.

        y = (x - mean) * scale

    Being a layer, it travels with the weights: a trained network takes images as they come from the data set. Until the
    trainer (or ``Network.set_normalization``) sets it, mean is 0 and scale is 1.

    Backward, with g = dL/dy:  dx = g * scale.

    Shapes: x (..., C) -> y (..., C).  State: mean (C,), scale (C,).

    Raises InputError if the input has another number of channels, library, dtype or device than mean and scale.
    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998, section 4.3.
    """

    prefix: ClassVar[str] = "normalize"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        channels = input_shape[-1]
        return Variables(
            {}, {"mean": constant(0.0, channels), "scale": constant(1.0, channels)}, self.output_shape(input_shape)
        )

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        self.check_channels(x, expected=state["mean"].shape[0])
        self.check_batch(x, state["mean"])
        y = (x - state["mean"]) * state["scale"]
        return Forward(y, {"scale": state["scale"]} if train else None, state)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        scale = self.require_cache(cache)["scale"]
        self.check_gradient(dy, (*dy.shape[:-1], scale.shape[0]), like=scale)
        return Backward(dy * scale if need_dx else None, {})


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation: each channel to mean 0 and variance 1 over the batch, then a learned scale and shift.

        μ = mean of x over all axes but the last;  σ² = mean of (x - μ)²
        x̂ = (x - μ) / sqrt(σ² + eps);  y = weight * x̂ + bias

    Backward, with g = dL/dy and means over the same axes:  dbias = sum g;  dweight = sum g * x̂;
    dx = weight / sqrt(σ² + eps) * (g - mean g - x̂ * mean(g * x̂)).

    While training, the running statistics follow: running = (1 - momentum) * running + momentum * batch, with the
    unbiased variance, as in PyTorch. Outside of training, and always if ``frozen``, they take the place of μ and σ²,
    which are then constants: dx = weight / sqrt(σ² + eps) * g.

    Shapes: x (..., C) -> y (..., C).  Params: weight (C,), bias (C,).  State: running_mean (C,), running_var (C,).

    Raises InputError if a setting is out of range, the number of channels differs from that at init, or a batch to
    train on has one value in each channel, whose variance is 0.
    Source: Ioffe and Szegedy, ICML 2015, algorithm 1 and section 3.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    frozen: bool = False
    prefix: ClassVar[str] = "bn"

    def __post_init__(self) -> None:
        if not 0 <= self.momentum <= 1:
            raise InputError(f"BatchNorm: expected a momentum in [0, 1], got {self.momentum}. Try 0.1.")
        check_above_zero("BatchNorm", "eps", self.eps, "Try 1e-5.")

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        channels = input_shape[-1]
        params = {"weight": constant(1.0, channels), "bias": constant(0.0, channels)}
        state = {"running_mean": constant(0.0, channels), "running_var": constant(1.0, channels)}
        return Variables(params, state, self.output_shape(input_shape))

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return self.normalized(params, state, x, train=train)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        return self.pull_back(params, cache, dy, need_dx=need_dx)

    def normalized(self, params: Params, state: State, x: Array, *, train: bool, relu: bool = False) -> Forward:
        """``forward``, with ``relu`` that of the layer and a ReLU after it."""
        self.check_channels(x, expected=params["weight"].shape[0])
        self.check_batch(x, params["weight"])
        if self.frozen or not train:
            y, saved = kernels.batch_norm_by_running_statistics(x, params, state, self.eps, relu=relu)
        else:
            self._check_spread(x)
            y, saved, state = kernels.batch_norm(x, params, state, self.momentum, self.eps, relu=relu)
        return Forward(y, saved if train else None, state)

    def pull_back(
        self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool, relu: bool = False
    ) -> Backward:
        """``backward``, with ``relu`` that of the layer and a ReLU after it."""
        cache = self.require_cache(cache)
        self.check_like(cache["batch"], params["weight"], what="x")
        self.check_gradient(dy, cache["batch"].shape, like=cache["batch"])
        how = {"constant": self.frozen, "need_dx": need_dx, "relu": relu}
        return Backward(*kernels.batch_norm_gradients(dy, params, cache, **how))

    def _check_spread(self, x: Array) -> None:
        if math.prod(x.shape[:-1]) < 2:
            raise self.error(
                "expected at least 2 values in each channel to train on, got 1. Use a larger batch, or frozen=True."
            )
