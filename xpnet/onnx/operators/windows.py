"""Operators that slide a window over images with the channels first, along any number of axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from array_api_compat import device

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.kernels.windows import join, narrow, pad, split, spread, sum_arrays, taps
from xpnet.onnx.operators.call import (
    Call,
    Operator,
    astype,
    error,
    integers,
    is_floating,
    like,
    moved_back,
    moved_last,
    single_precision,
)
from xpnet.shapes import Pair, Window, extent


class Axis(NamedTuple):
    """A window along one axis, the axis's padding, and how many places the window has."""

    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    places: int

    @property
    def overhang(self) -> int:
        """How far the last window reaches beyond the padding; negative where it does not reach the end."""
        return self.stride * (self.places - 1) + extent(self.kernel, self.dilation)


def sliding(call: Call, sizes: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    """The windows along the image axes, from a node's attributes."""
    rank, axes = len(sizes), []
    strides, dilations = call.get("strides") or [1] * rank, call.get("dilations") or [1] * rank
    pads, how = call.get("pads") or [0] * (2 * rank), call.get("auto_pad", "NOTSET")
    if min(*strides, *dilations) < 1:
        raise error(f"expected strides and dilations of at least 1, got {list(strides)} and {list(dilations)}")
    for at, length in enumerate(sizes):
        stride, span = strides[at], extent(kernel[at], dilations[at])
        before, after = (0, 0) if how == "VALID" else (pads[at], pads[at + rank])
        if how.startswith("SAME"):
            places = -(-length // stride)
            total = max((places - 1) * stride + span - length, 0)
            before = total // 2 if how == "SAME_UPPER" else -(-total // 2)
            after = total - before
        room = length + before + after - span
        places = room // stride + 1
        if call.get("ceil_mode", 0) and room % stride and places * stride < length + before:
            places += 1  # a last window, unless it would begin in the padding after the image
        if places < 1:
            raise error(f"expected a window of at most {length + before + after}, got one of {span}")
        axes.append(Axis(kernel[at], stride, dilations[at], before, after, places))
    return axes


def _extended(x: Array, axes: Sequence[Axis], value: float) -> Array:
    """The images with all that windows reach beyond them."""
    for at, axis in enumerate(axes, start=2):
        x = pad(x, at, axis.before, max(axis.overhang - axis.before - x.shape[at], 0), value)
    return x


def _taps(x: Array, at: int, axis: Axis) -> list[Array]:
    return taps(x, at, axis.kernel, axis.stride, axis.dilation, axis.places)


def _as_window(axes: Sequence[Axis], sizes: Sequence[int]) -> Window:
    """The windows of images as the kernels take them."""
    padding = [(a.before, max(a.overhang - a.before - n, 0)) for a, n in zip(axes, sizes, strict=True)]
    return Window(_pair(axes, "kernel"), _pair(axes, "stride"), (padding[0], padding[1]), _pair(axes, "dilation"))


def _pair(axes: Sequence[Axis], name: str) -> Pair:
    first, second = (getattr(axis, name) for axis in axes)
    return first, second


def _conv(call: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """``kernels.conv2d``; sequences are images of height 1."""
    rank = x.ndim - 2
    if rank not in (1, 2):
        raise error(f"expected images or sequences, got {rank} axes beside batch and channels")
    axes, sizes = sliding(call, x.shape[2:], weight.shape[2:]), list(x.shape[2:])
    if rank == 1:
        axes, sizes, x, weight = [Axis(1, 1, 1, 0, 0, 1), *axes], [1, *sizes], x[:, :, None, :], weight[:, :, None, :]
    y = kernels.conv2d(moved_last(x), moved_last(weight), bias, _as_window(axes, sizes), call.get("group", 1))
    return moved_back(y) if rank == 2 else moved_back(y)[:, :, 0, :]


def _conv_transpose(call: Call, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """The sum of each tap's products, laid out as far apart as the stride says and shifted by the tap's place."""
    xp, kernel, sizes = array_namespace(x), weight.shape[2:], x.shape[2:]
    rank, groups = len(sizes), call.get("group", 1)
    strides, dilations = call.get("strides") or [1] * rank, call.get("dilations") or [1] * rank
    added = call.get("output_padding") or [0] * rank
    full = [
        s * (n - 1) + extent(k, d) + a for n, k, s, d, a in zip(sizes, kernel, strides, dilations, added, strict=True)
    ]
    before, lengths = _cropping(call, sizes, strides, full)
    parts = []
    for images, own in zip(split(x, 1, groups), split(weight, 0, groups), strict=True):
        images, pieces = moved_last(images), []
        for tap in itertools.product(*(range(k) for k in kernel)):
            piece = moved_back(xp.matmul(images, own[(..., *tap)]))
            for axis, at in enumerate(tap, start=2):
                piece = spread(piece, axis, strides[axis - 2])
                start = at * dilations[axis - 2]
                piece = pad(piece, axis, start, full[axis - 2] - start - piece.shape[axis])
            pieces.append(piece)
        parts.append(sum_arrays(pieces))
    y = join(parts, 1)
    for axis, (start, length) in enumerate(zip(before, lengths, strict=True), start=2):
        y = pad(y, axis, 0, max(start + length - y.shape[axis], 0))
        y = narrow(y, axis, start, start + length)
    return y if bias is None else y + xp.reshape(bias, (-1, *(1,) * rank))


def _cropping(
    call: Call, sizes: Sequence[int], strides: Sequence[int], full: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Where along each axis the output begins in the full sum, and its length."""
    rank, how, wanted = len(sizes), call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if wanted is None and how.startswith("SAME"):
        wanted = [n * s for n, s in zip(sizes, strides, strict=True)]
    if wanted is None:
        pads = call.get("pads") or [0] * (2 * rank)
        return list(pads[:rank]), [n - b - a for n, b, a in zip(full, pads[:rank], pads[rank:], strict=True)]
    wanted = list(wanted)[-rank:]
    total = [max(n - w, 0) for n, w in zip(full, wanted, strict=True)]
    return [n // 2 if how == "SAME_UPPER" else n - n // 2 for n in total], wanted


def _max_pool(call: Call, x: Array) -> Any:
    axes = sliding(call, x.shape[2:], call.get("kernel_shape"))
    is_plain = all(axis.dilation == 1 and 2 * max(axis.before, axis.after) <= axis.kernel for axis in axes)
    if call.outputs == 1 and x.ndim == 4 and is_floating(x) and is_plain:
        return moved_back(kernels.max_pool2d(moved_last(x), _as_window(axes, x.shape[2:])))
    xp = array_namespace(x)
    lowest = -math.inf if is_floating(x) else xp.iinfo(x.dtype).min
    index, y = _extended(_places(call, x), axes, 0), _extended(x, axes, lowest)
    for at, axis in reversed(list(enumerate(axes, start=2))):
        values, places = _taps(y, at, axis), _taps(index, at, axis)
        y, index = values[0], places[0]
        for value, place in zip(values[1:], places[1:], strict=True):
            is_larger = value > y
            y, index = xp.where(is_larger, value, y), xp.where(is_larger, place, index)
    return (y, index) if call.outputs > 1 else y


def _places(call: Call, x: Array) -> Array:
    """The number of each element in x, rows first, or columns first with ``storage_order`` 1."""
    xp, sizes = array_namespace(x), tuple(x.shape[2:])
    order = sizes[::-1] if call.get("storage_order", 0) else sizes
    inner = xp.reshape(xp.arange(math.prod(sizes), dtype=xp.int64, device=device(x)), order)
    inner = xp.permute_dims(inner, tuple(range(len(sizes))[::-1])) if call.get("storage_order", 0) else inner
    images = xp.arange(x.shape[0] * x.shape[1], dtype=xp.int64, device=device(x)) * math.prod(sizes)
    return xp.reshape(images, (*x.shape[:2], *(1,) * len(sizes))) + inner


def _average_pool(call: Call, x: Array) -> Array:
    """Sums over the windows by how many of their values count."""
    sizes = x.shape[2:]
    axes = sliding(call, sizes, call.get("kernel_shape"))
    y = _summed(x, axes)
    for at, (axis, length) in enumerate(zip(axes, sizes, strict=True), start=2):
        ends = (-axis.before, length + axis.after) if call.get("count_include_pad", 0) else (0, length)
        counts = [
            sum(
                ends[0] <= place * axis.stride - axis.before + tap * axis.dilation < ends[1]
                for tap in range(axis.kernel)
            )
            for place in range(axis.places)
        ]
        y = y / array_namespace(x).reshape(like(x, counts), (-1, *(1,) * (x.ndim - 1 - at)))
    return y


def _summed(x: Array, axes: Sequence[Axis]) -> Array:
    x = _extended(x, axes, 0.0)
    for at, axis in enumerate(axes, start=2):
        x = sum_arrays(_taps(x, at, axis))
    return x


def _lp_pool(call: Call, x: Array) -> Array:
    xp, p = array_namespace(x), call.get("p", 2)
    axes = sliding(call, x.shape[2:], call.get("kernel_shape"))
    return xp.pow(_summed(xp.pow(xp.abs(x), like(x, p)), axes), like(x, 1 / p))


def _global(name: str) -> Operator:
    def operator(call: Call, x: Array) -> Array:
        return getattr(array_namespace(x), name)(x, axis=tuple(range(2, x.ndim)), keepdims=True)

    return operator


def _max_unpool(call: Call, x: Array, index: Array, shape: Array | None = None) -> Array:
    """Each value at the place in the output that its index names, zeros elsewhere."""
    xp, kernel = array_namespace(x), call.get("kernel_shape")
    rank = len(kernel)
    strides, pads = call.get("strides") or [1] * rank, call.get("pads") or [0] * (2 * rank)
    sizes = [
        (n - 1) * s + k - b - a
        for n, s, k, b, a in zip(x.shape[2:], strides, kernel, pads[:rank], pads[rank:], strict=True)
    ]
    counted = (*x.shape[:2], *sizes)
    places = xp.arange(math.prod(counted), dtype=xp.int64, device=device(x))
    is_there = astype(places[:, None] == xp.reshape(index, (1, -1)), x.dtype)
    y = xp.reshape(is_there @ xp.reshape(x, (-1,)), counted)
    for at, length in enumerate(integers(shape)):
        y = pad(y, at, 0, length - y.shape[at])
    return y


OPERATORS: Mapping[str, Operator] = {
    "AveragePool": lambda call, x: astype(_average_pool(call, single_precision(x)), x.dtype),
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global("mean"),
    "GlobalMaxPool": _global("max"),
    "LpPool": _lp_pool,
    "MaxPool": _max_pool,
    "MaxUnpool": _max_unpool,
}
