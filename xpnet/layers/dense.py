"""Fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.initializers import Initializer, constant, he_normal
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Shape, check_positive


@dataclass(frozen=True)
class Dense(Layer):
    """Affine map of each example's features.

        y = x W^T + b

    Backward, with g = dL/dy:  dW = g^T x;  db = sum_n g[n];  dx = g W.

    Shapes: x (N, in) -> y (N, units).  Params: weight (units, in), bias (units,).

    Raises InputError if ``units`` is not an integer of at least 1, or if the input is not a batch of vectors, or has
    another number of features than at init or another library, dtype or device than the parameters.
    Source: Rumelhart, Hinton and Williams, Nature 323, 1986.
    """

    units: int
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        check_positive("Dense", "units", self.units)

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_features(input_shape)
        return (self.units,)

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[1]

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.weight_init(rng, (self.units, input_shape[0]))
        return Variables({"weight": weight, "bias": constant(0.0, self.units)}, {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = kernels.matmul(x, params["weight"].T) + params["bias"]
        return Forward(y, {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        grads = {"weight": kernels.matmul(dy.T, cache["x"]), "bias": kernels.channel_sum(dy)}
        return Backward(kernels.matmul(dy, params["weight"]) if need_dx else None, grads)
