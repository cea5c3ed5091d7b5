"""Operators that are layers with parameters, or work along channels: a table from each to its function.

A builder appends to the layers so far, or changes the last of them, and returns how the value lies then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from xpnet import layers
from xpnet.layers.base import Layer
from xpnet.onnx.nodes import Node
from xpnet.onnx.operators.windows import Axis
from xpnet.onnx.parts import Parts, Signal, check_size, to_channels_last
from xpnet.onnx.pooling import channels_first, pair, windows
from xpnet.shapes import extent

Builder = Callable[[Node, Parts, Signal], Signal]


def channels_last(node: Node, x: Signal) -> Signal:
    """The value, which must be vectors, or have the channels behind."""
    if x.view or x.first:
        raise node.error(f"expected a batch with the channels behind, got {x.lengths} of each example", "Transpose it.")
    return x


def _settings(axes: list[Axis]) -> dict[str, Any]:
    names = {"kernel_size": "kernel", "stride": "stride", "dilation": "dilation"}
    values = {name: tuple(getattr(axis, of) for axis in axes) for name, of in names.items()}
    return values if len(axes) == 2 else {name: value[0] for name, value in values.items()}


def _conv(node: Node, parts: Parts, x: Signal) -> Signal:
    weight, bias = node.constant(1, "weights"), node.optional(2, "a bias")
    x = channels_first(node, x, ranks=(2, 3))
    if weight.ndim != len(x.shape) + 1:
        raise node.error(f"expected weights of {len(x.shape) + 1} axes, got shape {weight.shape}", "Check the model.")
    axes, groups, filters = windows(node, x, weight.shape[2:]), node.get("group", 1), weight.shape[0]
    if weight.shape[1] * groups != x.shape[-1]:
        raise node.error(f"expected weights for {x.shape[-1]} channels, got shape {weight.shape}", "Check the model.")
    settings = {**_settings(axes), "bias": bias is not None, "padding": _padding(node, parts, axes)}
    layer: Layer
    if len(axes) == 1:
        layer = layers.Conv1D(filters, groups=groups, **settings)
    elif groups == x.shape[-1] > 1 and filters % groups == 0:
        layer = layers.DepthwiseConv2D(multiplier=filters // groups, **settings)
    else:
        layer = layers.Conv2D(filters, groups=groups, **settings)
    return x._replace(shape=parts.add(node, layer, _with_bias(np.moveaxis(weight, 1, -1), bias)))


def _padding(node: Node, parts: Parts, axes: list[Axis]) -> Any:
    """Padding as the layers have it; what they have not is a ``ZeroPad2D`` in front."""
    if all(axis.before == axis.after for axis in axes):
        return tuple(axis.before for axis in axes) if len(axes) == 2 else axes[0].before
    if len(axes) == 1:
        raise node.error(f"expected as much padding behind as in front, got {axes[0][3:5]}", "Pad the sequences.")
    height, width = ((axis.before, axis.after) for axis in axes)
    parts.add(node, layers.ZeroPad2D((height, width)))
    return 0


def _with_bias(weight: np.ndarray, bias: np.ndarray | None) -> dict[str, np.ndarray]:
    return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}


def _conv_transpose(node: Node, parts: Parts, x: Signal) -> Signal:
    weight, bias = node.constant(1, "weights"), node.optional(2, "a bias")
    x = channels_first(node, x)
    pads, kernel = node.get("pads") or [0] * 4, weight.shape[2:]
    is_known = (
        node.get("group", 1) == 1 and node.get("output_shape") is None and node.get("auto_pad", "NOTSET") == "NOTSET"
    )
    if not is_known or len(kernel) != 2 or pads[:2] != pads[2:] or weight.shape[0] != x.shape[-1]:
        raise node.error("expected images, one group and padding by equal numbers", "Only these are known.")
    strides, dilations = (pair(node.get(name) or (1, 1)) for name in ("strides", "dilations"))
    spread = [s * n + extent(k, d) for s, n, k, d in zip(strides, x.shape, kernel, dilations, strict=False)]
    check_size(node, (*spread, weight.shape[1]))  # before the padding is cut off
    layer = layers.ConvTranspose2D(
        weight.shape[1],
        pair(kernel),
        strides,
        pair(pads[:2]),
        pair(node.get("output_padding") or (0, 0)),
        dilations,
        bias=bias is not None,
    )
    return x._replace(shape=parts.add(node, layer, _with_bias(np.moveaxis(weight, 1, -1), bias)))


def _gemm(node: Node, parts: Parts, x: Signal) -> Signal:
    weight, bias = node.constant(1, "weights"), node.optional(2, "a bias")
    if node.get("transA", 0) or node.sources != [node.inputs[0]] or len(x.shape) != 1:
        raise node.error("expected vectors times constant weights", "Only these are known.")
    weight = weight if node.get("transB", 0) else weight.T
    units = weight.shape[0]
    bias = np.zeros(units, weight.dtype) if bias is None else np.broadcast_to(bias.reshape(-1), (units,))
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    return _dense(node, parts, x, weight if alpha == 1 else alpha * weight, bias if beta == 1 else beta * bias)


def _matmul(node: Node, parts: Parts, x: Signal) -> Signal:
    weight = node.constant(1, "weights")
    if weight.ndim != 2:
        raise node.error(f"expected a matrix of weights, got shape {weight.shape}", "Only a matrix is known.")
    return _dense(node, parts, x, weight.T, np.zeros(weight.shape[1], weight.dtype))


def _dense(node: Node, parts: Parts, x: Signal, weight: np.ndarray, bias: np.ndarray) -> Signal:
    x = channels_last(node, x)
    if weight.shape[1] != x.shape[-1]:
        raise node.error(f"expected weights for {x.shape[-1]} features, got {weight.shape[1]}", "Check the model.")
    weight = to_channels_last(weight, x.flat_of) if x.flat_of else weight
    shape = parts.add(node, layers.Dense(weight.shape[0]), {"weight": weight, "bias": bias})
    return Signal(shape)


def _batch_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    x = channels_first(node, x, ranks=(2, 3)) if len(x.shape) > 1 else channels_last(node, x)
    if node.get("training_mode", 0):
        raise node.error("expected training_mode 0, got 1", "Export the model for inference.")
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: x.per_channel(node, _along(node.constant(at, name), x)) for at, name in enumerate(names, start=1)}
    layer = layers.BatchNorm(1 - node.get("momentum", 0.9), node.get("epsilon", 1e-5))
    if (tensors["running_var"] + layer.eps <= 0).any():
        raise node.error("expected a variance of at least 0, got one below", "Export the network again.")
    params = {name: tensors[name] for name in names[:2]}
    parts.add(node, layer, params, {name: tensors[name] for name in names[2:]})
    return x


def _along(vector: np.ndarray, x: Signal) -> np.ndarray:
    """A vector over the channels, so that it broadcasts with the graph's value."""
    return vector.reshape(-1, *(1,) * (len(x.shape) - 1)) if x.first else vector


