"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.initializers import Initializer, constant, he_normal
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Shape, check_positive

_MOST_UNITS = (1 << 30) - 1  # the bytes of the weights between two such layers are the most that NumPy can count


@dataclass(frozen=True)
class Dense(Layer):
    """Affine map of each example's features.

        y = x W^T + b

    Backward, with g = dL/dy:  dW = g^T x;  db = sum_n g[n];  dx = g W.

    Shapes: x (N, in) -> y (N, units).  Params: weight (units, in), bias (units,).

    Raises InputError if ``units`` is not a whole number from 1 to 2^30 - 1, or if the input is not a batch of vectors,
    or has another number of features than at init or another library, dtype or device than the parameters.
    Source: Rumelhart, Hinton and Williams, Nature 323, 1986.
    """

    units: int
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        if check_positive("Dense", "units", self.units) > _MOST_UNITS:
            raise InputError(f"Dense: expected units to be at most {_MOST_UNITS}, got {self.units}. Change units.")

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_features(input_shape)
        return (self.units,)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.weight_init(rng, (self.units, input_shape[0]))
        return Variables({"weight": weight, "bias": constant(0.0, self.units)}, {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        features, expected = self.check_features(x.shape[1:]), params["weight"].shape[1]
        if features != expected:
            raise self.error(f"expected {expected} features, got {features}. Give it the input shape it was built for.")
        self.check_batch(x, params["weight"])
        y = kernels.matmul(x, params["weight"].T) + params["bias"]
        return Forward(y, {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        x = self.require_cache(cache)["x"]
        self.check_like(x, params["weight"])
        self.check_gradient(dy, (x.shape[0], self.units), like=x)
        grads = {"weight": kernels.matmul(dy.T, x), "bias": kernels.channel_sum(dy)}
        return Backward(kernels.matmul(dy, params["weight"]) if need_dx else None, grads)
