"""The graph that an export writes: nodes, initializers, and how each value's axes lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from xpnet.shapes import Shape

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # of onnx 1.15, the first release with opset 20


class Tensors(NamedTuple):
    """Parameters and state of a layer as NumPy arrays by name."""

    params: Mapping[str, Any]
    state: Mapping[str, Any]

    def of(self, name: str) -> Tensors:
        """Those of a layer inside."""
        return Tensors(self.params[name], self.state[name])


class Value(NamedTuple):
    """A value of the graph: its name, and its shape as xpnet's layers have it, without the batch.

    With ``first`` the graph has the channels as its first axis after the batch. ``flat_of`` is the shape (H, W, C) of
    images that were flattened with the channels first, whose values lie in another order than xpnet's.
    """

    name: str
    shape: Shape
    first: bool = False
    flat_of: Shape | None = None

    @property
    def channel_axis(self) -> int:
        """Which axis, counted with the batch, holds the channels."""
        return 1 if self.first else len(self.shape)

    def named(self, name: str) -> Value:
        """Another value with its axes in the same order."""
        return self._replace(name=name)

    def per_channel(self, vector: np.ndarray) -> np.ndarray:
        """A vector over the channels, in their order here and so that it broadcasts."""
        if self.flat_of:
            return to_channels_first(vector, self.flat_of)
        return vector.reshape(-1, *(1,) * (len(self.shape) - 1)) if self.first else vector


def to_channels_first(vector: np.ndarray, shape: Shape) -> np.ndarray:
    """Values on the last axis, those of flattened images (H, W, C), in the order (C, H, W)."""
    images = vector.reshape(*vector.shape[:-1], *shape)
    return np.moveaxis(images, -1, -len(shape)).reshape(vector.shape)


@dataclass
class Graph:
    """Nodes and initializers so far. Names of values are those of the nodes, which are the layers' dotted names."""

    onnx: Any
    dtype: str
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    known: set[str] = field(default_factory=lambda: {"input", "output"})

    @property
    def element_type(self) -> int:
        """ONNX's number for the network's dtype."""
        return self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))

    def node(self, operator: str, inputs: Sequence[str], *, name: str, **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        name = self._unique(name or operator.lower())
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def finish(self, value: Value) -> None:
        """Make a value the output."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [self.plain(value).name], ["output"], name="output"))

    def tensor(self, name: str, array: np.ndarray) -> str:
        """Append an initializer in the network's dtype; returns its name."""
        return self._constant(self._unique(name), np.asarray(array, dtype=self.dtype))

    def integers(self, values: Sequence[int]) -> str:
        """An initializer with integers, such as a shape or axes; one for all that have the same."""
        name = "integers" + "".join(f"_{value}" for value in values)
        return name if name in self.known else self._constant(self._unique(name), np.asarray(values, np.int64))

    def first(self, value: Value) -> Value:
        """The value with its channels first."""
        if value.first or len(value.shape) < 2:
            return value
        axes = [0, len(value.shape), *range(1, len(value.shape))]
        return value._replace(
            name=self.node("Transpose", [value.name], name=f"{value.name}.first", perm=axes), first=True
        )

    def last(self, value: Value) -> Value:
        """The value with its channels last."""
        if not value.first:
            return value
        axes = [0, *range(2, len(value.shape) + 1), 1]
        return value._replace(
            name=self.node("Transpose", [value.name], name=f"{value.name}.last", perm=axes), first=False
        )

    def plain_vector(self, value: Value) -> Value:
        """The value with flattened images in xpnet's order."""
        if value.flat_of is None:
            return value
        height_and_width, channels = value.flat_of[:-1], value.flat_of[-1]
        shape = self.integers([0, channels, *height_and_width])
        images = self.node("Reshape", [value.name, shape], name=f"{value.name}.images")
        images = self.last(Value(images, value.flat_of, first=True)).name
        return value._replace(name=self.node("Flatten", [images], name=f"{value.name}.flat"), flat_of=None)

    def plain(self, value: Value) -> Value:
        """The value with its axes and its elements in xpnet's order."""
        return self.last(self.plain_vector(value))

    def alike(self, values: list[Value]) -> list[Value]:
        """The values with their axes in one order: channels first where one of them has them there."""
        if len({value.flat_of for value in values}) > 1:
            values = [self.plain_vector(value) for value in values]
        return [self.first(value) for value in values] if any(value.first for value in values) else values

    def _constant(self, name: str, array: np.ndarray) -> str:
        self.initializers.append(self.onnx.numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def _unique(self, name: str) -> str:
        unique, count = name, 1
        while unique in self.known:
            count += 1
            unique = f"{name}_{count}"
        self.known.add(unique)
        return unique
