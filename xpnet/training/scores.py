"""How good outputs are, as one number of which larger is better, on the device and inside a compiled step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xpnet import kernels
from xpnet.backend import Array, array_namespace

Score = Callable[[Array, Array, Any], Array]  # (outputs, targets, dtype) -> an array without axes


def accuracy(outputs: Array, targets: Array, dtype: Any) -> Array:
    """The share of examples, or of pixels, whose largest output is that of their class."""
    xp = array_namespace(outputs)
    if outputs.ndim > 2:
        outputs, targets = xp.reshape(outputs, (-1, outputs.shape[-1])), xp.reshape(targets, (-1,))
    return kernels.accuracy(outputs, targets, dtype)


def binary_accuracy(outputs: Array, targets: Array, dtype: Any) -> Array:
    """The share of 0/1 targets that the sign of their output tells."""
    xp = array_namespace(outputs)
    hits = (outputs > 0) == (xp.astype(xp.reshape(targets, outputs.shape), outputs.dtype) > 0)
    return xp.mean(xp.astype(hits, dtype))


def r2(variance: float) -> Score:
    """R² = 1 - mean (y - t)²/σ², with σ² the variance of all training targets, so that its mean over batches is R²."""

    def score(outputs: Array, targets: Array, dtype: Any) -> Array:
        xp = array_namespace(outputs)
        difference = xp.astype(outputs, dtype) - xp.astype(xp.reshape(targets, outputs.shape), dtype)
        return 1 - xp.mean(difference * difference) / variance

    return score
