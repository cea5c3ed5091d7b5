"""Operators that are layers with windows but no parameters: a table from each to the function that makes the layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from xpnet import layers
from xpnet.layers.base import Layer
from xpnet.onnx.nodes import Node
from xpnet.onnx.operators import Call
from xpnet.onnx.operators.windows import Axis, sliding
from xpnet.onnx.parts import Parts, Signal, check_size
from xpnet.shapes import Pair

Builder = Callable[[Node, Parts, Signal], Signal]


def channels_first(node: Node, x: Signal, *, ranks: tuple[int, ...] = (3,)) -> Signal:
    """The value, which must be images (or of these ranks) with the channels in front."""
    if x.view or len(x.shape) not in ranks or not (x.first or len(x.shape) == 1) or x.flat_of:
        raise node.error(
            f"expected a batch with the channels in front, got {x.lengths} of each example", "Transpose it."
        )
    return x


def pair(values: Sequence[int]) -> Pair:
    """Height and width."""
    height, width = values
    return int(height), int(width)


def windows(node: Node, x: Signal, kernel: Sequence[int]) -> list[Axis]:
    """The windows along the image axes, as the operator itself would slide them."""
    axes = sliding(Call(node.attributes, node.opset), x.shape[:-1], kernel)
    padded = [axis.before + length + axis.after for axis, length in zip(axes, x.shape, strict=False)]
    check_size(node, (*padded, x.shape[-1]))
    return axes


def _max_pool(node: Node, parts: Parts, x: Signal) -> Signal:
    axes = windows(node, channels_first(node, x), node.get("kernel_shape"))
    return x._replace(shape=parts.add(node, _pool(node, layers.MaxPool2D, axes, x.shape)))


def _average_pool(node: Node, parts: Parts, x: Signal) -> Signal:
    axes = windows(node, channels_first(node, x), node.get("kernel_shape"))
    counts = bool(node.get("count_include_pad", 0)) or all(axis.before == axis.after == 0 for axis in axes)
    return x._replace(shape=parts.add(node, _pool(node, layers.AvgPool2D, axes, x.shape, count_padding=counts)))


def _pool(node: Node, kind: Any, axes: list[Axis], shape: Sequence[int], **settings: Any) -> Layer:
    """The layer with the same windows, without the padding after the image that does not count."""
    if any(axis.dilation != 1 for axis in axes):
        raise node.error("expected a window without dilation", "Only that is known.")
    counts = settings.get("count_padding", False)
    axes = axes if counts else [_within(axis, length) for axis, length in zip(axes, shape, strict=False)]
    kernel, stride, before = (pair([getattr(axis, name) for axis in axes]) for name in ("kernel", "stride", "before"))
    if not counts or all(axis.before == axis.after for axis in axes):
        for ceil in (False, True):
            layer = kind(kernel, None if stride == kernel else stride, before, ceil, **settings)
            if layer.output_shape((*shape[:2], 1))[:2] == tuple(axis.places for axis in axes):
                return layer
    raise node.error(
        f"expected as much padding behind as in front, got {[axis[3:5] for axis in axes]}",
        "Only that and ceil_mode are known.",
    )


def _within(axis: Axis, length: int) -> Axis:
    """The same window without padding behind, which does not count, where it has one place only."""
    if axis.places > 1 or axis.before or axis.kernel <= length:
        return axis
    return Axis(length, length, 1, 0, 0, 1)


def _global_average(node: Node, parts: Parts, x: Signal) -> Signal:
    return x._replace(shape=parts.add(node, layers.AdaptiveAvgPool2D(1))) if channels_first(node, x) else x


def _global_max(node: Node, parts: Parts, x: Signal) -> Signal:
    return x._replace(shape=parts.add(node, layers.MaxPool2D(pair(channels_first(node, x).shape[:2]))))


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


def _pad(node: Node, parts: Parts, x: Signal) -> Signal:
    """``ZeroPad2D`` or ``PadChannels``."""
    pads = node.get("pads") if node.opset < 11 else node.constant(1, "pads").tolist()
    value = node.get("value", 0.0) if node.opset < 11 else node.optional(2, "a value")
    rank, is_zero = len(x.shape) + 1, value is None or not np.any(value)
    if (
        x.view
        or x.flat_of
        or not is_zero
        or len(pads) != 2 * rank
        or min(pads) < 0
        or node.get("mode", "constant") != "constant"
    ):
        raise node.error("expected zeros around a batch of which no axis is cropped", "Only these are known.")
    padded = [axis for axis in range(rank) if pads[axis] or pads[axis + rank]]
    if padded == [x.channel_axis]:
        layer = layers.PadChannels(pads[x.channel_axis], pads[x.channel_axis + rank])
    elif rank == 4 and x.first and not {0, 1} & set(padded):
        layer = layers.ZeroPad2D(((pads[2], pads[6]), (pads[3], pads[7])))
    else:
        raise node.error(
            f"expected zeros around height and width, or channels, got axes {padded}", "Only these are known."
        )
    return x._replace(shape=parts.add(node, layer))


BUILDERS: Mapping[str, Builder] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Resize": _resize,
    "Upsample": _resize,
}
