"""A layer with values: what it starts from and what a training pass gives."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.helpers import off_kinks
from xpnet.backend import Array, Backend
from xpnet.layers import Backward, Forward
from xpnet.layers.examples import Example
from xpnet.layout import map_tree
from xpnet.random import make_key


@dataclass
class Run:
    """Parameters, state, a batch of two, and dL/dy, on one backend."""

    example: Example
    params: Any
    state: Any
    x: Array
    dy: Array
    key: Array

    def forward(self, *, train: bool = True) -> Forward:
        """The layer's forward pass."""
        return self.example.layer.forward(self.params, self.state, self.x, train=train, key=self.key)

    def backward(self, cache: Any, *, need_dx: bool = True) -> Backward:
        """The layer's backward pass."""
        return self.example.layer.backward(self.params, cache, self.dy, need_dx=need_dx)


def values(rng: np.random.Generator, example: Example) -> np.ndarray:
    """A batch of two: real numbers, or indices where the layer takes these."""
    shape, count = (2, *example.input_shape), example.layer.index_count
    return off_kinks(rng, shape) if count is None else rng.integers(0, count, shape).astype(float)


def start(example: Example, backend: Backend, dtype: str = "float64") -> Run:
    """Draw everything on the host, the same on every backend; biases and state too, which begin as 0 or 1."""
    rng = np.random.default_rng(5)
    params, state, output_shape = example.layer.init(rng, example.input_shape)

    def move(array: np.ndarray) -> Array:
        return backend.asarray(array, dtype)

    return Run(
        example,
        params=map_tree(lambda array: move(array + rng.normal(0.0, 0.1, array.shape)), params),
        state=map_tree(lambda array: move(array + rng.uniform(0.5, 1.5, array.shape)), state),
        x=move(values(rng, example)),
        dy=move(rng.normal(size=(2, *output_shape))),
        key=backend.asarray(make_key(3)),
    )
