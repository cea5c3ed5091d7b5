"""Operators that make arrays, and change their shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.kernels.windows import narrow
from xpnet.onnx.operators.call import (
    Call,
    Operator,
    astype,
    axes_of,
    axis_of,
    checked,
    dtype_of,
    error,
    integers,
    like,
    scalar,
)


def _reshape(call: Call, x: Array, shape: Array) -> Array:
    wanted = integers(shape)
    if not call.get("allowzero", 0):
        wanted = [x.shape[i] if n == 0 and i < x.ndim else n for i, n in enumerate(wanted)]
    return array_namespace(x).reshape(x, tuple(wanted))


def _flatten(call: Call, x: Array) -> Array:
    axis = call.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return array_namespace(x).reshape(x, (math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _transpose(call: Call, x: Array) -> Array:
    return array_namespace(x).permute_dims(x, tuple(call.get("perm", range(x.ndim)[::-1])))


def _squeeze(call: Call, x: Array, axes: Array | None = None) -> Array:
    chosen = axes_of(call, axes, x.ndim) or [axis for axis, n in enumerate(x.shape) if n == 1]
    return array_namespace(x).squeeze(x, axis=tuple(chosen))


def _unsqueeze(call: Call, x: Array, axes: Array | None = None) -> Array:
    given = integers(call.get("axes") if axes is None else axes)
    for axis in sorted(axis_of(axis, x.ndim + len(given)) for axis in given):
        x = array_namespace(x).expand_dims(x, axis=axis)
    return x


def _expand(call: Call, x: Array, shape: Array) -> Array:
    xp = array_namespace(x)
    given = tuple(integers(shape))
    rank = max(x.ndim, len(given))
    own, given = (1,) * (rank - x.ndim) + tuple(x.shape), (1,) * (rank - len(given)) + given
    wanted = tuple(b if a == 1 else a for a, b in zip(own, given, strict=True))
    return xp.broadcast_to(x, checked(wanted))


def _tile(call: Call, x: Array, repeats: Array) -> Array:
    counts = tuple(integers(repeats))
    checked(tuple(n * count for n, count in zip(x.shape, counts, strict=True)))
    return array_namespace(x).tile(x, counts)


def _concat(call: Call, *inputs: Array) -> Array:
    return array_namespace(inputs[0]).concat(list(inputs), axis=call.get("axis", 1))


def _split(call: Call, x: Array, split: Array | None = None) -> tuple[Array, ...]:
    axis = axis_of(call.get("axis", 0), x.ndim)
    lengths = integers(call.get("split") if split is None else split)
    if not lengths:
        length = -(-x.shape[axis] // call.get("num_outputs", call.outputs))
        lengths = [length] * call.outputs
    parts, start = [], 0
    for length in lengths:
        parts.append(narrow(x, axis, start, start + length))
        start += length
    return tuple(parts)


def _pad(call: Call, x: Array, pads: Array | None = None, value: Array | None = None, axes: Array | None = None) -> Any:
    widths = integers(call.get("pads") if pads is None else pads)
    chosen = [axis_of(axis, x.ndim) for axis in integers(axes)] or list(range(x.ndim))
    mode, filling = call.get("mode", "constant"), call.get("value", 0.0) if value is None else value
    for at, axis in enumerate(chosen):
        x = _pad_axis(x, axis, widths[at], widths[at + len(chosen)], mode, filling)
    return x


def _pad_axis(x: Array, axis: int, before: int, after: int, mode: str, filling: Any) -> Array:
    """Extend one axis, or crop it where a width is negative."""
    xp, length = array_namespace(x), x.shape[axis]
    if mode == "constant":
        filling = like(x, scalar(filling) if hasattr(filling, "shape") else filling)
        ends = []
        for width in (before, after):
            shape = checked((*x.shape[:axis], max(width, 0), *x.shape[axis + 1 :]))
            ends.append(xp.broadcast_to(filling, shape))
        x = xp.concat([ends[0], x, ends[1]], axis=axis)
        return narrow(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0))
    places = range(-before, length + after)
    if mode == "edge":
        index = [min(max(place, 0), length - 1) for place in places]
    elif mode == "wrap":
        index = [place % length for place in places]
    else:
        period = max(2 * (length - 1), 1)
        index = [min(place % period, period - place % period) if length > 1 else 0 for place in places]
    return xp.take(x, like(x, index, xp.int64), axis=axis)


def _center_crop_pad(call: Call, x: Array, shape: Array) -> Array:
    wanted = integers(shape)
    chosen = [axis_of(axis, x.ndim) for axis in call.get("axes", range(x.ndim))]
    for axis, length in zip(chosen, wanted, strict=True):
        missing = length - x.shape[axis]
        if missing < 0:
            start = -missing // 2
            x = narrow(x, axis, start, start + length)
        elif missing:
            x = _pad_axis(x, axis, missing // 2, missing - missing // 2, "constant", 0.0)
    return x


def _shape(call: Call, x: Array) -> Array:
    xp = array_namespace(x)
    return like(x, list(x.shape)[call.get("start", 0) : call.get("end")], xp.int64)


def _size(call: Call, x: Array) -> Array:
    return like(x, math.prod(x.shape), array_namespace(x).int64)


def _constant_of_shape(call: Call, shape: Array) -> Array:
    """Of one value everywhere, of which the library may hold a single one."""
    xp, value = array_namespace(shape), call.get("value")
    filling = like(shape, 0.0, xp.float32) if value is None else xp.reshape(value, ())
    return xp.broadcast_to(filling, checked(tuple(integers(shape))))


def _constant(call: Call) -> Array:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in call.attributes:
            return call.attributes[name]
    raise error("expected a tensor or numbers, got another kind of value")


def _range(call: Call, start: Array, limit: Array, delta: Array) -> Array:
    xp, first, step = array_namespace(start), scalar(start), scalar(delta)
    count = max(math.ceil((scalar(limit) - first) / step), 0)
    places = xp.arange(checked((count,))[0], dtype=xp.int64, device=device(start))
    return start + astype(places, start.dtype) * delta


def _eye_like(call: Call, x: Array) -> Array:
    xp = array_namespace(x)
    dtype = dtype_of(x, call.get("dtype")) if "dtype" in call.attributes else x.dtype
    return xp.eye(*x.shape, k=call.get("k", 0), dtype=dtype, device=device(x))


def _trilu(call: Call, x: Array, k: Array | None = None) -> Array:
    xp = array_namespace(x)
    return (xp.triu if call.get("upper", 1) else xp.tril)(x, k=0 if k is None else scalar(k))


def _depth_to_space(call: Call, x: Array) -> Array:
    xp, block, (batch, channels, height, width) = array_namespace(x), call.get("blocksize"), x.shape
    depth = channels // (block * block)
    if call.get("mode", "DCR") == "DCR":
        parts = xp.permute_dims(xp.reshape(x, (batch, block, block, depth, height, width)), (0, 3, 4, 1, 5, 2))
    else:
        parts = xp.permute_dims(xp.reshape(x, (batch, depth, block, block, height, width)), (0, 1, 4, 2, 5, 3))
    return xp.reshape(parts, (batch, depth, height * block, width * block))


def _space_to_depth(call: Call, x: Array) -> Array:
    xp, block, (batch, channels, height, width) = array_namespace(x), call.get("blocksize"), x.shape
    parts = xp.reshape(x, (batch, channels, height // block, block, width // block, block))
    order = (0, 3, 5, 1, 2, 4) if call.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return xp.reshape(xp.permute_dims(parts, order), (batch, channels * block * block, height // block, width // block))


OPERATORS: Mapping[str, Operator] = {
    "CenterCropPad": _center_crop_pad,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "EyeLike": _eye_like,
    "Flatten": _flatten,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _trilu,
    "Unsqueeze": _unsqueeze,
}
