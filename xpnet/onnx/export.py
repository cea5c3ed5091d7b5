"""Networks as ONNX models: a table from each class of layer to the function that writes its nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import xpnet
from xpnet import backend as backends
from xpnet import layers, provenance
from xpnet.errors import InputError
from xpnet.files import atomic_write
from xpnet.layers.base import Layer
from xpnet.layout import map_tree
from xpnet.onnx.graph import IR_VERSION, OPSET, Graph, Tensors, Value
from xpnet.onnx.library import load_onnx
from xpnet.onnx.plain_writers import ELEMENTWISE, REARRANGING, SEQUENCES
from xpnet.onnx.writers import CONVOLUTIONS, NORMALIZATIONS, POOLS
from xpnet.shapes import is_whole

if TYPE_CHECKING:
    from xpnet.network import Network

Writer = Callable[[Graph, str, Any, Tensors, Value], Value]
LARGEST_FILE = 2**31 - 2**20  # bytes: protobuf counts them in 32 bits


def save(network: Network, path: str | os.PathLike[str], opset: int = OPSET) -> None:
    """Write a network to an ONNX file, complete or not at all.

    Raises InputError for a layer that has no row in the table, naming it, an opset that is not known, a network of
    2 GB, or a file that cannot be written.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"ONNX file {path!r}: expected a path, got {type(path).__name__}. Pass the path of a file.")
    atomic_write(Path(path), to_model(network, opset).SerializeToString(), what="ONNX file")


def to_model(network: Network, opset: int = OPSET) -> Any:
    """The network as an ``onnx.ModelProto``: inputs as they come in, outputs as calling the network gives them.

    The batch size is free. Images come in as (N, H, W, C) and are transposed once; the order in which a Flatten then
    finds them is that of the next layer's weights. Raises InputError as ``save`` does.
    """
    onnx = load_onnx()
    newest = onnx.defs.onnx_opset_version()
    if not is_whole(opset) or not OPSET <= opset <= newest:
        raise InputError(f"ONNX: expected an opset from {OPSET} to {newest}, got {opset!r}. Use {OPSET}.")
    size = network.layout.size * np.dtype(network.dtype).itemsize
    if size > LARGEST_FILE:
        raise InputError(f"ONNX: expected a network of less than 2 GB, got {size:,} bytes. Use dtype='float32'.")
    graph = Graph(onnx, network.dtype)
    tensors = map_tree(backends.to_numpy, {"params": network.layout.unflatten(network.theta), "state": network.state})
    x = Value("input", network.input_shape)
    y = write(graph, "", network.layer, Tensors(tensors["params"], tensors["state"]), x)
    graph.finish(y)
    batch = ["batch"]
    proto = onnx.helper.make_graph(
        graph.nodes,
        "xpnet",
        [onnx.helper.make_tensor_value_info(x.name, graph.element_type, batch + list(x.shape))],
        [onnx.helper.make_tensor_value_info("output", graph.element_type, batch + list(y.shape))],
        graph.initializers,
    )
    model = onnx.helper.make_model(
        proto,
        producer_name="xpnet",
        producer_version=xpnet.__version__,
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )
    onnx.helper.set_model_props(model, _metadata(network))
    return model


def write(graph: Graph, path: str, layer: Layer, tensors: Tensors, x: Value) -> Value:
    """Append the nodes of a layer, and of those in it; returns its output."""
    writer = WRITERS.get(type(layer))
    if writer is None:
        where = f" '{path}'" if path else ""
        raise InputError(
            f"{type(layer).__name__}{where}: expected a layer that ONNX export knows, got one of another class. "
            "Add a row to xpnet/onnx/export.py."
        )
    y = writer(graph, path, layer, tensors, x)
    return y._replace(shape=layer.output_shape(x.shape))


def _metadata(network: Network) -> dict[str, str]:
    """What the graph does not say: names of classes, and where the file comes from."""
    names = {} if network.class_names is None else {"class_names": json.dumps(list(network.class_names))}
    return {**names, "xpnet_code": provenance.code_version(), "loss": type(network.loss).__name__}


def _sequential(graph: Graph, path: str, layer: layers.Sequential, tensors: Tensors, x: Value) -> Value:
    for name, inner in layer.layers:
        x = write(graph, _inside(path, name), inner, tensors.of(name), x)
    return x


def _outputs(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> list[Value]:
    return [write(graph, _inside(path, name), inner, tensors.of(name), x) for name, inner in layer.paths()]


def _residual(graph: Graph, path: str, layer: layers.Residual, tensors: Tensors, x: Value) -> Value:
    outputs = _outputs(graph, path, layer, tensors, x)
    return _join(graph, path, "Add", outputs if layer.shortcut else [*outputs, x])


def _add(graph: Graph, path: str, layer: layers.Add, tensors: Tensors, x: Value) -> Value:
    return _join(graph, path, "Sum", _outputs(graph, path, layer, tensors, x))


def _concat(graph: Graph, path: str, layer: layers.Concat, tensors: Tensors, x: Value) -> Value:
    outputs = [graph.plain_vector(y) for y in _outputs(graph, path, layer, tensors, x)]
    outputs = graph.alike(outputs)
    return outputs[0].named(graph.node("Concat", [y.name for y in outputs], name=path, axis=outputs[0].channel_axis))


def _scale_by(graph: Graph, path: str, layer: layers.ScaleBy, tensors: Tensors, x: Value) -> Value:
    (s,) = _outputs(graph, path, layer, tensors, x)
    if len(s.shape) == len(x.shape):
        return _join(graph, path, "Mul", [x, s])
    places = [axis for axis in range(1, len(x.shape) + 1) if axis != x.channel_axis]
    wide = graph.node("Unsqueeze", [graph.plain(s).name, graph.integers(places)], name=f"{path}.wide")
    return x.named(graph.node("Mul", [x.name, wide], name=path))


def _join(graph: Graph, path: str, operator: str, values: list[Value]) -> Value:
    values = graph.alike(values)
    return values[0].named(graph.node(operator, [value.name for value in values], name=path))


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


WRITERS: Mapping[type[Layer], Writer] = {
    layers.Sequential: _sequential,
    layers.Residual: _residual,
    layers.Add: _add,
    layers.Concat: _concat,
    layers.ScaleBy: _scale_by,
    **CONVOLUTIONS,
    **POOLS,
    **NORMALIZATIONS,
    **ELEMENTWISE,
    **REARRANGING,
    **SEQUENCES,
}
