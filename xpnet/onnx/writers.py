"""What each layer with weights or windows is in ONNX: tables from its class to the function that writes its nodes.

A writer takes the graph, the layer's dotted name, the layer, its tensors and its input, and returns its output, whose
shape the caller sets.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet import layers
from xpnet.layers.global_pooling import parts_of
from xpnet.onnx.graph import Graph, Tensors, Value, to_channels_first
from xpnet.shapes import Window, as_pair


def _conv(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
    x, weight = graph.first(x), np.moveaxis(tensors.params["weight"], -1, 1)
    axes = weight.ndim - 2  # of a Conv1D the window's last
    window = layer.window
    groups = x.shape[-1] // weight.shape[1]
    inputs = [x.name, graph.tensor(f"{path}.weight", weight), *_bias(graph, path, tensors)]
    return x.named(
        graph.node(
            "Conv",
            inputs,
            name=path,
            kernel_shape=window.kernel[-axes:],
            strides=window.stride[-axes:],
            pads=_pads(window, axes),
            dilations=window.dilation[-axes:],
            group=groups,
        )
    )


def _conv_transpose(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
    x, window = graph.first(x), layer.window
    weight = graph.tensor(f"{path}.weight", np.moveaxis(tensors.params["weight"], -1, 1))
    return x.named(
        graph.node(
            "ConvTranspose",
            [x.name, weight, *_bias(graph, path, tensors)],
            name=path,
            kernel_shape=window.kernel,
            strides=window.stride,
            pads=_pads(window),
            dilations=window.dilation,
            output_padding=as_pair("ConvTranspose2D", "output_padding", layer.output_padding, minimum=0),
        )
    )


def _dense(graph: Graph, path: str, layer: layers.Dense, tensors: Tensors, x: Value) -> Value:
    weight, bias = tensors.params["weight"], tensors.params["bias"]
    if len(x.shape) == 1:
        if x.flat_of:
            weight = to_channels_first(weight, x.flat_of)
        inputs = [x.name, graph.tensor(f"{path}.weight", weight), graph.tensor(f"{path}.bias", bias)]
        return Value(graph.node("Gemm", inputs, name=path, transB=1), (layer.units,))
    x = graph.last(x)
    product = graph.node("MatMul", [x.name, graph.tensor(f"{path}.weight", weight.T)], name=f"{path}.product")
    return x.named(graph.node("Add", [product, graph.tensor(f"{path}.bias", bias)], name=path))


def _max_pool(graph: Graph, path: str, layer: layers.MaxPool2D, tensors: Tensors, x: Value) -> Value:
    x, window = graph.first(x), layer.window_over((x.shape[0], x.shape[1]))
    return x.named(graph.node("MaxPool", [x.name], name=path, **_sliding(window)))


def _avg_pool(graph: Graph, path: str, layer: layers.AvgPool2D, tensors: Tensors, x: Value) -> Value:
    """With ``ceil_mode`` where its opset agrees with ``ceil`` on the number of windows, else as the layer computes."""
    x, size = graph.first(x), (x.shape[0], x.shape[1])
    padded = [length + sum(padding) for length, padding in zip(size, layer.window.padding, strict=True)]
    rounded_up = tuple(
        -(-(length - kernel) // stride) + 1
        for length, kernel, stride in zip(padded, layer.window.kernel, layer.window.stride, strict=True)
    )
    if not layer.ceil or layer.output_shape(x.shape)[:2] == rounded_up:
        settings = {
            **_sliding(layer.window),
            "ceil_mode": int(layer.ceil),
            "count_include_pad": int(layer.count_padding),
        }
        return x.named(graph.node("AveragePool", [x.name], name=path, **settings))
    settings = _sliding(layer.window_over(size))
    y = graph.node("AveragePool", [x.name], name=f"{path}.mean", count_include_pad=1, **settings)
    shares = graph.tensor(f"{path}.shares", np.outer(layer.shares(0, size[0]), layer.shares(1, size[1])))
    return x.named(graph.node("Mul", [y, shares], name=path))


def _sliding(window: Window) -> dict[str, Any]:
    return {"kernel_shape": window.kernel, "strides": window.stride, "pads": _pads(window)}


def _global_pool(operator: str) -> Any:
    def write(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
        pooled = graph.node(operator, [graph.first(x).name], name=f"{path}.pool")
        return Value(graph.node("Flatten", [pooled], name=path), x.shape[-1:])

    return write


def _global_avg_pool_1d(graph: Graph, path: str, layer: Any, tensors: Tensors, x: Value) -> Value:
    axes = graph.integers([2 if x.first else 1])
    return Value(graph.node("ReduceMean", [x.name, axes], name=path, keepdims=0), x.shape[-1:])


def _adaptive_avg_pool(graph: Graph, path: str, layer: layers.AdaptiveAvgPool2D, tensors: Tensors, x: Value) -> Value:
    """A pool where all parts are of one size, else products with matrices of the parts' shares."""
    x, (height, width, _) = graph.first(x), x.shape
    kernel = [length // count for length, count in zip((height, width), layer.size, strict=True)]
    if height % layer.size[0] == 0 and width % layer.size[1] == 0:
        return x.named(graph.node("AveragePool", [x.name], name=path, kernel_shape=kernel, strides=kernel))
    rows = graph.tensor(f"{path}.rows", shares_of(height, layer.size[0]))
    columns = graph.tensor(f"{path}.columns", shares_of(width, layer.size[1]).T)
    product = graph.node("MatMul", [rows, x.name], name=f"{path}.product")
    return x.named(graph.node("MatMul", [product, columns], name=path))


def shares_of(length: int, count: int) -> np.ndarray:
    """Each pixel's share in each part of an axis: (count, length)."""
    shares = np.zeros((count, length))
    for row, (start, stop) in zip(shares, parts_of(length, count), strict=True):
        row[start:stop] = 1 / (stop - start)
    return shares


def _upsample(graph: Graph, path: str, layer: layers.Upsample2D, tensors: Tensors, x: Value) -> Value:
    x = graph.first(x)
    scales = graph.onnx.numpy_helper.from_array(np.asarray([1, 1, *layer.factors], np.float32), f"{path}.scales")
    graph.initializers.append(scales)
    how = (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        if layer.mode == "nearest"
        else {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    )
    return x.named(graph.node("Resize", [x.name, "", scales.name], name=path, **how))


def _batch_norm(graph: Graph, path: str, layer: layers.BatchNorm, tensors: Tensors, x: Value) -> Value:
    x = graph.first(x)
    arrays = {**tensors.params, **tensors.state}
    names = [
        graph.tensor(f"{path}.{name}", x.per_channel(arrays[name]).reshape(-1))
        for name in ("weight", "bias", "running_mean", "running_var")
    ]
    settings = {"epsilon": layer.eps, "momentum": 1 - layer.momentum}
    return x.named(graph.node("BatchNormalization", [x.name, *names], name=path, **settings))


def _normalize(graph: Graph, path: str, layer: layers.Normalize, tensors: Tensors, x: Value) -> Value:
    x = graph.first(x) if len(x.shape) == 3 else x
    mean, scale = (graph.tensor(f"{path}.{name}", x.per_channel(tensors.state[name])) for name in ("mean", "scale"))
    centred = graph.node("Sub", [x.name, mean], name=f"{path}.centred")
    return x.named(graph.node("Mul", [centred, scale], name=path))


def _layer_norm(graph: Graph, path: str, layer: layers.LayerNorm, tensors: Tensors, x: Value) -> Value:
    x = graph.plain(x)
    names = [graph.tensor(f"{path}.{name}", tensors.params[name]) for name in ("weight", "bias")]
    return x.named(graph.node("LayerNormalization", [x.name, *names], name=path, axis=-1, epsilon=layer.eps))


def _group_norm(graph: Graph, path: str, layer: layers.GroupNorm, tensors: Tensors, x: Value) -> Value:
    """Each group as one channel of an InstanceNormalization: GroupNormalization has a scale per channel from 21 on."""
    x, groups = graph.first(graph.plain_vector(x)), layer.groups
    ones, zeros = (graph.tensor(f"{path}.{name}", np.full(groups, n)) for name, n in (("ones", 1.0), ("zeros", 0.0)))
    y = graph.node("Reshape", [x.name, graph.integers([0, groups, -1])], name=f"{path}.grouped")
    y = graph.node("InstanceNormalization", [y, ones, zeros], name=f"{path}.standardized", epsilon=layer.eps)
    y = graph.node("Reshape", [y, graph.integers([0, x.shape[-1], *x.shape[:-1]])], name=f"{path}.ungrouped")
    return _scaled(graph, path, tensors, x.named(y))


def _rms_norm(graph: Graph, path: str, layer: layers.RMSNorm, tensors: Tensors, x: Value) -> Value:
    x = graph.plain(x)
    squares = graph.node("Mul", [x.name, x.name], name=f"{path}.squares")
    mean = graph.node("ReduceMean", [squares, graph.integers([-1])], name=f"{path}.mean", keepdims=1)
    mean = graph.node("Add", [mean, graph.tensor(f"{path}.eps", np.asarray(layer.eps))], name=f"{path}.above_zero")
    root = graph.node("Sqrt", [mean], name=f"{path}.root")
    return _scaled(graph, path, tensors, x.named(graph.node("Div", [x.name, root], name=f"{path}.scaled")))


def _scaled(graph: Graph, path: str, tensors: Tensors, x: Value) -> Value:
    """The value times the weight, plus the bias if there is one."""
    weight, bias = x.per_channel(tensors.params["weight"]), tensors.params.get("bias")
    if bias is None:
        return x.named(graph.node("Mul", [x.name, graph.tensor(f"{path}.weight", weight)], name=path))
    product = graph.node("Mul", [x.name, graph.tensor(f"{path}.weight", weight)], name=f"{path}.product")
    return x.named(graph.node("Add", [product, graph.tensor(f"{path}.bias", x.per_channel(bias))], name=path))


def _response_norm(graph: Graph, path: str, layer: layers.LocalResponseNorm, tensors: Tensors, x: Value) -> Value:
    """LRN; vectors and sequences as images of width 1, for onnxruntime takes no others."""
    x = graph.first(graph.plain_vector(x))
    settings = {"size": layer.size, "alpha": layer.alpha, "beta": layer.beta, "bias": layer.k}
    if len(x.shape) == 3:
        return x.named(graph.node("LRN", [x.name], name=path, **settings))
    channels, places = x.shape[-1], list(x.shape[:-1])
    images = [0, channels, *(places or [1]), 1]
    wide = graph.node("Reshape", [x.name, graph.integers(images)], name=f"{path}.wide")
    y = graph.node("LRN", [wide], name=f"{path}.images", **settings)
    return x.named(graph.node("Reshape", [y, graph.integers([0, channels, *places])], name=path))


def _bias(graph: Graph, path: str, tensors: Tensors) -> list[str]:
    return [graph.tensor(f"{path}.bias", tensors.params["bias"])] if "bias" in tensors.params else []


def _pads(window: Window, axes: int = 2) -> list[int]:
    """Padding as ONNX has it: before each axis, then after each."""
    before, after = zip(*window.padding[-axes:], strict=True)
    return [*before, *after]


CONVOLUTIONS = {
    layers.Conv1D: _conv,
    layers.Conv2D: _conv,
    layers.DepthwiseConv2D: _conv,
    layers.ConvTranspose2D: _conv_transpose,
    layers.Dense: _dense,
}
POOLS = {
    layers.MaxPool2D: _max_pool,
    layers.AvgPool2D: _avg_pool,
    layers.GlobalAvgPool2D: _global_pool("GlobalAveragePool"),
    layers.GlobalMaxPool2D: _global_pool("GlobalMaxPool"),
    layers.GlobalAvgPool1D: _global_avg_pool_1d,
    layers.AdaptiveAvgPool2D: _adaptive_avg_pool,
    layers.Upsample2D: _upsample,
}
NORMALIZATIONS = {
    layers.Normalize: _normalize,
    layers.BatchNorm: _batch_norm,
    layers.LayerNorm: _layer_norm,
    layers.GroupNorm: _group_norm,
    layers.RMSNorm: _rms_norm,
    layers.LocalResponseNorm: _response_norm,
}
