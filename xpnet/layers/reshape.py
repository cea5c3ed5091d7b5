"""Layers that only rearrange values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array, array_namespace
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, shape_holder
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Identity(Layer):
    """The input as it is: a branch that hands it on.

        y = x

    Backward, with g = dL/dy:  dx = g.

    Shapes: any.  Source: He et al., ECCV 2016 (identity shortcuts).
    """

    prefix: ClassVar[str] = "identity"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return Forward(x, {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(dy if need_dx else None, {})


@dataclass(frozen=True)
class Flatten(Layer):
    """Each example as one vector, in the order (H, W, C).

    Backward: dx is dL/dy in the shape of x.

    Shapes: x (N, ...) -> y (N, product of the rest).  Source: ``reshape`` of the Array API standard.
    """

    prefix: ClassVar[str] = "flatten"

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = array_namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        return Forward(y, {"x_shape": shape_holder(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        x_shape = (dy.shape[0], *cache["x_shape"].shape[1:])
        return Backward(array_namespace(dy).reshape(dy, x_shape) if need_dx else None, {})
