"""Softmax cross-entropy with its gradient."""

from __future__ import annotations

from typing import Any

from array_api_compat import device

from xpnet.backend import Array, array_namespace


def serves(operation: str, *arguments: Any) -> bool:
    """Always."""
    return True


def softmax_cross_entropy(logits: Array, labels: Array, label_smoothing: float) -> tuple[Array, Array]:
    """Mean loss of logits (N, K) and its gradient, from the same exponentials; formulas: ``SoftmaxCrossEntropy``."""
    xp, (rows, classes) = array_namespace(logits), logits.shape
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    totals = xp.sum(exponentials, axis=1, keepdims=True)
    targets = one_hot(labels, classes, logits.dtype)
    if label_smoothing:
        targets = (1 - label_smoothing) * targets + label_smoothing / classes
    loss = xp.mean(xp.log(totals) - xp.sum(shifted * targets, axis=1, keepdims=True))
    return loss, (exponentials / totals - targets) / rows


def one_hot(labels: Array, classes: int, dtype) -> Array:
    """Rows that are 1 in the label's column and 0 elsewhere: (N,) -> (N, classes)."""
    xp = array_namespace(labels)
    labels = xp.astype(labels, xp.int32)  # 8 bits would count 300 classes as 0 to 255 and 0 to 43
    columns = xp.arange(classes, dtype=xp.int32, device=device(labels))
    return xp.astype(labels[:, None] == columns[None, :], dtype)


def accuracy(logits: Array, labels: Array, dtype: Any) -> Array:
    """The share of rows of logits (N, K) whose largest is that of their label, as an array of ``dtype``."""
    xp = array_namespace(logits)
    return xp.mean(xp.astype(xp.astype(xp.argmax(logits, axis=1), labels.dtype) == labels, dtype))
