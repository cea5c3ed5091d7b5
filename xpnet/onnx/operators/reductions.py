"""Operators that reduce axes, and those that normalise along them without parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from array_api_compat import device

from xpnet import layers
from xpnet.backend import Array, array_namespace
from xpnet.onnx.operators.call import (
    Call,
    Operator,
    astype,
    axes_of,
    axis_of,
    dtype_name,
    is_floating,
    moved_back,
    moved_last,
    scalar,
)


def _reduction(reduce: Callable[[Any, Array, dict[str, Any]], Array]) -> Operator:
    """An operator that calls a function with the namespace, the array and what says which axes."""

    def operator(call: Call, x: Array, axes: Array | None = None) -> Array:
        chosen = axes_of(call, axes, x.ndim)
        if not chosen:
            if call.get("noop_with_empty_axes", 0):
                return _without_axes(reduce, x)
            chosen = list(range(x.ndim))
        return reduce(array_namespace(x), x, {"axis": tuple(chosen), "keepdims": bool(call.get("keepdims", 1))})

    return operator


def _without_axes(reduce: Callable[..., Array], x: Array) -> Array:
    """What reducing no axis gives: the formula on each element by itself."""
    return reduce(array_namespace(x), x[..., None], {"axis": (x.ndim,), "keepdims": False})


def _sum(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    return xp.sum(x, dtype=x.dtype, **how)


def _product(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    for axis in sorted(how["axis"], reverse=True):
        x = xp.prod(x, axis=axis, dtype=x.dtype, keepdims=how["keepdims"])
    return x


def _largest(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    return _extreme(xp, xp.max, x, how, "min", -1)


def _smallest(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    return _extreme(xp, xp.min, x, how, "max", 1)


def _extreme(xp: Any, function: Any, x: Array, how: dict[str, Any], end: str, sign: int) -> Array:
    if dtype_name(x) == "bool":
        return astype(_extreme(xp, function, astype(x, xp.uint8), how, end, sign), xp.bool)
    if 0 in (x.shape[axis] for axis in how["axis"]):  # of nothing: the end of the range
        last = sign * float("inf") if is_floating(x) else getattr(xp.iinfo(x.dtype), end)
        return xp.full_like(xp.sum(x, dtype=x.dtype, **how), last)
    return function(x, **how)


def _log_sum_exp(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    if 0 in (x.shape[axis] for axis in how["axis"]):
        return xp.log(xp.sum(x, **how))
    top = xp.max(x, axis=how["axis"], keepdims=True)
    top = xp.where(xp.isinf(top), xp.zeros_like(top), top)
    total = xp.log(xp.sum(xp.exp(x - top), axis=how["axis"], keepdims=True)) + top
    return total if how["keepdims"] else xp.squeeze(total, axis=how["axis"])


def _root_of_squares(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    if is_floating(x):
        return xp.sqrt(xp.sum(x * x, **how))
    x, dtype = astype(x, xp.float64), x.dtype
    return astype(xp.sqrt(xp.sum(x * x, **how)), dtype)


def _log_of_sum(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    return xp.log(xp.sum(x, **how))


def _mean(xp: Any, x: Array, how: dict[str, Any]) -> Array:
    return xp.mean(x, **how)


def _argument(name: str) -> Operator:
    def operator(call: Call, x: Array) -> Array:
        xp, axis = array_namespace(x), axis_of(call.get("axis", 0), x.ndim)
        find, keepdims = getattr(xp, name), bool(call.get("keepdims", 1))
        if not call.get("select_last_index", 0):
            return astype(find(x, axis=axis, keepdims=keepdims), xp.int64)
        found = find(xp.flip(x, axis=axis), axis=axis, keepdims=keepdims)
        return astype(x.shape[axis] - 1 - found, xp.int64)

    return operator


def _over_rows(function: Callable[[Any, Array], Array]) -> Operator:
    """An operator on the rows along an axis; before opset 13 on all axes from it on as one."""

    def operator(call: Call, x: Array) -> Array:
        xp, old = array_namespace(x), call.opset < 13
        axis = axis_of(call.get("axis", 1 if old else -1), x.ndim)
        if old:
            rows = xp.reshape(x, (-1 if axis else 1, _count(x.shape[axis:])))
            return xp.reshape(function(xp, rows), x.shape)
        return moved_back(function(xp, moved_last(x, axis)), axis)

    return operator


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


def _log_softmax(xp: Any, x: Array) -> Array:
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def _hardmax(xp: Any, x: Array) -> Array:
    first = xp.argmax(x, axis=-1, keepdims=True)
    places = xp.arange(x.shape[-1], dtype=first.dtype, device=device(x))
    return astype(places == first, x.dtype)


def _cumulative(name: str, start: int) -> Operator:
    def operator(call: Call, x: Array, axis: Array) -> Array:
        xp, at = array_namespace(x), axis_of(scalar(axis), x.ndim)
        x = xp.flip(x, axis=at) if call.get("reverse", 0) else x
        y = getattr(xp, name)(x, axis=at, dtype=x.dtype)
        if call.get("exclusive", 0):
            before = xp.full_like(y[(*(slice(None),) * at, slice(0, 1))], start)
            y = xp.concat([before, y[(*(slice(None),) * at, slice(0, y.shape[at] - 1))]], axis=at)
        return xp.flip(y, axis=at) if call.get("reverse", 0) else y

    return operator


def _lp_normalization(call: Call, x: Array) -> Array:
    xp, axis = array_namespace(x), call.get("axis", -1)
    if call.get("p", 2) == 1:
        norm = xp.sum(xp.abs(x), axis=axis, keepdims=True)
    else:
        norm = xp.sqrt(xp.sum(x * x, axis=axis, keepdims=True))
    return xp.where(norm == 0, xp.zeros_like(x), x / xp.where(norm == 0, xp.ones_like(norm), norm))


def _mean_variance(call: Call, x: Array) -> Array:
    xp, axes = array_namespace(x), tuple(call.get("axes", (0, 2, 3)))
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    return centred / (xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True)) + 1e-9)


OPERATORS: Mapping[str, Operator] = {
    "ArgMax": _argument("argmax"),
    "ArgMin": _argument("argmin"),
    "CumProd": _cumulative("cumulative_prod", 1),
    "CumSum": _cumulative("cumulative_sum", 0),
    "Hardmax": _over_rows(_hardmax),
    "LogSoftmax": _over_rows(_log_softmax),
    "LpNormalization": _lp_normalization,
    "MeanVarianceNormalization": _mean_variance,
    "ReduceL1": _reduction(lambda xp, x, how: _sum(xp, xp.abs(x), how)),
    "ReduceL2": _reduction(_root_of_squares),
    "ReduceLogSum": _reduction(_log_of_sum),
    "ReduceLogSumExp": _reduction(_log_sum_exp),
    "ReduceMax": _reduction(_largest),
    "ReduceMean": _reduction(_mean),
    "ReduceMin": _reduction(_smallest),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(_sum),
    "ReduceSumSquare": _reduction(lambda xp, x, how: _sum(xp, x * x, how)),
    "Softmax": _over_rows(lambda xp, x: layers.Softmax().apply(x)),
}
