"""Scaled dot-product attention as ONNX has it: of queries to keys, with masks, caches and shared heads."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.onnx.operators.call import Call, Operator, astype, dtype_name, dtype_of, single_precision


def _attention(
    call: Call,
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None = None,
    past_k: Array | None = None,
    past_v: Array | None = None,
    lengths: Array | None = None,
) -> Any:
    """Y = softmax(cap(q k^T scale) + bias) v, and the keys and values with those before them.

    Source: Vaswani et al., NIPS 2017; shared heads: Ainslie et al., arXiv:2305.13245.
    """
    xp, is_flat = array_namespace(q), q.ndim == 3
    if is_flat:
        q = _by_head(q, call.get("q_num_heads"))
        k, v = (_by_head(x, call.get("kv_num_heads")) for x in (k, v))
    if past_k is not None:
        k, v = xp.concat([past_k, k], axis=2), xp.concat([past_v, v], axis=2)
    before = 0 if past_k is None else past_k.shape[2]
    dtype, q, keys, values = q.dtype, *(single_precision(x) for x in (q, k, v))
    keys, values = (
        xp.repeat(x, q.shape[1] // x.shape[1], axis=1) if x.shape[1] != q.shape[1] else x for x in (keys, values)
    )
    root = math.sqrt(call.get("scale") or 1 / math.sqrt(q.shape[-1]))
    scores = products = (q * root) @ xp.matrix_transpose(keys * root)
    cap = call.get("softcap", 0.0)
    scores = capped = cap * xp.tanh(scores / cap) if cap else scores
    scores = biased = scores + _bias(call, scores, mask, before, lengths)
    precision = call.get("softmax_precision")
    scores = scores if precision is None else astype(scores, dtype_of(scores, precision))
    p = astype(_softmax(scores), q.dtype)
    y = astype(p @ values, dtype)
    y = _joined(y) if is_flat else y
    stage = (products, capped, biased, p)[call.get("qk_matmul_output_mode", 0)]
    return (y, k, v, astype(stage, dtype))[: call.outputs] if call.outputs > 1 else y


def _by_head(x: Array, heads: int) -> Array:
    xp, (batch, length, width) = array_namespace(x), x.shape
    return xp.permute_dims(xp.reshape(x, (batch, length, heads, width // heads)), (0, 2, 1, 3))


def _joined(x: Array) -> Array:
    xp, (batch, heads, length, width) = array_namespace(x), x.shape
    return xp.reshape(xp.permute_dims(x, (0, 2, 1, 3)), (batch, length, heads * width))


def _bias(call: Call, scores: Array, mask: Array | None, before: int, lengths: Array | None) -> Array:
    """What is added to the scores: the mask, and -inf for keys that a query must not see."""
    xp, (queries, keys) = array_namespace(scores), scores.shape[2:]
    bias = xp.zeros((1, 1, queries, keys), dtype=scores.dtype, device=device(scores))
    if mask is not None:
        bias = bias + _up_to(mask if dtype_name(mask) != "bool" else _where(mask, scores), keys)
    place = xp.arange(keys, dtype=xp.int64, device=device(scores))
    counts = None if lengths is None else xp.reshape(astype(lengths, xp.int64), (-1, 1, 1, 1))
    if counts is not None:
        bias = bias + _where(place < counts, scores)
    offset = before if counts is None or before else counts - queries
    ahead = place - xp.arange(queries, dtype=xp.int64, device=device(scores))[:, None] - offset
    left, right = call.get("left_window_size", -1), call.get("right_window_size", -1)
    right = 0 if call.get("is_causal", 0) else right
    bias = bias if right < 0 else bias + _where(ahead <= right, scores)
    return bias if left < 0 else bias + _where(ahead >= -left, scores)


def _up_to(mask: Array, keys: int) -> Array:
    """The mask with -inf for keys behind its own, which do not count."""
    xp, missing = array_namespace(mask), keys - mask.shape[-1]
    if not missing:
        return mask
    rest = xp.full((*mask.shape[:-1], missing), -math.inf, dtype=mask.dtype, device=device(mask))
    return xp.concat([mask, rest], axis=-1)


def _where(allowed: Array, scores: Array) -> Array:
    """0 where a key is allowed, else -inf."""
    xp = array_namespace(scores)
    zero = xp.zeros((1,), dtype=scores.dtype, device=device(scores))
    return xp.where(allowed, zero, xp.full_like(zero, -math.inf))


def _softmax(scores: Array) -> Array:
    """Over the keys; 0 for a query that sees none."""
    xp = array_namespace(scores)
    top = xp.max(scores, axis=-1, keepdims=True)
    exponentials = xp.exp(scores - xp.where(xp.isinf(top), xp.zeros_like(top), top))
    total = xp.sum(exponentials, axis=-1, keepdims=True)
    return exponentials / xp.where(total == 0, xp.ones_like(total), total)


OPERATORS: Mapping[str, Operator] = {"Attention": _attention}
