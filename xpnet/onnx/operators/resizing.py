"""Resize: along one axis after another, each output a weighted mean of inputs near where it lies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, array_namespace
from xpnet.onnx.operators.call import (
    Call,
    Operator,
    axis_of,
    checked,
    error,
    integers,
    like,
    moved_back,
    moved_last,
    numbers,
)


class Scaling(NamedTuple):
    """How an axis is resized: its lengths before and after, the factor, and the part of it that is taken."""

    before: int
    after: int
    factor: float
    start: float = 0.0
    end: float = 1.0


def _resize(call: Call, x: Array, *inputs: Array | None) -> Array:
    roi, scales, sizes = (*((None, *inputs) if call.opset < 11 else inputs), None, None, None)[:3]
    axes = [axis_of(axis, x.ndim) for axis in call.get("axes") or range(x.ndim)]
    for axis, scaling in zip(axes, _scalings(call, x, axes, roi, scales, sizes), strict=True):
        if scaling.before != scaling.after or scaling.factor != 1 or (scaling.start, scaling.end) != (0.0, 1.0):
            x = _along(call, x, axis, scaling)
    return x


def _scalings(call: Call, x: Array, axes: list[int], roi: Any, scales: Any, sizes: Any) -> list[Scaling]:
    """From factors, or from sizes; these keep the ratio of the axes where the policy says so."""
    lengths = [x.shape[axis] for axis in axes]
    crops = call.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    ends = numbers(roi) if crops else [0.0] * len(axes) + [1.0] * len(axes)
    parts = list(zip(ends[: len(axes)], ends[len(axes) :], strict=True))
    if sizes is None or not sizes.shape[0]:
        factors = numbers(scales)
        wanted = [math.floor(n * (end - start) * s) for n, s, (start, end) in zip(lengths, factors, parts, strict=True)]
    else:
        wanted = integers(sizes)
        factors = [m / n for n, m in zip(lengths, wanted, strict=True)]
        policy = call.get("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            factor = min(factors) if policy == "not_larger" else max(factors)
            factors = [factor] * len(axes)
            wanted = [math.floor(factor * n + 0.5) for n in lengths]
    checked(tuple(wanted))
    return [Scaling(n, m, s, *part) for n, m, s, part in zip(lengths, wanted, factors, parts, strict=True)]


def _along(call: Call, x: Array, axis: int, scaling: Scaling) -> Array:
    xp, places, mode = array_namespace(x), _places(call, scaling), call.get("mode", "nearest")
    if mode == "nearest":
        nearest = _NEAREST[call.get("nearest_mode", "round_prefer_floor") if call.opset > 10 else "floor"](places)
        index = np.clip(nearest, 0, scaling.before - 1).astype(np.int64)
        y = xp.take(x, like(x, index.tolist(), xp.int64), axis=axis)
    else:
        weights = like(x, _weights(call, places, scaling, cubic=mode == "cubic").T.tolist())
        y = moved_back(xp.matmul(moved_last(x, axis), weights), axis)
    if call.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        return y
    is_outside = like(x, ((places < 0) | (places > scaling.before - 1)).tolist(), xp.bool)
    is_outside = xp.reshape(is_outside, (-1, *(1,) * (x.ndim - 1 - axis)))
    return xp.where(is_outside, like(x, call.get("extrapolation_value", 0.0)), y)


def _places(call: Call, scaling: Scaling) -> np.ndarray:
    """Where each output lies among the inputs."""
    before, after, factor, start, end = scaling
    at, how = (
        np.arange(after),
        call.get("coordinate_transformation_mode", "half_pixel" if call.opset > 10 else "asymmetric"),
    )
    last = before - 1
    if how == "asymmetric":
        return at / factor
    if how == "align_corners":
        return at * (last / (factor * before - 1)) if factor * before > 1 else np.zeros(after)  # not rounded down
    if how == "tf_crop_and_resize":
        return (
            start * last + at * (end - start) * last / (after - 1)
            if after > 1
            else np.full(1, 0.5 * (start + end) * last)
        )
    places = (at + 0.5) / factor - 0.5
    if how == "half_pixel_symmetric":
        return places + before / 2 * (1 - after / (before * factor))
    if how == "pytorch_half_pixel" and after == 1:
        return np.zeros(1)
    if how not in ("half_pixel", "pytorch_half_pixel"):
        raise error(f"expected a known coordinate_transformation_mode, got {how}")
    return places


def _weights(call: Call, places: np.ndarray, scaling: Scaling, *, cubic: bool) -> np.ndarray:
    """A matrix (outputs, inputs): the filter around each place, wider by 1/factor with antialias, of sum 1.

    What reaches beyond the ends is that of the end's value, or with exclude_outside left out.
    """
    width = min(scaling.factor, 1.0) if call.get("antialias", 0) else 1.0
    reach = math.ceil((2 if cubic else 1) / width) + 1
    weights = np.zeros((len(places), scaling.before))
    rows = np.arange(len(places))
    for offset in range(-reach, reach + 1):
        near = np.floor(places) + offset
        distance = np.abs(near - places) * width
        share = _cubic(distance, call.get("cubic_coeff_a", -0.75)) if cubic else np.maximum(1 - distance, 0)
        if call.get("exclude_outside", 0):
            share = np.where((near >= 0) & (near < scaling.before), share, 0)
        np.add.at(weights, (rows, np.clip(near, 0, scaling.before - 1).astype(np.int64)), share)
    return weights / weights.sum(axis=1, keepdims=True)


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution: two polynomials, for distances up to 1 and up to 2."""
    inner = ((a + 2) * d - (a + 3)) * d * d + 1
    outer = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, inner, np.where(d < 2, outer, 0))


_NEAREST: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _upsample(call: Call, x: Array, scales: Array | None = None) -> Array:
    """``Resize`` as it was up to opset 9."""
    return _resize(call, x, like(x, call.get("scales")) if scales is None else scales)


OPERATORS: Mapping[str, Operator] = {"Resize": _resize, "Upsample": _upsample}
