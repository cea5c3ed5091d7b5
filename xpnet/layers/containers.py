"""Layers made of layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from xpnet.backend import Array
from xpnet.errors import InputError, short
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.layers.errors import inside
from xpnet.layers.fusion import Step, prediction_steps, steps
from xpnet.random import fold_in
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Sequential(Layer):
    """Layers one after another: y = f_k(... f_2(f_1(x))).

    Backward is the chain rule from the last layer to the first. Where no dx is asked for it stops at the first layer
    with parameters. Each layer that draws random numbers gets a key of its own.

    ``layers`` are layers or (name, layer) pairs; the others are named by kind and count: conv1, relu1, conv2, ...

    Raises InputError if ``layers`` is empty or not a list, if an item is not a layer, or if a name is empty, holds a
    dot, is not printable, or repeats.
    """

    layers: tuple[tuple[str, Layer], ...]
    prefix: ClassVar[str] = "block"

    def __init__(self, layers: Iterable[Layer | tuple[str, Layer]], *others: Any) -> None:
        if others:
            raise InputError("Sequential: expected one list of layers, got several arguments. Pass a list.")
        object.__setattr__(self, "layers", _named(layers))

    @classmethod
    def numbered(cls, layers: Iterable[Layer]) -> Sequential:
        """Layers with the names that PyTorch's Sequential gives: 0, 1, 2, ..."""
        return cls((str(number), layer) for number, layer in enumerate(layers))

    @property
    def is_random(self) -> bool:
        return any(layer.is_random for _, layer in self.layers)

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
                    step.own(params), step.own(state), x, train=train, key=_own_key(layer, key, position)
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
class Residual(Layer):
    """The sum of a branch and a shortcut around it.

        y = branch(x) + shortcut(x);  y = branch(x) + x without a shortcut

    Backward, with g = dL/dy:  dx = dbranch(g) + dshortcut(g).

    Post-activation blocks put a ReLU after it; pre-activation blocks begin the branch with BatchNorm and ReLU.

    Shapes: branch and shortcut must give the same shape; y has that shape.

    Raises InputError if they do not.  Source: He et al., CVPR 2016 (post-activation, projection shortcuts) and
    ECCV 2016 (pre-activation).
    """

    branch: Layer
    shortcut: Layer | None = None
    prefix: ClassVar[str] = "residual"

    @property
    def is_random(self) -> bool:
        return any(path.is_random for _, path in self._paths())

    def output_shape(self, input_shape: Shape) -> Shape:
        with inside("branch"):
            branch = self.branch.output_shape(input_shape)
        with inside("shortcut"):
            shortcut = self.shortcut.output_shape(input_shape) if self.shortcut else input_shape
        if branch != shortcut:
            advice = "Make them agree." if self.shortcut else "Add a projection shortcut."
            raise self.error(f"the branch gives {branch} but the shortcut gives {shortcut}. {advice}")
        return branch

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        params, state = {}, {}
        for name, path in self._paths():
            with inside(name):
                params[name], state[name], _ = path.init(rng, input_shape)
        return Variables(params, state, self.output_shape(input_shape))

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        outputs, cache, new_state = {"shortcut": x}, {}, {}
        for position, (name, path) in enumerate(self._paths()):
            with inside(name):
                outputs[name], cache[name], new_state[name] = path.unchecked_forward(
                    params[name], state[name], x, train=train, key=_own_key(path, key, position)
                )
        return Forward(outputs["branch"] + outputs["shortcut"], cache if train else None, new_state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        dx, grads = {"shortcut": dy}, {}
        for name, path in self._paths():
            with inside(name):
                dx[name], grads[name] = path.unchecked_backward(params[name], cache[name], dy, need_dx=need_dx)
        return Backward(dx["branch"] + dx["shortcut"] if need_dx else None, grads)

    def sublayers(self, input_shape: Shape) -> Iterator[tuple[str, Layer, Shape]]:
        for name, path in self._paths():
            yield name, path, input_shape

    def trace(self, params: Params, state: State, x: Array) -> Iterator[tuple[str, Array]]:
        outputs = {"shortcut": x}
        for name, path in self._paths():
            with inside(name):
                for inner, y in path.trace(params[name], state[name], x):
                    if inner:
                        yield f"{name}.{inner}", y
                    else:
                        outputs[name] = y
            yield name, outputs[name]
        yield "", outputs["branch"] + outputs["shortcut"]

    def _paths(self) -> list[tuple[str, Layer]]:
        """The branch, and the shortcut where it is a layer."""
        return [("branch", self.branch), *([("shortcut", self.shortcut)] if self.shortcut else [])]


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


def _own_key(layer: Layer, key: Array | None, position: int) -> Array | None:
    """A key for the layer alone, if it draws random numbers."""
    return fold_in(key, position) if key is not None and layer.is_random else None


def _named(layers: Iterable[Layer | tuple[str, Layer]]) -> tuple[tuple[str, Layer], ...]:
    if not isinstance(layers, Iterable):
        raise InputError(f"Sequential: expected a list of layers, got {type(layers).__name__}. Pass a list.")
    named: list[tuple[str, Layer]] = []
    counts: Counter[str] = Counter()
    for item in layers:
        if isinstance(item, Layer):
            counts[item.prefix] += 1
            item = (f"{item.prefix}{counts[item.prefix]}", item)
        match item:
            case (str(name), Layer() as layer):
                named.append((name, layer))
            case _:
                raise InputError(
                    f"Sequential: expected layers or (name, layer) pairs, got {short(item)}. "
                    "Pass layers such as ReLU()."
                )
    names = [name for name, _ in named]
    if not named:
        raise InputError("Sequential: expected at least one layer, got none. Add a layer.")
    for name, count in Counter(names).items():
        if not name or "." in name or count > 1 or not name.isprintable():
            raise InputError(
                f"Sequential: expected distinct, printable names without dots, got {name!r} ({count} times). "
                "Give each layer a unique name."
            )
    return tuple(named)


def map_leaves(function: Callable[[str, Layer], Layer], layer: Layer, name: str = "") -> Layer:
    """The layers with a function of (dotted name, layer) applied to each that is neither Sequential nor Residual."""

    def inner(part: str, sublayer: Layer) -> Layer:
        return map_leaves(function, sublayer, f"{name}.{part}" if name else part)

    if isinstance(layer, Sequential):
        return Sequential([(part, inner(part, sublayer)) for part, sublayer in layer.layers])
    if isinstance(layer, Residual):
        shortcut = inner("shortcut", layer.shortcut) if layer.shortcut else None
        return replace(layer, branch=inner("branch", layer.branch), shortcut=shortcut)
    return function(name, layer)
