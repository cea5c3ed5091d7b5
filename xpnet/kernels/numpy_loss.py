"""Softmax cross-entropy and accuracy on NumPy arrays, where a batch is small and each operation costs its call.

The true classes are found by their numbers, without the rows of 0 and 1 that every library can compute; and classes
come first, since NumPy is slow along the short rows of logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def serves(operation: str, logits: np.ndarray, labels: np.ndarray, setting: Any) -> bool:
    """Whether targets are not smoothed, and sums keep their digits."""
    return logits.dtype in (np.float32, np.float64) and not (operation == "softmax_cross_entropy" and setting)


def softmax_cross_entropy(logits: np.ndarray, labels: np.ndarray, label_smoothing: float) -> tuple[Any, np.ndarray]:
    """Mean loss of logits (N, K) and its gradient, without smoothing; formulas: ``SoftmaxCrossEntropy``."""
    rows = len(labels)
    by_class, true = np.ascontiguousarray(logits.T), (labels, np.arange(rows))
    shifted = by_class - np.maximum.reduce(by_class, axis=0)
    of_true = shifted[true]
    exponentials = np.exp(shifted, out=shifted)
    totals = np.add.reduce(exponentials, axis=0)
    loss = (np.add.reduce(np.log(totals)) - np.add.reduce(of_true)) / rows
    totals *= rows
    exponentials /= totals
    exponentials[true] -= 1 / rows
    return loss, exponentials.T


def accuracy(logits: np.ndarray, labels: np.ndarray, dtype: Any) -> Any:
    """The share of rows of logits (N, K) whose largest is that of their label, as an array of ``dtype``."""
    return np.true_divide(np.count_nonzero(logits.argmax(axis=1) == labels), len(labels), dtype=dtype)
