"""Random zeros while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.random import random_mask
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Dropout(Layer):
    """Each value is 0 with probability p while training, and the others are scaled up so that the mean stays.

        y = m * x / (1 - p),  m = 0 with probability p, else 1;  y = x outside of training

    Backward, with g = dL/dy:  dx = m * g / (1 - p).

    The mask is a function of the key alone: the same key gives the same mask on every backend and in every dtype.

    Shapes: any.

    Raises InputError unless 0 <= p < 1, and if training without a key.  Source: Srivastava et al., JMLR 15, 2014; the
    scaling while training ("inverted") is that of PyTorch.
    """

    p: float = 0.5
    prefix: ClassVar[str] = "dropout"

    def __post_init__(self) -> None:
        if not 0 <= self.p < 1:
            raise InputError(f"Dropout: expected p, the probability of dropping, in [0, 1), got {self.p}. Try 0.5.")

    @property
    def is_random(self) -> bool:
        return self.p > 0

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        if not train:
            return Forward(x, None, state)
        if not self.is_random:
            return Forward(x, {}, state)
        mask = random_mask(key, x.shape, self.p, x.dtype)
        return Forward(x * mask, {"mask": mask}, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        return Backward(dy * cache["mask"] if self.is_random else dy, {})
