"""Self-attention, and the blocks of transformers that are made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.errors import InputError
from xpnet.initializers import Initializer, glorot_uniform
from xpnet.layers.activations import Softmax
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State
from xpnet.layers.branches import Residual
from xpnet.layers.containers import Sequential
from xpnet.layers.dense import Dense
from xpnet.layers.dropout import Dropout
from xpnet.layers.example_normalization import LayerNorm
from xpnet.layers.gates import GELU
from xpnet.shapes import Shape, check_positive


@dataclass(frozen=True)
class SelfAttention(Layer):
    """Scaled dot-product attention of a sequence to itself, in several heads.

    x holds queries, keys and values behind one another, each of them the heads behind one another. For each head,
    with d = C / heads:

        S = Q K^T / sqrt(d);  P = softmax of S over the keys;  O = P V;  y = [O_1, ..., O_heads]

    With ``causal`` a place attends to itself and to those before it: S = -inf for later keys.

    Backward, with dO the head's part of g = dL/dy:  dV = P^T dO;  dP = dO V^T;
    dS = P * (dP - sum over keys of dP * P);  dQ = dS K / sqrt(d);  dK = dS^T Q / sqrt(d).

    Shapes: x (N, T, 3C) -> y (N, T, C).  Memory: P, heads * T² values for each example, is kept for backward, and as
    much again is in use in each pass.

    Raises InputError if a setting is out of range, or the input is not a batch of sequences whose channels can be cut
    into three times as many parts as heads.
    Source: Vaswani et al., "Attention is all you need", NIPS 2017, sections 3.2.1 and 3.2.2.
    """

    heads: int = 1
    causal: bool = False
    prefix: ClassVar[str] = "attention"

    def __post_init__(self) -> None:
        check_positive("SelfAttention", "heads", self.heads)

    def output_shape(self, input_shape: Shape) -> Shape:
        length, channels = self.check_sequences(input_shape)
        if channels % (3 * self.heads):
            raise self.error(
                f"expected channels to be a multiple of 3 * {self.heads} heads, got {channels}. "
                "Add a Dense of three times the width before it."
            )
        return length, channels // 3

    def multiplications(self, input_shape: Shape) -> int:
        length, width = self.output_shape(input_shape)
        return 2 * length * length * width

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        q, k, v = self._by_head(x, 3)
        scores = q @ _transposed(k) * (1 / math.sqrt(q.shape[-1]))
        p = Softmax().apply(_causal(scores) if self.causal else scores)
        return Forward(_joined([p @ v]), {"x": x, "p": p} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        p, (q, k, v), (do,) = cache["p"], self._by_head(cache["x"], 3), self._by_head(dy, 1)
        ds = Softmax().input_gradient(p, do @ _transposed(v)) * (1 / math.sqrt(q.shape[-1]))
        return Backward(_joined([ds @ k, _transposed(ds) @ q, _transposed(p) @ do]), {})

    def _by_head(self, x: Array, count: int) -> list[Array]:
        """``count`` arrays that lie behind one another in the channels, each as (N, heads, T, d)."""
        xp, (batch, length, channels) = array_namespace(x), x.shape
        parts = xp.reshape(x, (batch, length, count, self.heads, channels // (count * self.heads)))
        parts = xp.permute_dims(parts, (2, 0, 3, 1, 4))
        return [parts[i, ...] for i in range(count)]


def _joined(arrays: list[Array]) -> Array:
    """Inverse of ``_by_head``: (N, T, C)."""
    xp, (batch, heads, length, width) = array_namespace(arrays[0]), arrays[0].shape
    parts = xp.permute_dims(xp.stack(arrays, axis=1), (0, 3, 1, 2, 4))
    return xp.reshape(parts, (batch, length, len(arrays) * heads * width))


def _transposed(x: Array) -> Array:
    return array_namespace(x).permute_dims(x, (0, 1, 3, 2))


def _causal(scores: Array) -> Array:
    """Scores (..., T, T) with -inf where the key comes after the query."""
    xp = array_namespace(scores)
    places = xp.arange(scores.shape[-1], dtype=xp.int32, device=device(scores))
    return xp.where(places[None, :] > places[:, None], -xp.inf, scores)


def multi_head_self_attention(
    units: int, heads: int, *, causal: bool = False, weight_init: Initializer = glorot_uniform
) -> Sequential:
    """Queries, keys and values of each place by one dense layer, attention, and a dense layer over the joined heads.

        y = SelfAttention(x W_qkv^T + b_qkv) W_proj^T + b_proj

    Shapes: x (N, T, C) -> y (N, T, units).  Params: qkv.weight (3 * units, C), proj.weight (units, units), and biases.

    Raises InputError if units are not a multiple of the heads, or either is not an integer of at least 1.
    Source: Vaswani et al., NIPS 2017, section 3.2.2.
    """
    check_positive("multi_head_self_attention", "units", units)
    if units % check_positive("multi_head_self_attention", "heads", heads):
        raise InputError(
            f"multi_head_self_attention: expected units to be a multiple of {heads} heads, got {units}. Change one."
        )
    return Sequential(
        [
            ("qkv", Dense(3 * units, weight_init)),
            ("attention", SelfAttention(heads, causal)),
            ("proj", Dense(units, weight_init)),
        ]
    )


def transformer_block(
    units: int,
    heads: int,
    *,
    expansion: int = 4,
    p: float = 0.0,
    causal: bool = False,
    eps: float = 1e-5,
    weight_init: Initializer = glorot_uniform,
) -> Sequential:
    """A transformer's block with the normalisation in front of each branch.

        h = x + attention(norm1(x));  y = h + fc2(gelu(fc1(norm2(h))))

    Shapes: x (N, T, units) -> y (N, T, units).

    Parameters
    ----------
    units, heads
        As for ``multi_head_self_attention``.
    expansion
        How many times as many units fc1 has.
    p
        Above 0, each branch ends in a ``Dropout(p)``.
    causal
        Whether a place sees only those before it and itself.
    eps
        Of the ``LayerNorm`` in front of each branch.
    weight_init
        Of all dense layers.

    Raises
    ------
    InputError
        If a setting is out of range.

    References
    ----------
    Vaswani et al., NIPS 2017; the order: Xiong et al., "On layer normalization in the transformer architecture",
    ICML 2020.
    """
    check_positive("transformer_block", "expansion", expansion)
    attention = multi_head_self_attention(units, heads, causal=causal, weight_init=weight_init)
    wide = Dense(expansion * units, weight_init)
    mlp = Sequential([("fc1", wide), ("act", GELU()), ("fc2", Dense(units, weight_init))])
    ending: list[Any] = [Dropout(p)] if p != 0 else []
    return Sequential(
        [
            ("residual1", Residual(Sequential([("norm1", LayerNorm(eps)), ("attn", attention), *ending]))),
            ("residual2", Residual(Sequential([("norm2", LayerNorm(eps)), ("mlp", mlp), *ending]))),
        ]
    )
