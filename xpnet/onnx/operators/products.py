"""Operators with parameters that learn, on values with the channels first: matrix products, normalisations."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xpnet import kernels, layers
from xpnet.backend import Array, array_namespace
from xpnet.layers.normalization import by_batch, by_running_statistics
from xpnet.onnx.operators.call import (
    Call,
    Operator,
    astype,
    axis_of,
    is_floating,
    moved_back,
    moved_last,
    single_precision,
)


def _matmul(call: Call, x: Array, y: Array) -> Array:
    return array_namespace(x).matmul(x, y)


def _gemm(call: Call, a: Array, b: Array, c: Array | None = None) -> Array:
    a = a.T if call.get("transA", 0) else a
    b = b.T if call.get("transB", 0) else b
    product = kernels.matmul(a, b) if is_floating(a) else a @ b
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    product = product if alpha == 1 else alpha * product
    return product if c is None else product + (c if beta == 1 else beta * c)


def _batch_norm(call: Call, x: Array, scale: Array, bias: Array, mean: Array, variance: Array) -> Any:
    """``layers.BatchNorm``; ONNX gives the share of the old statistics, and keeps the biased variance."""
    x, eps = moved_last(x), call.get("epsilon", 1e-5)
    params, state = {"weight": scale, "bias": bias}, {"running_mean": mean, "running_var": variance}
    if not call.get("training_mode", 0):
        return moved_back(by_running_statistics(x, params, state, eps)[0])
    keep, count = call.get("momentum", 0.9), math.prod(x.shape[:-1])
    y, _, new = by_batch(x, params, state, 1 - keep, eps)
    unbiased = new["running_var"] - keep * variance
    return moved_back(y), new["running_mean"], keep * variance + unbiased * ((count - 1) / count)


def _layer_norm(call: Call, x: Array, scale: Array, bias: Array | None = None) -> Any:
    """Over all axes from one on; computed in float32 at least."""
    xp, axis = array_namespace(x), axis_of(call.get("axis", -1), x.ndim)
    axes, wide = tuple(range(axis, x.ndim)), single_precision(x)
    mean = xp.mean(wide, axis=axes, keepdims=True)
    centred = wide - mean
    inverse = 1 / xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True) + call.get("epsilon", 1e-5))
    y = astype(centred * inverse, x.dtype) * scale
    y = y if bias is None else y + bias
    return (y, mean, inverse)[: call.outputs] if call.outputs > 1 else y


def _rms_norm(call: Call, x: Array, scale: Array) -> Array:
    xp, axis = array_namespace(x), axis_of(call.get("axis", -1), x.ndim)
    wide = single_precision(x)
    mean = xp.mean(wide * wide, axis=tuple(range(axis, x.ndim)), keepdims=True)
    return astype(wide / xp.sqrt(mean + call.get("epsilon", 1e-5)), x.dtype) * scale


def _instance_norm(call: Call, x: Array, scale: Array, bias: Array) -> Array:
    return _grouped(x, x.shape[1], scale, bias, call.get("epsilon", 1e-5))


def _group_norm(call: Call, x: Array, scale: Array, bias: Array) -> Array:
    """Before opset 21 scale and bias are those of groups, from then on those of channels."""
    groups, channels = call.get("num_groups"), x.shape[1]
    if call.opset < 21:
        xp = array_namespace(x)
        scale, bias = (xp.repeat(vector, channels // groups) for vector in (scale, bias))
    return _grouped(x, groups, scale, bias, call.get("epsilon", 1e-5))


def _grouped(x: Array, groups: int, scale: Array, bias: Array, eps: float) -> Array:
    layer = layers.GroupNorm(eps=eps, groups=groups)
    return moved_back(layer.unchecked_forward({"weight": scale, "bias": bias}, {}, moved_last(x)).y)


def _response_norm(call: Call, x: Array) -> Array:
    layer = layers.LocalResponseNorm(
        call.get("size"), call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
    )
    return moved_back(layer.unchecked_forward({}, {}, moved_last(x)).y)


OPERATORS: Mapping[str, Operator] = {
    "BatchNormalization": _batch_norm,
    "Gemm": _gemm,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LRN": _response_norm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "RMSNormalization": _rms_norm,
}
