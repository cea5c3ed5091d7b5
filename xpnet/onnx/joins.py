"""Operators that join branches of a graph: a table from each to the function that makes a container of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xpnet import layers
from xpnet.layers.base import Layer
from xpnet.onnx.nodes import Node
from xpnet.onnx.parts import Part, Parts, Signal, contained

Branch = tuple[Parts, Signal]
Join = Callable[[Node, Parts, Signal, list[Branch]], Signal]


def _sum(node: Node, parts: Parts, x: Signal, branches: list[Branch]) -> Signal:
    """``Residual`` where one of two branches is the value itself, else ``Add``."""
    y = _alike(node, branches)
    if len(branches) == 2:
        ways = sorted((branch for branch, _ in branches), key=lambda branch: len(branch.parts) == 0)
        branch, shortcut = ways[0].single(), ways[1]
        if not shortcut.parts:
            _contain(node, parts, layers.Residual(branch.layer), [branch])
        else:
            other = shortcut.single()
            _contain(node, parts, layers.Residual(branch.layer, other.layer), [branch, other])
        return y
    ways = [branch.single() for branch, _ in branches]
    _contain(node, parts, layers.Add([way.layer for way in ways]), ways)
    return y


def _concat(node: Node, parts: Parts, x: Signal, branches: list[Branch]) -> Signal:
    y = _alike(node, branches, same=False)
    axis = node.get("axis", 1) % (len(y.shape) + 1)
    if axis != y.channel_axis:
        raise node.error(f"expected the channels' axis, {y.channel_axis}, got {axis}", "Only channels can be joined.")
    ways = [branch.single() for branch, _ in branches]
    shape = _contain(node, parts, layers.Concat([way.layer for way in ways]), ways)
    return y._replace(shape=shape)


def _scale(node: Node, parts: Parts, x: Signal, branches: list[Branch]) -> Signal:
    """``ScaleBy``, or a layer that is written as a value times a function of it."""
    plain = [index for index, (branch, _) in enumerate(branches) if not branch.parts]
    if len(branches) != 2 or not plain:
        raise node.error("expected a value times what a branch makes of it, got two branches", "Only that is known.")
    branch, s = branches[1 - plain[0]]
    kinds = [part.layer for part in branch.parts]
    for gate, layer in ((layers.Sigmoid(), layers.SiLU()), (layers.HardSigmoid(), layers.HardSwish())):
        if kinds == [gate]:
            parts.add(node, layer)
            return x
    if s.view[:1] == ("wide",):
        s = s._replace(view=())
    elif branch.shape[:-1] == (1,) * (len(x.shape) - 1) and x.shape[:-1] != branch.shape[:-1]:
        branch.flatten()
        s = Signal(branch.shape)
    if s.view or x.view or s.flat_of != x.flat_of or (len(s.shape) > 1 and s.first != x.first):
        raise node.error("expected factors whose axes lie as those of the value", "Only that is known.")
    way = branch.single()
    _contain(node, parts, layers.ScaleBy(way.layer), [way])
    return x


def _alike(node: Node, branches: list[Branch], *, same: bool = True) -> Signal:
    """The branches' signal, which must be one, but for the number of channels unless ``same``."""
    first, *others = [signal for _, signal in branches]
    for other in others:
        shapes = (first.shape, other.shape) if same else (first.shape[:-1], other.shape[:-1])
        if shapes[0] != shapes[1]:
            raise node.error(
                f"expected branches of one shape, got {first.lengths} and {other.lengths}",
                "Only values alike can be joined.",
            )
        if first[1:] != other[1:] or first.view or (first.flat_of and not same):
            raise node.error(
                "expected branches whose values lie in the same order, got flattened or reshaped ones among others",
                "Join them before the Flatten or Reshape.",
            )
    return first


def _contain(node: Node, parts: Parts, container: Layer, ways: list[Part]) -> tuple[int, ...]:
    paths = [name for name, _ in container.paths()]  # pyright: ignore
    part = contained(container, paths, ways)
    return parts.add(node, container, part.params, part.state)


JOINS: Mapping[str, Join] = {"Add": _sum, "Concat": _concat, "Mul": _scale, "Sum": _sum}
