"""Losses: a number to minimise and its gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from xpnet import kernels
from xpnet.backend import Array, array_namespace, check_array, is_readable, location, same_location
from xpnet.errors import InputError
from xpnet.kernels.cross_entropy import one_hot


class LossForward(NamedTuple):
    """The loss as an array without axes, and what backward needs."""

    loss: Array
    cache: Mapping[str, Array]


class Loss(Protocol):
    """What a network can be trained on: a pure function of outputs and labels, with its gradient."""

    def forward(self, logits: Array, labels: Array) -> LossForward:
        """The loss, and a cache for ``backward``."""
        ...

    def backward(self, cache: Mapping[str, Array]) -> Array:
        """Gradient with respect to the logits."""
        ...


@dataclass(frozen=True)
class SoftmaxCrossEntropy:
    """Mean negative log-probability of the true classes, from logits.

        p[n] = softmax(z[n]);  L = -1/N sum_n sum_k t[n,k] log p[n,k]
             = 1/N sum_n (log sum_k exp(z[n,k] - m_n) - sum_k t[n,k] (z[n,k] - m_n)),  m_n = max_k z[n,k]

    The targets t are 1 for the true class and 0 for the others; label smoothing s moves them to (1 - s)·t + s/K. The
    shift by the maximum keeps every exponent at or below 0, so logits whose differences are finite give a finite loss.

    Backward:  dL/dz = (p - t) / N.

    Shapes: logits (N, K), labels (N,) of whole numbers in [0, K) -> loss ().

    Raises InputError unless 0 <= label_smoothing < 1, if the shapes do not fit, or if the labels are no whole numbers.
    Labels out of range are refused where reading them makes no device wait: on the host, outside of a trace.
    Source: Goodfellow, Bengio and Courville, "Deep Learning", 2016, section 6.2.2.3; label smoothing: Szegedy et al.,
    CVPR 2016, section 7.
    """

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise InputError(
                f"SoftmaxCrossEntropy: expected label_smoothing in [0, 1), got {self.label_smoothing}. Try 0.1."
            )

    def forward(self, logits: Array, labels: Array) -> LossForward:
        """The loss, and a cache for ``backward``."""
        _check("SoftmaxCrossEntropy", logits, labels)
        loss, gradient = kernels.softmax_cross_entropy(logits, labels, self.label_smoothing)
        return LossForward(loss, {"gradient": gradient})

    def backward(self, cache: Mapping[str, Array]) -> Array:
        """Gradient with respect to the logits, which forward has from the same exponentials."""
        return cache["gradient"]


@dataclass(frozen=True)
class MeanSquaredError:
    """Mean squared distance of outputs from targets; class labels stand for targets of 1 (their class) and 0.

        L = 1/(N*K) sum_{n,k} (y[n,k] - t[n,k])^2

    Backward:  dL/dy = 2 (y - t) / (N*K).

    Shapes: outputs (N, K), labels (N,) of whole numbers in [0, K) -> loss (), the mean over all N*K values.

    Raises InputError if the shapes do not fit, or the labels are not whole numbers or, on the host, out of range.
    """

    def forward(self, logits: Array, labels: Array) -> LossForward:
        """The loss, and a cache for ``backward``."""
        _check("MeanSquaredError", logits, labels)
        difference = logits - one_hot(labels, logits.shape[1], logits.dtype)
        return LossForward(array_namespace(logits).mean(difference * difference), {"difference": difference})

    def backward(self, cache: Mapping[str, Array]) -> Array:
        """Gradient with respect to the outputs."""
        difference = cache["difference"]
        return difference * (2 / math.prod(difference.shape))


LOSSES: Mapping[str, type[SoftmaxCrossEntropy] | type[MeanSquaredError]] = {
    "cross-entropy": SoftmaxCrossEntropy,
    "mean-squared-error": MeanSquaredError,
}


def _check(where: str, logits: Array, labels: Array) -> None:
    check_array(f"{where}, logits", logits)
    check_array(f"{where}, labels", labels)
    if logits.ndim != 2 or labels.ndim != 1 or logits.shape[0] != labels.shape[0] or 0 in logits.shape:
        raise InputError(
            f"{where}: expected logits (N, classes) and labels (N,), got shapes {tuple(logits.shape)} "
            f"and {tuple(labels.shape)}. Give one label for each row of logits."
        )
    if not same_location(logits, labels):
        raise InputError(
            f"{where}: expected logits and labels of one library on one device, got {_place(logits)} and "
            f"{_place(labels)}. Move the labels."
        )
    if not array_namespace(labels).isdtype(labels.dtype, "integral"):
        raise InputError(
            f"{where}: expected labels to be whole numbers, got dtype {labels.dtype}. Give class numbers as integers."
        )
    classes = logits.shape[1]
    if is_readable(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise InputError(
            f"{where}: expected labels from 0 to {classes - 1}, got {labels.min()} to {labels.max()}. "
            "Give class numbers, and as many outputs as there are classes."
        )


def _place(array: Array) -> str:
    library, where = location(array)
    return library if where is None else f"{library} on {where}"
