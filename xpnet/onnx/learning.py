"""Operators that are layers with parameters or windows: a table from each to the function that makes the layer.

A builder appends to the layers so far, or changes the last of them, and returns how the value lies then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xpnet import layers
from xpnet.layers.base import Layer
from xpnet.onnx.nodes import Node
from xpnet.onnx.operators.windows import Axis, sliding
from xpnet.onnx.parts import Parts, Signal, to_channels_last

Builder = Callable[[Node, Parts, Signal], Signal]


def channels_first(node: Node, x: Signal, *, ranks: tuple[int, ...] = (3,)) -> Signal:
    """The value, which must be images (or of these ranks) with the channels in front."""
    if x.view or len(x.shape) not in ranks or not (x.first or len(x.shape) == 1) or x.flat_of:
        raise node.error(
            f"expected a batch with the channels in front, got {x.lengths} of each example", "Transpose it."
        )
    return x


def channels_last(node: Node, x: Signal) -> Signal:
    """The value, which must be vectors, or have the channels behind."""
    if x.view or x.first:
        raise node.error(f"expected a batch with the channels behind, got {x.lengths} of each example", "Transpose it.")
    return x


def _windows(node: Node, x: Signal, kernel: Sequence[int]) -> list[Axis]:
    """The windows along the image axes, as the operator itself would slide them."""
    from xpnet.onnx.operators import Call
    from xpnet.onnx.program import at

    with at(node.label):
        return sliding(Call(node.attributes, node.opset), x.shape[:-1], kernel)


def _settings(axes: list[Axis]) -> dict[str, Any]:
    names = {"kernel_size": "kernel", "stride": "stride", "dilation": "dilation"}
    values = {name: tuple(getattr(axis, of) for axis in axes) for name, of in names.items()}
    return values if len(axes) == 2 else {name: value[0] for name, value in values.items()}


def _conv(node: Node, parts: Parts, x: Signal) -> Signal:
    weight, bias = node.constant(1, "weights"), node.optional(2, "a bias")
    x = channels_first(node, x, ranks=(2, 3))
    if weight.ndim != len(x.shape) + 1:
        raise node.error(f"expected weights of {len(x.shape) + 1} axes, got shape {weight.shape}", "Check the model.")
    axes, groups, filters = _windows(node, x, weight.shape[2:]), node.get("group", 1), weight.shape[0]
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
    parts.add(node, layers.ZeroPad2D(tuple((axis.before, axis.after) for axis in axes)))
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
    layer = layers.ConvTranspose2D(
        weight.shape[1],
        kernel,
        tuple(node.get("strides") or (1, 1)),
        tuple(pads[:2]),
        tuple(node.get("output_padding") or (0, 0)),
        tuple(node.get("dilations") or (1, 1)),
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


def _max_pool(node: Node, parts: Parts, x: Signal) -> Signal:
    axes = _windows(node, channels_first(node, x), node.get("kernel_shape"))
    return x._replace(shape=parts.add(node, _pool(node, layers.MaxPool2D, axes, x.shape)))


def _average_pool(node: Node, parts: Parts, x: Signal) -> Signal:
    axes = _windows(node, channels_first(node, x), node.get("kernel_shape"))
    counts = bool(node.get("count_include_pad", 0)) or all(axis.before == axis.after == 0 for axis in axes)
    return x._replace(shape=parts.add(node, _pool(node, layers.AvgPool2D, axes, x.shape, count_padding=counts)))


def _pool(node: Node, kind: Any, axes: list[Axis], shape: Sequence[int], **settings: Any) -> Layer:
    """The layer with the same windows; the padding after the image may be what ``ceil`` adds."""
    if any(axis.dilation != 1 for axis in axes):
        raise node.error("expected a window without dilation", "Only that is known.")
    if kind is layers.MaxPool2D or not settings["count_padding"]:
        axes = [_within(axis, length) for axis, length in zip(axes, shape, strict=False)]
    wanted = tuple(
        (axis.before, max(axis.after, axis.overhang - axis.before - n)) for axis, n in zip(axes, shape, strict=False)
    )
    kernel, stride = (tuple(getattr(axis, name) for axis in axes) for name in ("kernel", "stride"))
    symmetric = tuple(axis.before for axis in axes)
    for ceil in (False, True):
        try:
            layer = kind(kernel, None if stride == kernel else stride, symmetric, ceil, **settings)
        except ValueError as error:
            raise node.error(str(error).rstrip("."), "Only such padding is known.") from error
        window = layer.window_over((shape[0], shape[1]))
        places = window.output_size(shape[0], shape[1])
        is_same = all(
            # padding that no window reaches makes no difference, but to a mean that counts it
            w == p
            or (max(w[1], p[1]) <= axis.overhang - axis.before - n + axis.stride - 1 and kind is layers.MaxPool2D)
            for w, p, axis, n in zip(wanted, window.padding, axes, shape, strict=False)
        )
        if places == tuple(axis.places for axis in axes) and is_same:
            return layer
    raise node.error(
        f"expected as much padding behind as in front, got {wanted}", "Only that, and ceil_mode are known."
    )


def _within(axis: Axis, length: int) -> Axis:
    """The same window without padding behind, which does not count, where it has one place only."""
    if axis.places > 1 or axis.before or axis.kernel <= length:
        return axis
    return Axis(length, length, 1, 0, 0, 1)


def _global_average(node: Node, parts: Parts, x: Signal) -> Signal:
    return x._replace(shape=parts.add(node, layers.AdaptiveAvgPool2D(1))) if channels_first(node, x) else x


def _global_max(node: Node, parts: Parts, x: Signal) -> Signal:
    return x._replace(shape=parts.add(node, layers.MaxPool2D(channels_first(node, x).shape[:2])))


def _reduce_mean(node: Node, parts: Parts, x: Signal) -> Signal:
    """Means over all places: of images, or of sequences."""
    given = node.get("axes") if len(node.inputs) < 2 else node.constant(1, "axes").tolist()
    rank = len(x.shape) + 1
    axes = sorted(axis % rank for axis in given or [])
    if x.view or len(x.shape) < 2 or axes != [axis for axis in range(1, rank) if axis != x.channel_axis]:
        raise node.error(
            f"expected a mean over all places, got one over axes {axes} of {x.lengths}", "Only that is known."
        )
    keeps = node.get("keepdims", 1)
    if len(x.shape) == 2:
        if keeps:
            raise node.error("expected keepdims to be 0, got 1", "Only that is known.")
        return Signal(parts.add(node, layers.GlobalAvgPool1D()))
    if keeps:
        return x._replace(shape=parts.add(node, layers.AdaptiveAvgPool2D(1)))
    return Signal(parts.add(node, layers.GlobalAvgPool2D()))


def _resize(node: Node, parts: Parts, x: Signal) -> Signal:
    """``Upsample2D`` by whole factors."""
    x = channels_first(node, x)
    scales = node.optional(1 if node.opset < 11 else 2, "scales")
    sizes = node.optional(3, "sizes")
    if scales is None and node.get("scales") is not None:
        scales = np.asarray(node.get("scales"))
    if sizes is not None:
        scales = np.asarray(sizes) / np.asarray([1, *x.lengths])
        scales[0] = 1
    if scales is None or len(scales) != 4 or any(s != 1 for s in scales[:2]) or any(s < 1 or s % 1 for s in scales[2:]):
        raise node.error("expected integer factors along height and width", "Only these are known.")
    mode, how = node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel")
    is_nearest = mode == "nearest" and (
        node.opset < 11
        or (how == "asymmetric" and node.get("nearest_mode", "round_prefer_floor") == "floor")
        or (how == "half_pixel" and node.get("nearest_mode", "round_prefer_floor").startswith("round"))
    )
    is_linear = mode == "linear" and node.opset >= 11 and how in ("half_pixel", "pytorch_half_pixel")
    if not (is_nearest or is_linear) or node.get("antialias", 0):
        raise node.error(f"expected nearest or linear at half pixels, got {mode} {how}", "Only these are known.")
    layer = layers.Upsample2D((int(scales[2]), int(scales[3])), "nearest" if is_nearest else "bilinear")
    return x._replace(shape=parts.add(node, layer))


def _batch_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    x = channels_first(node, x, ranks=(2, 3)) if len(x.shape) > 1 else channels_last(node, x)
    names = ("weight", "bias", "running_mean", "running_var")
    tensors = {name: x.per_channel(node, _along(node.constant(at, name), x)) for at, name in enumerate(names, start=1)}
    layer = layers.BatchNorm(1 - node.get("momentum", 0.9), node.get("epsilon", 1e-5))
    params = {name: tensors[name] for name in names[:2]}
    parts.add(node, layer, params, {name: tensors[name] for name in names[2:]})
    return x


def _along(vector: np.ndarray, x: Signal) -> np.ndarray:
    """A vector over the channels, so that it broadcasts with the graph's value."""
    return vector.reshape(-1, *(1,) * (len(x.shape) - 1)) if x.first else vector


