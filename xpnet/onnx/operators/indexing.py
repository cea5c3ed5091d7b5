"""Operators that take parts of arrays by indices, or find these."""

from __future__ import annotations

import math
from collections.abc import Mapping

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.kernels.windows import narrow
from xpnet.onnx.operators.call import Call, Operator, astype, axis_of, checked, dtype_name, integers, like, scalar


def _slice(call: Call, x: Array, *inputs: Array) -> Array:
    if call.opset < 10:
        starts, ends, axes, steps = call.get("starts"), call.get("ends"), call.get("axes", []), []
    else:
        starts, ends, axes, steps = ([integers(numbers) for numbers in inputs] + [[], []])[:4]
    chosen = axes or range(len(starts))
    index = [slice(None)] * x.ndim
    for i, axis in enumerate(chosen):
        at, step = axis_of(axis, x.ndim), steps[i] if steps else 1
        first, last, step = slice(_bounded(starts[i]), _bounded(ends[i]), step).indices(x.shape[at])
        if step < 0:  # in the standard no slice goes backwards: turn the axis first
            x = array_namespace(x).flip(x, axis=at)
            first, last, step = x.shape[at] - 1 - first, x.shape[at] - 1 - last, -step
        index[at] = slice(first, max(last, first), step)
    return x[tuple(index)]


def _bounded(n: int) -> int:
    return max(min(n, 2**62), -(2**62))


def _gather(call: Call, x: Array, index: Array) -> Array:
    xp, axis = array_namespace(x), axis_of(call.get("axis", 0), x.ndim)
    flat = xp.reshape(_from_front(index, x.shape[axis]), (-1,))
    return xp.reshape(xp.take(x, flat, axis=axis), (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _from_front(index: Array, length: int) -> Array:
    xp = array_namespace(index)
    index = astype(index, xp.int64)
    return xp.where(index < 0, index + length, index)


def _gather_elements(call: Call, x: Array, index: Array) -> Array:
    axis = axis_of(call.get("axis", 0), x.ndim)
    return array_namespace(x).take_along_axis(x, _from_front(index, x.shape[axis]), axis=axis)


def _gather_nd(call: Call, x: Array, index: Array) -> Array:
    """Rows of x as a matrix, by the number that an index's coordinates make."""
    xp, shared, count = array_namespace(x), call.get("batch_dims", 0), index.shape[-1]
    batch, indexed = x.shape[:shared], x.shape[shared : shared + count]
    row = xp.zeros(index.shape[:-1], dtype=xp.int64, device=device(x))
    for at, length in enumerate(indexed):
        row = row * length + _from_front(index[..., at], length)
    if shared:
        examples = math.prod(batch)
        offset = xp.arange(examples, dtype=xp.int64, device=device(x)) * math.prod(indexed)
        row = row + xp.reshape(offset, (*batch, *(1,) * (row.ndim - shared)))
    rest = x.shape[shared + count :]
    rows = xp.reshape(x, (math.prod(batch) * math.prod(indexed), math.prod(rest)))
    return xp.reshape(xp.take(rows, xp.reshape(row, (-1,)), axis=0), (*row.shape, *rest))


def _one_hot(call: Call, index: Array, depth: Array, values: Array) -> Array:
    xp, count = array_namespace(index), int(scalar(depth))
    axis = axis_of(call.get("axis", -1), index.ndim + 1)
    places = xp.arange(checked((count,))[0], dtype=xp.int64, device=device(index))
    wanted = astype(index, xp.int64)
    wanted = xp.where(wanted < 0, wanted + count, wanted)
    is_hot = xp.expand_dims(wanted, axis=-1) == places
    return xp.moveaxis(xp.where(is_hot, values[1], values[0]), -1, axis)


def _reverse_sequence(call: Call, x: Array, lengths: Array) -> Array:
    """For each example the first so many places in reverse order."""
    xp, time = array_namespace(x), call.get("time_axis", 0)
    rows = xp.moveaxis(x, time, 0) if time else x  # time first, then the batch
    places = xp.arange(rows.shape[0], dtype=xp.int64, device=device(x))[:, None]
    ends = astype(lengths, xp.int64)[None, :]
    index = xp.where(places < ends, ends - 1 - places, places)
    index = xp.broadcast_to(xp.reshape(index, (*index.shape, *(1,) * (x.ndim - 2))), rows.shape)
    rows = xp.take_along_axis(rows, index, axis=0)
    return xp.moveaxis(rows, 0, time) if time else rows


def _top_k(call: Call, x: Array, k: Array | None = None) -> tuple[Array, Array]:
    xp, axis = array_namespace(x), axis_of(call.get("axis", -1), x.ndim)
    count = call.get("k") if k is None else int(scalar(k))
    order = xp.argsort(x, axis=axis, descending=bool(call.get("largest", 1)), stable=True)
    order = narrow(order, axis, 0, count)
    return xp.take_along_axis(x, order, axis=axis), astype(order, xp.int64)


def _compress(call: Call, x: Array, condition: Array) -> Array:
    xp, axis = array_namespace(x), call.get("axis")
    chosen = [i for i, is_in in enumerate(integers(condition)) if is_in]
    x = xp.reshape(x, (-1,)) if axis is None else x
    return xp.take(x, like(x, chosen, xp.int64), axis=axis or 0)


def _non_zero(call: Call, x: Array) -> Array:
    xp = array_namespace(x)
    return xp.stack(
        [astype(index, xp.int64) for index in xp.nonzero(x if dtype_name(x) != "bool" else astype(x, xp.uint8))]
    )


OPERATORS: Mapping[str, Operator] = {
    "Compress": _compress,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "NonZero": _non_zero,
    "OneHot": _one_hot,
    "ReverseSequence": _reverse_sequence,
    "Slice": _slice,
    "TopK": _top_k,
}
