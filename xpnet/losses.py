"""Losses: a number to minimise and its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from array_api_compat import array_namespace, device

from xpnet.backend import Array
from xpnet.errors import InputError


class LossForward(NamedTuple):
    """The loss as an array without axes, and what backward needs."""

    loss: Array
    cache: Mapping[str, Array]


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """Mean negative log-probability of the true classes, from logits.

        p[n] = softmax(z[n]);  L = -1/N sum_n log p[n, label_n]
             = 1/N sum_n (log sum_k exp(z[n,k] - m_n) - (z[n, label_n] - m_n)),  m_n = max_k z[n,k]

    The shift by the maximum keeps every exponent at or below 0, so logits of any finite size give a finite loss.

    Backward:  dL/dz = (p - onehot(labels)) / N.

    Shapes: logits (N, K), labels (N,) of whole numbers in [0, K) -> loss ().

    Raises InputError if the shapes do not fit or the labels are not whole numbers; their range is not checked, since
    that would read the array back to the host.  Source: Goodfellow, Bengio and Courville, "Deep Learning", 2016,
    section 6.2.2.3.
    """

    def forward(self, logits: Array, labels: Array) -> LossForward:
        """The loss, and a cache for ``backward``."""
        xp = array_namespace(logits, labels)
        self._check(xp, logits, labels)
        shifted = logits - xp.max(logits, axis=1, keepdims=True)
        exponentials = xp.exp(shifted)
        totals = xp.sum(exponentials, axis=1, keepdims=True)
        truth = one_hot(labels, logits.shape[1], logits.dtype)
        loss = xp.mean(xp.log(totals) - xp.sum(shifted * truth, axis=1, keepdims=True))
        return LossForward(loss, {"probabilities": exponentials / totals, "truth": truth})

    def backward(self, cache: Mapping[str, Array]) -> Array:
        """Gradient with respect to the logits."""
        return (cache["probabilities"] - cache["truth"]) / cache["truth"].shape[0]

    def _check(self, xp, logits: Array, labels: Array) -> None:
        if logits.ndim != 2 or labels.ndim != 1 or logits.shape[0] != labels.shape[0] or 0 in logits.shape:
            raise InputError(
                f"SoftmaxCrossEntropy: expected logits (N, classes) and labels (N,), got shapes {tuple(logits.shape)} "
                f"and {tuple(labels.shape)}. Give one label for each row of logits."
            )
        if not xp.isdtype(labels.dtype, "integral"):
            raise InputError(
                f"SoftmaxCrossEntropy: expected labels to be whole numbers, got dtype {labels.dtype}. "
                "Give class numbers as integers."
            )


def one_hot(labels: Array, classes: int, dtype) -> Array:
    """Rows that are 1 in the label's column and 0 elsewhere: (N,) -> (N, classes)."""
    xp = array_namespace(labels)
    labels = xp.astype(labels, xp.int32)  # 8 bits would count 300 classes as 0 to 255 and 0 to 43
    columns = xp.arange(classes, dtype=xp.int32, device=device(labels))
    return xp.astype(labels[:, None] == columns[None, :], dtype)
