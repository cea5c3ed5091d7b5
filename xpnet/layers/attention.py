"""Self-attention, and the blocks of transformers that are made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.checks import check_bool
from xpnet.errors import InputError, short
from xpnet.initializers import Initializer, glorot_uniform
from xpnet.kernels.vectors import vector
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
    r"""Scaled dot-product attention of a sequence to itself, in several heads.

    x holds queries, keys and values behind one another, each of them the heads behind one another.

    Parameters
    ----------
    heads
        Number of heads.
    causal
        Whether a place attends only to itself and to those before it.
    mask
        Which keys each query attends to, the same for all examples and heads: T rows (queries) of T booleans (keys),
        an array or nested lists, as in PyTorch's ``scaled_dot_product_attention``. None: to all. The layer
        keeps each row as text, such as "0110", and takes it so too.

    Raises
    ------
    InputError
        If a setting is out of range, the mask is not a square of booleans or has a row without a True, or the input is
        not a batch of sequences, as long as the mask, whose channels can be cut into three times as many parts as
        heads.

    Notes
    -----
    For each head, with d = C / heads, M = 0 where a query attends to a key and -inf elsewhere, and the softmax over the
    keys, of which the largest is subtracted first:

    .. math::

        S = \frac{Q K^T}{\sqrt d} + M, \quad P = \mathrm{softmax}(S), \quad O = P V, \quad
        y = [O_1, \dots, O_{\mathrm{heads}}]

    Backward, with dO the head's part of g = dL/dy and the sum over the keys; P, and so dS, is 0 where M is -inf:

    .. math::

        dV = P^T dO, \quad dP = dO \, V^T, \quad dS = P \odot (dP - \sum dP \odot P), \quad
        dQ = \frac{dS \, K}{\sqrt d}, \quad dK = \frac{dS^T Q}{\sqrt d}

    Shapes: x (N, T, 3C) -> y (N, T, C).  Memory: P, heads * T² values for each example, is kept for backward, and
    twice as much is in use beside it in each pass.

    References
    ----------
    Vaswani et al., "Attention is all you need", NIPS 2017, sections 3.2.1 and 3.2.2.

    Examples
    --------
    >>> SelfAttention(mask=[[True, False], [True, True]]).mask
    ('10', '11')
    """

    heads: int = 1
    causal: bool = False
    mask: Any = None
    prefix: ClassVar[str] = "attention"

    def __post_init__(self) -> None:
        check_positive("SelfAttention", "heads", self.heads)
        check_bool("SelfAttention", "causal", self.causal)
        if self.mask is not None:
            object.__setattr__(self, "mask", self._checked_mask())

    def _checked_mask(self) -> tuple[str, ...]:
        if self.causal:
            raise self.error("expected a mask or causal, got both. Leave out later keys in the mask.")
        given = _listed(self.mask)
        rows = [_row(row) for row in given] if isinstance(given, list | tuple) else []
        if not rows or {len(row) for row in rows} != {len(rows)}:
            raise self.error(
                f"expected a mask of T x T booleans, got {short(self.mask)}. Pass True where a query attends to a key."
            )
        if blind := [place for place, row in enumerate(rows) if "1" not in row]:
            raise self.error(
                f"expected each query to attend to a key, got none in row {blind[0]} of the mask. Add one."
            )
        return tuple(rows)

    def output_shape(self, input_shape: Shape) -> Shape:
        length, channels = self.check_sequences(input_shape)
        if self.mask is not None and len(self.mask) != length:
            shape = (len(self.mask), len(self.mask))
            raise self.error(f"expected a mask of shape {(length, length)}, got {shape}. Change it or the length.")
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
        p = Softmax().apply(self._masked(q @ _transposed(k) * (1 / math.sqrt(q.shape[-1]))))
        return Forward(_joined([p @ v]), {"x": x, "p": p} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        p, (q, k, v), (do,) = cache["p"], self._by_head(cache["x"], 3), self._by_head(dy, 1)
        ds = Softmax().input_gradient(p, do @ _transposed(v)) * (1 / math.sqrt(q.shape[-1]))
        return Backward(_joined([ds @ k, _transposed(ds) @ q, _transposed(p) @ do]), {})

    def _masked(self, scores: Array) -> Array:
        """Scores (..., T, T) with -inf where the query does not attend to the key."""
        xp = array_namespace(scores)
        if self.causal:
            places = xp.arange(scores.shape[-1], dtype=xp.int32, device=device(scores))
            return xp.where(places[None, :] > places[:, None], -xp.inf, scores)
        return scores if self.mask is None else xp.where(vector(self.mask, scores) == 0, -xp.inf, scores)

    def _by_head(self, x: Array, count: int) -> list[Array]:
        """``count`` arrays that lie behind one another in the channels, each as (N, heads, T, d)."""
        xp, (batch, length, channels) = array_namespace(x), x.shape
        parts = xp.reshape(x, (batch, length, count, self.heads, channels // (count * self.heads)))
        parts = xp.permute_dims(parts, (2, 0, 3, 1, 4))
        return [parts[i, ...] for i in range(count)]


def _listed(value: Any) -> Any:
    """An array as nested lists, one of a single value as that value."""
    return getattr(value, "tolist", lambda: value)()


def _row(row: Any) -> str:
    """A row of a mask as text, empty if it is not one."""
    row = _listed(row)
    values = [_listed(value) for value in row] if isinstance(row, list | tuple) else []
    if values and all(isinstance(seen, bool) for seen in values):
        return "".join("01"[seen] for seen in values)
    return row if isinstance(row, str) and set(row) <= {"0", "1"} else ""


def _joined(arrays: list[Array]) -> Array:
    """Inverse of ``_by_head``: (N, T, C)."""
    xp, (batch, heads, length, width) = array_namespace(arrays[0]), arrays[0].shape
    parts = xp.permute_dims(xp.stack(arrays, axis=1), (0, 3, 1, 2, 4))
    return xp.reshape(parts, (batch, length, len(arrays) * heads * width))


def _transposed(x: Array) -> Array:
    return array_namespace(x).permute_dims(x, (0, 1, 3, 2))


def multi_head_self_attention(
    units: int,
    heads: int,
    *,
    causal: bool = False,
    mask: Any = None,
    weight_init: Initializer = glorot_uniform,
) -> Sequential:
    r"""Queries, keys and values of each place by one dense layer, attention, and a dense layer over the joined heads.

    Raises
    ------
    InputError
        If units are not a multiple of the heads, either is not an integer of at least 1, or the mask is not one.

    Notes
    -----
    .. math:: y = \mathrm{SelfAttention}(x W_{qkv}^T + b_{qkv}) \, W_{proj}^T + b_{proj}

    Backward: that of the three layers, from the last to the first.

    Shapes: x (N, T, C) -> y (N, T, units).  Params: qkv.weight (3 * units, C), proj.weight (units, units), and biases.

    References
    ----------
    Vaswani et al., NIPS 2017, section 3.2.2.
    """
    check_positive("multi_head_self_attention", "units", units)
    if units % check_positive("multi_head_self_attention", "heads", heads):
        raise InputError(
            f"multi_head_self_attention: expected units to be a multiple of {heads} heads, got {units}. Change one."
        )
    return Sequential(
        [
            ("qkv", Dense(3 * units, weight_init)),
            ("attention", SelfAttention(heads, causal, mask)),
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
    mask: Any = None,
    eps: float = 1e-5,
    weight_init: Initializer = glorot_uniform,
) -> Sequential:
    r"""A transformer's block with the normalisation in front of each branch.

    Parameters
    ----------
    units, heads
        As for ``multi_head_self_attention``.
    expansion
        How many times as many units fc1 has.
    p
        Above 0, each branch ends in a ``Dropout(p)``.
    causal, mask
        As for ``SelfAttention``.
    eps
        Of the ``LayerNorm`` in front of each branch.
    weight_init
        Of all dense layers.

    Raises
    ------
    InputError
        If a setting is out of range.

    Notes
    -----
    .. math::

        h = x + \mathrm{attention}(\mathrm{norm1}(x)), \quad
        y = h + \mathrm{fc2}(\mathrm{gelu}(\mathrm{fc1}(\mathrm{norm2}(h))))

    Backward: that of ``Residual`` and of the layers in the branches, from the last to the first.

    Shapes: x (N, T, units) -> y (N, T, units).

    References
    ----------
    Vaswani et al., NIPS 2017; the order: Xiong et al., "On layer normalization in the transformer architecture",
    ICML 2020.
    """
    check_positive("transformer_block", "expansion", expansion)
    attention = multi_head_self_attention(units, heads, causal=causal, mask=mask, weight_init=weight_init)
    wide = Dense(expansion * units, weight_init)
    mlp = Sequential([("fc1", wide), ("act", GELU()), ("fc2", Dense(units, weight_init))])
    ending: list[Any] = [Dropout(p)] if p != 0 else []
    return Sequential(
        [
            ("residual1", Residual(Sequential([("norm1", LayerNorm(eps)), ("attn", attention), *ending]))),
            ("residual2", Residual(Sequential([("norm2", LayerNorm(eps)), ("mlp", mlp), *ending]))),
        ]
    )
