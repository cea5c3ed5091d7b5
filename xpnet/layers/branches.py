"""Layers side by side, all given the same input: what Inception, U-Net and squeeze-and-excitation are made of.

A branch of several layers is a ``Sequential``, one that hands its input on an ``Identity``. A level of a U-Net is
``Concat([Identity(), Sequential([MaxPool2D(2), ..., Upsample2D(2)])])``, an Inception module a ``Concat`` of four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from xpnet.backend import Array
from xpnet.errors import short
from xpnet.kernels.windows import join, narrow, sum_arrays
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables, shape_holder
from xpnet.layers.errors import inside
from xpnet.layers.naming import named, own_key
from xpnet.shapes import Shape

_JOINED = "branches.joined"  # in the cache; a name with a dot is nobody else's


@dataclass(frozen=True)
class Branches(Layer):
    """Base of containers whose layers all take x; a subclass says what y is made of their outputs.

    Each layer that draws random numbers gets a key of its own.
    """

    def __post_init__(self) -> None:
        for name, path in self.paths():
            if not isinstance(path, Layer):
                raise self.error(f"expected {name} to be a layer, got {short(path)}. Put several into a Sequential.")

    @property
    def is_random(self) -> bool:
        return any(path.is_random for _, path in self.paths())

    def paths(self) -> list[tuple[str, Layer]]:
        """The branches by name, in order."""
        raise NotImplementedError

    def joined_shape(self, shapes: Mapping[str, Shape], input_shape: Shape) -> Shape:
        """Shape of y for those of the outputs and of x; InputError if they do not join."""
        raise NotImplementedError

    def join(self, x: Array, outputs: Mapping[str, Array]) -> tuple[Array, Cache]:
        """The output y, and what ``part`` needs."""
        raise NotImplementedError

    def part(self, dy: Array, joined: Cache) -> tuple[list[Array], Array | None]:
        """Gradients with respect to each output, in order, and to x as far as y takes it by itself."""
        raise NotImplementedError

    def output_shape(self, input_shape: Shape) -> Shape:
        shapes = {}
        for name, path in self.paths():
            with inside(name):
                shapes[name] = path.output_shape(input_shape)
        return self.joined_shape(shapes, input_shape)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        params, state = {}, {}
        for name, path in self.paths():
            with inside(name):
                params[name], state[name], _ = path.init(rng, input_shape)
        return Variables(params, state, self.output_shape(input_shape))

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        outputs, cache, new_state = {}, {}, {}
        for position, (name, path) in enumerate(self.paths()):
            with inside(name):
                outputs[name], cache[name], new_state[name] = path.unchecked_forward(
                    params[name], state[name], x, train=train, key=own_key(path, key, position)
                )
        y, joined = self.join(x, outputs)
        return Forward(y, {**cache, _JOINED: joined} if train else None, new_state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        outputs, own = self.part(dy, cache[_JOINED])
        found, grads = [] if own is None else [own], {}
        for (name, path), gradient in zip(self.paths(), outputs, strict=True):
            with inside(name):
                dx, grads[name] = path.unchecked_backward(params[name], cache[name], gradient, need_dx=need_dx)
            found.append(dx)
        return Backward(sum_arrays(found) if need_dx else None, grads)

    def sublayers(self, input_shape: Shape) -> Iterator[tuple[str, Layer, Shape]]:
        for name, path in self.paths():
            yield name, path, input_shape

    def trace(self, params: Params, state: State, x: Array) -> Iterator[tuple[str, Array]]:
        outputs = {}
        for name, path in self.paths():
            with inside(name):
                for inner, y in path.trace(params[name], state[name], x):
                    if inner:
                        yield f"{name}.{inner}", y
                    else:
                        outputs[name] = y
            yield name, outputs[name]
        yield "", self.join(x, outputs)[0]

    def map_layers(self, function: Callable[[str, Layer], Layer]) -> Branches:
        """The container with a function of (name, layer) applied to each branch."""
        return replace(self, **{name: function(name, path) for name, path in self.paths()})


@dataclass(frozen=True)
class Residual(Branches):
    r"""The sum of a branch and a shortcut around it.

    Post-activation blocks put a ReLU after it; pre-activation blocks begin the branch with BatchNorm and ReLU.

    Parameters
    ----------
    branch, shortcut
        Layers; without a shortcut x itself is added.

    Raises
    ------
    InputError
        If branch and shortcut do not give the same shape.

    Notes
    -----
    .. math:: y = \mathrm{branch}(x) + \mathrm{shortcut}(x)

    Backward, with g = dL/dy:

    .. math:: dx = d\mathrm{branch}(g) + d\mathrm{shortcut}(g)

    Shapes: branch and shortcut must give the same shape; y has that shape.

    References
    ----------
    He et al., CVPR 2016 (post-activation, projection shortcuts) and ECCV 2016 (pre-activation).
    """

    branch: Layer
    shortcut: Layer | None = None
    prefix: ClassVar[str] = "residual"

    def paths(self) -> list[tuple[str, Layer]]:
        return [("branch", self.branch), *([] if self.shortcut is None else [("shortcut", self.shortcut)])]

    def joined_shape(self, shapes: Mapping[str, Shape], input_shape: Shape) -> Shape:
        branch, shortcut = shapes["branch"], shapes.get("shortcut", input_shape)
        if branch != shortcut:
            advice = "Make them agree." if self.shortcut else "Add a projection shortcut."
            raise self.error(f"the branch gives {branch} but the shortcut gives {shortcut}. {advice}")
        return branch

    def join(self, x: Array, outputs: Mapping[str, Array]) -> tuple[Array, Cache]:
        return outputs["branch"] + outputs.get("shortcut", x), {}

    def part(self, dy: Array, joined: Cache) -> tuple[list[Array], Array | None]:
        return ([dy, dy], None) if self.shortcut else ([dy], dy)


@dataclass(frozen=True)
class _Listed(Branches):
    """Branches in a list, named as by ``Sequential``."""

    branches: tuple[tuple[str, Layer], ...]

    def __init__(self, branches: Iterable[Layer | tuple[str, Layer]]) -> None:
        object.__setattr__(self, "branches", named(type(self).__name__, branches))

    def paths(self) -> list[tuple[str, Layer]]:
        return list(self.branches)

    def map_layers(self, function: Callable[[str, Layer], Layer]) -> Branches:
        return type(self)([(name, function(name, path)) for name, path in self.branches])

    def _first(self, shapes: Mapping[str, Shape], axes: slice) -> Shape:
        """The shape of the first branch; InputError if another differs from it along the axes."""
        first, *others = shapes
        for name in others:
            if shapes[name][axes] != shapes[first][axes] or len(shapes[name]) != len(shapes[first]):
                raise self.error(
                    f"the branch '{first}' gives {shapes[first]} but '{name}' gives {shapes[name]}. Make them agree."
                )
        return shapes[first]


@dataclass(frozen=True, init=False)
class Add(_Listed):
    r"""The sum of branches, of which ``Residual`` is the case of two that residual networks are written in.

    Parameters
    ----------
    branches
        Layers or (name, layer) pairs; the others are named by kind and count.

    Raises
    ------
    InputError
        If the branches do not give the same shape, or for what ``Sequential`` does.

    Notes
    -----
    .. math:: y = f_1(x) + f_2(x) + \dots + f_m(x)

    Backward, with g = dL/dy:

    .. math:: dx = df_1(g) + df_2(g) + \dots + df_m(g)

    Shapes: y has the shape that all branches give.

    References
    ----------
    He et al., CVPR 2016.
    """

    prefix: ClassVar[str] = "add"

    def joined_shape(self, shapes: Mapping[str, Shape], input_shape: Shape) -> Shape:
        return self._first(shapes, slice(None))

    def join(self, x: Array, outputs: Mapping[str, Array]) -> tuple[Array, Cache]:
        return sum_arrays(list(outputs.values())), {}

    def part(self, dy: Array, joined: Cache) -> tuple[list[Array], Array | None]:
        return [dy] * len(self.branches), None


@dataclass(frozen=True, init=False)
class Concat(_Listed):
    r"""The channels of all branches behind one another, in the order of the branches.

    Parameters
    ----------
    branches
        Layers or (name, layer) pairs; the others are named by kind and count.

    Raises
    ------
    InputError
        If the branches' shapes differ in more than the last axis, or for what ``Sequential`` does.

    Notes
    -----
    Along the last axis:

    .. math:: y = [f_1(x), f_2(x), \dots, f_m(x)]

    Backward, with g = dL/dy cut in the same way:

    .. math:: dx = df_1(g_1) + df_2(g_2) + \dots + df_m(g_m), \quad g = [g_1, g_2, \dots, g_m]

    Shapes: y (N, ..., C_1 + C_2 + ... + C_m).

    References
    ----------
    Szegedy et al., CVPR 2015 (Inception); Ronneberger, Fischer and Brox, MICCAI 2015 (U-Net).
    """

    prefix: ClassVar[str] = "concat"

    def joined_shape(self, shapes: Mapping[str, Shape], input_shape: Shape) -> Shape:
        first = self._first(shapes, slice(-1))
        return (*first[:-1], sum(shape[-1] for shape in shapes.values()))

    def join(self, x: Array, outputs: Mapping[str, Array]) -> tuple[Array, Cache]:
        arrays = list(outputs.values())
        return join(arrays, arrays[0].ndim - 1), {name: shape_holder(output) for name, output in outputs.items()}

    def part(self, dy: Array, joined: Cache) -> tuple[list[Array], Array | None]:
        parts, start = [], 0
        for name, _ in self.branches:
            stop = start + joined[name].shape[-1]
            parts.append(narrow(dy, dy.ndim - 1, start, stop))
            start = stop
        return parts, None
