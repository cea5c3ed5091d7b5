"""ONNX models as networks that train: the graph falls apart into layers one after another and branches side by side."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet.errors import InputError
from xpnet.layers.containers import Sequential
from xpnet.layout import walk
from xpnet.onnx import elements, learning, pooling
from xpnet.onnx.joins import JOINS
from xpnet.onnx.nodes import Node, Nodes, dominators, read_nodes
from xpnet.onnx.parts import Parts, Signal
from xpnet.onnx.patterns import recognised
from xpnet.onnx.program import at, label
from xpnet.onnx.reading import read_model

if TYPE_CHECKING:
    from xpnet.network import Network

BUILDERS = {**elements.BUILDERS, **learning.BUILDERS, **pooling.BUILDERS}
DEEPEST = 60  # branches within branches
_CHANNELS_FIRST = {
    *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalMaxPool"),
    *("InstanceNormalization", "GroupNormalization", "LRN", "MaxPool", "Resize", "Upsample", "DepthToSpace"),
}
_CHANNELS_LAST = {"Gather", "LayerNormalization", "MatMul", "RMSNormalization", "Softmax", "Transpose"}


def load(
    cls: type[Network], path: str | os.PathLike[str], *, device: str = "cpu", backend: str | None = None
) -> Network:
    """The network of a file. Raises InputError as ``Network.from_onnx`` does."""
    model = read_model(path)
    source = f"ONNX file {path}"
    try:
        with np.errstate(all="ignore"):  # what is not finite then is refused by its tensor's name
            layer, shape, tensors = read_layers(model)
        network = cls(layer, shape, seed=None, device=device, backend=backend)
        network.theta, network.state = network.from_tensors(tensors, source=source)
        network.class_names = _class_names(model, network.output_shape)
    except InputError as error:
        message = str(error)
        raise InputError(message if message.startswith(source) else f"{source}, {message}") from error
    return network


def read_layers(model: Any) -> tuple[Sequential, tuple[int, ...], dict[str, np.ndarray]]:
    """Layers, input shape and tensors by name. Raises InputError, naming the node, for what layers cannot say."""
    for proto in model.graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in proto.attribute):  # If, Loop, Scan
            raise _unknown(label(proto))
    nodes = recognised(read_nodes(model))
    signal = _input_signal(nodes)
    parts, y = _Reader(nodes).region(nodes.input, nodes.output, signal, 0)
    parts.end_as_logits(y)
    whole = parts.sequential()
    tensors = {**dict(walk(whole.params)), **dict(walk(whole.state))}
    return whole.layer, signal.shape, tensors  # pyright: ignore[reportReturnType]


def _input_signal(nodes: Nodes) -> Signal:
    """How the input's axes lie: as the first operators that tell them apart take them."""
    shape = nodes.input_shape
    rank, first = len(shape), len(shape) == 3
    reached = {nodes.input}
    for name, node in nodes.by_output.items():
        if not reached.intersection(node.sources):
            continue
        if node.operator in _CHANNELS_FIRST | _CHANNELS_LAST:
            first = node.operator in _CHANNELS_FIRST
            break
        if node.operator in ("Flatten", "Reshape"):
            break
        reached.add(name)
    if first and rank > 1:
        return Signal((*shape[1:], shape[0]), first=True)
    return Signal(shape)


class _Reader:
    """Turns the region of a graph between two values into layers."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes, self.above = nodes, dominators(nodes)
        self.used: set[str] = set()

    def region(self, source: str, target: str, signal: Signal, depth: int) -> tuple[Parts, Signal]:
        """The layers from one value to another that it lies in front of, on all ways."""
        stages, name = [], target
        while name != source:
            stages.append(self.nodes.by_output[name])
            name = self.above[name]
        parts = Parts(signal.shape)
        for node in reversed(stages):
            if node.output in self.used:
                raise node.error(
                    "expected branches that part and meet again, got a value that several of them need",
                    "Only series and parallels of layers are known.",
                )
            self.used.add(node.output)
            with at(node.label):
                signal = self._apply(node, parts, signal, depth)
        return parts, signal

    def _apply(self, node: Node, parts: Parts, signal: Signal, depth: int) -> Signal:
        """Append what a node computes."""
        if len(node.sources) == 1:
            builder = node.build or BUILDERS.get(node.operator)
            if builder is None and node.operator in JOINS:
                raise node.error(
                    "expected several inputs that the graph computes, got one", "Only branches can be joined."
                )
            if builder is None:
                raise _unknown(node.label)
            return builder(node, parts, signal)
        join = JOINS.get(node.operator)
        if join is None:
            raise (
                _unknown(node.label)
                if node.operator not in BUILDERS
                else node.error(
                    "expected all inputs but one to be constant, got several that the graph computes",
                    "Make them constant.",
                )
            )
        if depth == DEEPEST:
            raise node.error(f"expected branches at most {DEEPEST} deep, got more", "Simplify the graph.")
        above = self.above[node.output]
        branches = [self.region(above, name, signal, depth + 1) for name in node.sources]
        return join(node, parts, signal, branches)


def _unknown(where: str) -> InputError:
    known = ", ".join(sorted({*BUILDERS, *JOINS}))
    return InputError(f"ONNX {where}: expected an operator that is known as a layer. Known are {known}.")


def _class_names(model: Any, output_shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """The names of classes in the file's metadata, if they are what an export by xpnet writes."""
    texts = [entry.value for entry in model.metadata_props if entry.key == "class_names"]
    try:
        names = json.loads(texts[0]) if texts else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(names, list) or (len(names),) != output_shape:
        return None
    return tuple(names) if all(isinstance(name, str) and name.isprintable() for name in names) else None
