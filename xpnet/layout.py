"""Where each named tensor lies in the flat parameter vector θ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xpnet import kernels
from xpnet.backend import Array, array_namespace, check_array
from xpnet.errors import InputError
from xpnet.shapes import Shape

Tree = Mapping[str, Any]  # arrays, or trees of arrays, by name


@dataclass(frozen=True)
class Slot:
    """One tensor's place in θ: elements start to stop, in row-major order."""

    start: int
    stop: int
    shape: Shape


@dataclass(frozen=True)
class Layout:
    """The order and shapes of all tensors in θ, by dotted name such as ``conv1.weight``."""

    tree: Mapping[str, Any]  # Slots in the shape of the parameter tree
    size: int

    @classmethod
    def of(cls, params: Tree) -> Layout:
        """The layout of a parameter tree: its tensors in order, without gaps."""
        size = 0

        def place(node: Any) -> Any:
            nonlocal size
            if isinstance(node, Mapping):
                return {name: place(child) for name, child in node.items()}
            start, size = size, size + math.prod(node.shape)
            return Slot(start, size, tuple(node.shape))

        tree = place(params)
        return cls(tree, size)

    def flatten(self, params: Tree) -> Array:
        """One vector of all tensors of the tree, in this layout's order.

        Raises KeyError if one is missing, ValueError if it has another shape.
        """
        tensors = list(_in_order(self.tree, params))
        xp = array_namespace(tensors[0])
        return kernels.join_vectors([xp.reshape(tensor, (-1,)) for tensor in tensors])

    def unflatten(self, theta: Array) -> Tree:
        """The tree of tensors as views of θ (slices, where the library has no views).

        Raises InputError if θ is not an array or has another length.
        """
        check_array("Network, θ", theta)
        if tuple(theta.shape) != (self.size,):
            raise InputError(
                f"Network: expected θ to be a vector of {self.size:,} values, got shape {tuple(theta.shape)}. "
                "Use one of this network's."
            )
        return _views(array_namespace(theta), theta, self.tree)

    def slots(self) -> dict[str, Slot]:
        """Every tensor's place by dotted name, in order."""
        return dict(walk(self.tree))


def walk(tree: Tree, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a tree with their dotted names, in order."""
    for name, node in tree.items():
        if isinstance(node, Mapping):
            yield from walk(node, f"{path}{name}.")
        else:
            yield f"{path}{name}", node


def _views(xp: Any, theta: Array, node: Any) -> Any:
    # No inner function that calls itself: it would be a cycle, and hold θ until the garbage collector comes by.
    if isinstance(node, Slot):
        return xp.reshape(theta[node.start : node.stop], node.shape)
    return {name: _views(xp, theta, child) for name, child in node.items()}


def _in_order(tree: Tree, params: Tree) -> Iterator[Array]:
    for name, node in tree.items():
        if isinstance(node, Slot):
            if params[name].shape != node.shape:
                raise ValueError(f"{name} of another shape")
            yield params[name]
        else:
            yield from _in_order(node, params[name])


def map_tree(function, tree: Tree) -> dict[str, Any]:
    """The tree with a function applied to every leaf."""
    return {
        name: map_tree(function, node) if isinstance(node, Mapping) else function(node) for name, node in tree.items()
    }


def has_names_of(tree: Tree, other: Any) -> bool:
    """Whether another tree has the same names."""
    return (
        isinstance(other, Mapping)
        and tree.keys() == other.keys()
        and all(has_names_of(node, other[name]) for name, node in tree.items() if isinstance(node, Mapping))
    )
