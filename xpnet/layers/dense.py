"""Fully connected layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.initializers import Initializer, constant, he_normal
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Shape, check_positive


@dataclass(frozen=True)
class Dense(Layer):
    r"""Affine map of each example's features, or of those at each place of a sequence.

    Parameters
    ----------
    units
        Number of outputs.
    weight_init
        Distribution of the initial weight; the bias begins at 0.

    Raises
    ------
    InputError
        If ``units`` is not an integer of at least 1, or if the input is not a batch of vectors or sequences, or has
        another number of features than at init or another library, dtype or device than the parameters.

    Notes
    -----
    .. math:: y = x W^T + b

    Backward, with g = dL/dy and the places of all sequences as rows:

    .. math:: dW = g^T x, \quad db = \sum_n g_n, \quad dx = g W

    Shapes: x (N, in) -> y (N, units), or x (N, T, in) -> y (N, T, units).  Params: weight (units, in), bias (units,).

    References
    ----------
    Rumelhart, Hinton and Williams, Nature 323, 1986.
    """

    units: int
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        check_positive("Dense", "units", self.units)

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_features(input_shape)
        return (*input_shape[:-1], self.units)

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[1]

    def multiplications(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * self.units

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.draw(self.weight_init, rng, (self.units, input_shape[-1]))
        return Variables({"weight": weight, "bias": constant(0.0, self.units)}, {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        xp = array_namespace(x)
        y = kernels.matmul(_rows(x), params["weight"].T) + params["bias"]
        return Forward(xp.reshape(y, (*x.shape[:-1], self.units)), {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        xp, x, rows = array_namespace(dy), cache["x"], _rows(dy)
        grads = {"weight": kernels.matmul(rows.T, _rows(x)), "bias": kernels.channel_sum(rows)}
        return Backward(xp.reshape(kernels.matmul(rows, params["weight"]), x.shape) if need_dx else None, grads)


def _rows(x: Array) -> Array:
    """Features as the rows of a matrix."""
    return x if x.ndim == 2 else array_namespace(x).reshape(x, (-1, x.shape[-1]))
