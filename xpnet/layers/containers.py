"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.layers.branches import Branches
from xpnet.layers.errors import inside
from xpnet.layers.fusion import Step, prediction_steps, steps
from xpnet.layers.naming import named, own_key
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Sequential(Layer):
    r"""Layers one after another.

    Each layer that draws random numbers gets a key of its own. ``layers`` are layers or (name, layer) pairs; the others
    are named by kind and count: conv1, relu1, conv2, ...

    Raises
    ------
    InputError
        If ``layers`` is empty or not a list, if an item is not a layer, or if a name is empty, holds a dot, is not
        printable, or repeats.

    Notes
    -----
    .. math:: y = f_k(\dots f_2(f_1(x)))

    Backward is the chain rule from the last layer to the first. Where no dx is asked for it stops at the first layer
    with parameters.

    Shapes: each layer takes what the one before it gives.

    References
    ----------
    Rumelhart, Hinton and Williams, Nature 323, 1986 (the chain rule from layer to layer).
    """

    layers: tuple[tuple[str, Layer], ...]
    prefix: ClassVar[str] = "block"

    def __init__(self, layers: Iterable[Layer | tuple[str, Layer]], *others: Any) -> None:
        if others:
            raise InputError("Sequential: expected one list of layers, got several arguments. Pass a list.")
        object.__setattr__(self, "layers", named("Sequential", layers))

    @classmethod
    def numbered(cls, layers: Iterable[Layer]) -> Sequential:
        """Layers with the names that PyTorch's Sequential gives: 0, 1, 2, ..."""
        return cls((str(number), layer) for number, layer in enumerate(layers))

    @property
    def is_random(self) -> bool:
        return any(layer.is_random for _, layer in self.layers)

    @property
    def index_count(self) -> int | None:
        return self.layers[0][1].index_count

    def output_shape(self, input_shape: Shape) -> Shape:
        for name, layer in self.layers:
            with inside(name):
                input_shape = layer.output_shape(input_shape)
        return input_shape

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        params, state = {}, {}
        for name, layer in self.layers:
            with inside(name):
                params[name], state[name], input_shape = layer.init(rng, input_shape)
        return Variables(params, state, input_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        cache, new_state = {}, dict(state)
        for step in self._steps if train else self._prediction_steps:
            position, name, layer, _ = step
            with inside(name):
                x, cache[name], new_state[name] = layer.unchecked_forward(
                    step.own(params), step.own(state), x, train=train, key=own_key(layer, key, position)
                )
        return Forward(x, cache if train else None, new_state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        grads: dict[str, Params] = {name: {} for name, _ in self.layers}
        first = 0 if need_dx else self._first_with(params)
        for position, name, layer, _ in reversed(self._steps):
            if position < first:
                break
            with inside(name):
                dy, grads[name] = layer.unchecked_backward(
                    params[name], cache[name], dy, need_dx=need_dx or position > first
                )
        return Backward(dy if need_dx else None, grads)

    def sublayers(self, input_shape: Shape) -> Iterator[tuple[str, Layer, Shape]]:
        for name, layer in self.layers:
            yield name, layer, input_shape
            with inside(name):
                input_shape = layer.output_shape(input_shape)

    def trace(self, params: Params, state: State, x: Array) -> Iterator[tuple[str, Array]]:
        for name, layer in self.layers:
            with inside(name):
                for inner, y in layer.trace(params[name], state[name], x):
                    if inner:
                        yield f"{name}.{inner}", y
                    else:
                        x = y
            yield name, x
        yield "", x

    def map_layers(self, function: Callable[[str, Layer], Layer]) -> Sequential:
        """The container with a function of (name, layer) applied to each layer in it."""
        return replace(self, layers=tuple((name, function(name, layer)) for name, layer in self.layers))

    @cached_property
    def _steps(self) -> list[Step]:
        return steps(self.layers)

    @cached_property
    def _prediction_steps(self) -> list[Step]:
        return prediction_steps(self.layers)

    def _first_with(self, params: Params) -> int:
        """Position of the first layer that has parameters."""
        return next((i for i, (name, _) in enumerate(self.layers) if params[name]), len(self.layers))


@dataclass(frozen=True)
class Wrapper(Layer):
    """A layer in place of another one, with its parameters, state and shapes; a subclass says what it does instead."""

    inner: Layer
    prefix: ClassVar[str] = "wrapper"

    @property
    def is_random(self) -> bool:
        return self.inner.is_random

    def output_shape(self, input_shape: Shape) -> Shape:
        return self.inner.output_shape(input_shape)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        return self.inner.init(rng, input_shape)

    def check_input(
        self, params: Params, state: State, shape: Shape, like: Array, *, train: bool = False, key: Array | None = None
    ) -> None:
        self.inner.check_input(params, state, shape, like, train=train, key=key)


def map_leaves(function: Callable[[str, Layer], Layer], layer: Layer, name: str = "") -> Layer:
    """The layers with a function of (dotted name, layer) applied to each that is neither Sequential nor Branches."""

    def inner(part: str, sublayer: Layer) -> Layer:
        return map_leaves(function, sublayer, f"{name}.{part}" if name else part)

    return layer.map_layers(inner) if isinstance(layer, Sequential | Branches) else function(name, layer)