def _layer_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    x = _over_features(node, x)
    weight, bias = node.constant(1, "weights"), node.optional(2, "a bias")
    params = {"weight": weight, "bias": np.zeros_like(weight) if bias is None else bias}
    parts.add(node, layers.LayerNorm(node.get("epsilon", 1e-5)), params)
    return x


def _rms_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    x = _over_features(node, x)
    weight = x.per_channel(node, node.constant(1, "weights"))
    parts.add(node, layers.RMSNorm(node.get("epsilon", 1e-5)), {"weight": weight})
    return x


def _over_features(node: Node, x: Signal) -> Signal:
    """The value, which must have the channels behind, as the node's axis must say."""
    x, axis = channels_last(node, x), node.get("axis", -1)
    if x.flat_of or axis % (len(x.shape) + 1) != len(x.shape):
        raise node.error(f"expected the last axis, got {axis} of {x.lengths}", "Only that is known.")
    return x


def _instance_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    """``GroupNorm`` with a group for each channel, or for each of what a Reshape has made of the channels."""
    scale, bias, eps = node.constant(1, "a scale"), node.constant(2, "a bias"), node.get("epsilon", 1e-5)
    if x.view[:1] == ("grouped",):
        groups, channels = x.view[1], x.shape[-1]
        scale, bias = (np.repeat(vector, channels // groups) for vector in (scale, bias))
    else:
        groups = channels_first(node, x, ranks=(2, 3)).shape[-1]
    parts.add(node, layers.GroupNorm(groups, eps=eps), {"weight": scale, "bias": bias})
    return x


def _group_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    groups, channels = node.get("num_groups", 1), channels_first(node, x, ranks=(2, 3)).shape[-1]
    scale, bias = node.constant(1, "a scale"), node.constant(2, "a bias")
    if node.opset < 21:
        scale, bias = (np.repeat(vector, channels // groups) for vector in (scale, bias))
    parts.add(node, layers.GroupNorm(groups, eps=node.get("epsilon", 1e-5)), {"weight": scale, "bias": bias})
    return x


def _response_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    size, settings = node.get("size"), {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    alpha, beta, k = (node.get(name, default) for name, default in settings.items())
    parts.add(node, layers.LocalResponseNorm(size, alpha, beta, k))
    return x if x.view in (("wide", "channels first"), ("image",)) else channels_first(node, x)


def _softmax(node: Node, parts: Parts, x: Signal) -> Signal:
    """Over the channels; before opset 13 over all axes from one on, which must be no more than the channels."""
    axis = node.get("axis", 1 if node.opset < 13 else -1) % (len(x.shape) + 1)
    is_over_channels = (
        axis == x.channel_axis
        if node.opset >= 13
        else (math.prod(x.lengths[axis - 1 :]) == x.shape[-1] and axis <= x.channel_axis)
    )
    if x.view or not is_over_channels:
        raise node.error(f"expected the channels' axis, {x.channel_axis}, got {axis}", "Only that is known.")
    parts.add(node, layers.Softmax())
    return x


BUILDERS: Mapping[str, Builder] = {
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _response_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "RMSNormalization": _rms_norm,
    "Softmax": _softmax,
}