def _layer_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    x, axis = channels_last(node, x), node.get("axis", -1)
    if x.flat_of or axis % (len(x.shape) + 1) != len(x.shape):
        raise node.error(f"expected the last axis, got {axis} of {x.lengths}", "Only that is known.")
    weight, bias = node.constant(1, "weights"), node.optional(2, "a bias")
    params = {"weight": weight, "bias": np.zeros_like(weight) if bias is None else bias}
    parts.add(node, layers.LayerNorm(node.get("epsilon", 1e-5)), params)
    return x


def _instance_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    """``GroupNorm`` with a group for each channel, or for each of what a Reshape has made of the channels."""
    scale, bias, eps = node.constant(1, "a scale"), node.constant(2, "a bias"), node.get("epsilon", 1e-5)
    if x.view[:1] == ("grouped",):
        groups, channels = x.view[1], x.shape[-1]
        scale, bias = (np.repeat(vector, channels // groups) for vector in (scale, bias))
    else:
        groups = channels_first(node, x, ranks=(2, 3)).shape[-1]
    parts.add(node, layers.GroupNorm(eps, groups), {"weight": scale, "bias": bias})
    return x


def _group_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    groups, channels = node.get("num_groups", 1), channels_first(node, x, ranks=(2, 3)).shape[-1]
    scale, bias = node.constant(1, "a scale"), node.constant(2, "a bias")
    if node.opset < 21:
        scale, bias = (np.repeat(vector, channels // groups) for vector in (scale, bias))
    parts.add(node, layers.GroupNorm(node.get("epsilon", 1e-5), groups), {"weight": scale, "bias": bias})
    return x


def _response_norm(node: Node, parts: Parts, x: Signal) -> Signal:
    size, settings = node.get("size"), {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    alpha, beta, k = (node.get(name, default) for name, default in settings.items())
    parts.add(node, layers.LocalResponseNorm(size, alpha, beta, k))
    return channels_first(node, x)


def _pad(node: Node, parts: Parts, x: Signal) -> Signal:
    """``ZeroPad2D``."""
    x = channels_first(node, x)
    pads = node.get("pads") if node.opset < 11 else node.constant(1, "pads").tolist()
    value = node.get("value", 0.0) if node.opset < 11 else node.optional(2, "a value")
    is_zero = value is None or not np.any(value)
    if (
        len(pads) != 8
        or any(pads[at] for at in (0, 1, 4, 5))
        or min(pads) < 0
        or not is_zero
        or node.get("mode", "constant") != "constant"
    ):
        raise node.error("expected zeros around height and width", "Only these are known.")
    return x._replace(shape=parts.add(node, layers.ZeroPad2D(((pads[2], pads[6]), (pads[3], pads[7])))))


def _softmax(node: Node, parts: Parts, x: Signal) -> Signal:
    """Over the channels; before opset 13 over all axes from one on, of which only the channels' may be longer than 1."""
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
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _response_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Resize": _resize,
    "Softmax": _softmax,
    "Upsample": _resize,
}
