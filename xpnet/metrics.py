"""Metrics of classes and of real numbers. They run on the host: NumPy arrays in, NumPy arrays or floats out."""

from __future__ import annotations

from collections.abc import Sized
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import InputError
from xpnet.shapes import check_positive

__all__ = [
    "Calibration",
    "accuracy",
    "calibration",
    "confusion_matrix",
    "f1",
    "iou",
    "log_softmax",
    "mean_absolute_error",
    "precision",
    "r2_score",
    "recall",
    "root_mean_squared_error",
    "top_k_accuracy",
]

Integers = NDArray[np.integer]
Floats = NDArray[np.floating]
Reals = Integers | Floats


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """Logarithms of the probabilities of all classes: z_c - ln sum_k exp(z_k), without overflow.

    Shapes: logits (N, classes) -> (N, classes), float64.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def confusion_matrix(labels: Integers, predictions: Integers, classes: int) -> NDArray[np.int64]:
    """Count how often each true class was predicted as each class.

        M[t, p] = #{n : labels[n] = t and predictions[n] = p}

    Shapes: labels (N,), predictions (N,), class indices in 0..classes-1 -> M (classes, classes) of int64;
    rows are the true classes, columns the predicted ones.
    Raises InputError unless indices are integers, in range, and of equal number.
    """
    where = "confusion_matrix"
    check_class_indices(where, "labels", labels, classes)
    check_class_indices(where, "predictions", predictions, classes)
    check_same_length(where, "predictions", predictions, labels)
    # A uint8 label times the number of classes would wrap around.
    cell = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Integers) -> float:
    """Fraction of the examples that were predicted correctly.

        accuracy = sum_c M[c, c] / sum_{t,p} M[t, p]

    Shapes: confusion (classes, classes) -> a float in [0, 1].
    Raises InputError for a matrix that is not square or counts no example.
    """
    check_confusion("accuracy", confusion)
    examples = int(confusion.sum())
    if examples == 0:
        raise InputError("accuracy: expected at least one example, got 0. Evaluate on a data set that has images.")
    return int(np.trace(confusion)) / examples


def precision(confusion: Integers) -> NDArray[np.float64]:
    """For each class, the fraction of its predictions that are right.

        precision[c] = M[c, c] / sum_t M[t, c]

    A class that was never predicted has 0/0, NaN: 0 would say that all were wrong. np.nanmean averages over the others.

    Shapes: confusion (classes, classes) -> (classes,), float64.
    Raises InputError for a matrix that is not square.
    """
    check_confusion("precision", confusion)
    return _fraction(np.diagonal(confusion), confusion.sum(axis=0))


def recall(confusion: Integers) -> NDArray[np.float64]:
    """For each class, the fraction of its examples that were found.

        recall[c] = M[c, c] / sum_p M[c, p]

    A class without examples has 0/0, NaN: 0 would say that all were missed. np.nanmean averages over the others.

    Shapes: confusion (classes, classes) -> (classes,), float64.
    Raises InputError for a matrix that is not square.
    """
    check_confusion("recall", confusion)
    return _fraction(np.diagonal(confusion), confusion.sum(axis=1))


def f1(confusion: Integers) -> NDArray[np.float64]:
    """For each class, the harmonic mean of precision and recall.

        f1[c] = 2 M[c, c] / (sum_t M[t, c] + sum_p M[c, p])

    A class that neither has examples nor was predicted has 0/0, NaN; where only one of precision and recall is NaN,
    f1 is 0. np.nanmean averages over the other classes.

    Shapes: confusion (classes, classes) -> (classes,), float64.
    Raises InputError for a matrix that is not square.
    Source: van Rijsbergen, "Information Retrieval", 2nd edition, 1979, chapter 7 (1 - E with equal weights).
    """
    check_confusion("f1", confusion)
    return _fraction(2 * np.diagonal(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def iou(confusion: Integers) -> NDArray[np.float64]:
    """For each class, intersection over union: of what is it or was predicted as it, the fraction that is both.

        iou[c] = M[c, c] / (sum_t M[t, c] + sum_p M[c, p] - M[c, c])

    Where a class neither has examples nor was predicted it is 0/0, NaN. np.nanmean averages over the other classes.

    Shapes: confusion (classes, classes) -> (classes,), float64.
    Raises InputError for a matrix that is not square.
    Source: Jaccard, Bulletin de la Société vaudoise des sciences naturelles 37, 1901.
    """
    check_confusion("iou", confusion)
    both = np.diagonal(confusion)
    return _fraction(both, confusion.sum(axis=0) + confusion.sum(axis=1) - both)


def top_k_accuracy(logits: Floats, labels: Integers, k: int) -> float:
    """Fraction of the examples whose true class is among the k largest logits.

        top_k = #{n : labels[n] is one of the k classes with the largest logits[n, :]} / N

    Among equal logits the lower class index comes first, as in argmax, so top-1 is the accuracy of argmax.

    Shapes: logits (N, classes), labels (N,), 1 <= k <= classes -> a float in [0, 1].
    Raises InputError for other shapes, labels out of range, k out of range, or no example.
    """
    where = "top_k_accuracy"
    if logits.ndim != 2 or len(logits) == 0:
        raise InputError(
            f"{where}: expected logits (N, classes) with N >= 1, got shape {logits.shape}. "
            "Pass one row of logits for each example."
        )
    classes = logits.shape[1]
    if not 1 <= k <= classes:
        raise InputError(f"{where}: expected k in 1..{classes}, got {k}. Choose at most the number of classes.")
    check_class_indices(where, "labels", labels, classes)
    check_same_length(where, "logits", logits, labels)
    largest = np.argsort(-logits, axis=1, stable=True)[:, :k]
    return float(np.mean(np.any(largest == labels[:, None], axis=1)))


class Calibration(NamedTuple):
    """Examples in bins of confidence: how many each has, their mean confidence and accuracy (NaN in an empty bin).

    Shapes: each (bins,); bin m holds confidences in (m/bins, (m + 1)/bins].
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        """Expected calibration error: ECE = sum_m counts[m]/N |accuracy[m] - confidence[m]|."""
        filled = self.counts > 0
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(gaps @ self.counts[filled] / self.counts.sum())


def calibration(probabilities: Floats, labels: Integers, bins: int = 15) -> Calibration:
    """Whether predictions are right as often as their probabilities say.

    The confidence of a prediction is the probability of its class, max_c p[n, c].

    Shapes: probabilities (N, classes) in [0, 1], labels (N,), bins >= 1.
    Raises InputError for other shapes and values, labels out of range, or no example.
    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
    """
    where = "calibration"
    if probabilities.ndim != 2 or probabilities.size == 0:
        raise InputError(
            f"{where}: expected probabilities (N, classes) with N >= 1, got shape {probabilities.shape}. "
            "Pass one row of probabilities for each example."
        )
    check_positive(where, "number of bins", bins)
    check_class_indices(where, "labels", labels, probabilities.shape[1])
    check_same_length(where, "probabilities", probabilities, labels)
    predictions = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(labels)), predictions].astype(np.float64)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise InputError(
            f"{where}: expected probabilities in [0, 1], got {confidence.max()}. Pass the softmax of logits."
        )
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    return Calibration(
        counts,
        _fraction(np.bincount(places, confidence, bins), counts),
        _fraction(np.bincount(places, predictions == labels, bins), counts),
    )


def r2_score(targets: Reals, predictions: Reals) -> float:
    """Coefficient of determination R²: 1 if all predictions are right, 0 for predicting the mean of the targets.

        R² = 1 - sum_n (t[n] - y[n])^2 / sum_n (t[n] - mean(t))^2

    Of several outputs it is the mean. For an output whose targets are all equal it is 1 if all predictions are right,
    else 0.

    Shapes: targets (N,), (N, 1) or (N, K), predictions of the same shape -> a float of at most 1.
    Raises InputError for other shapes, no example, or anything but real numbers.
    Source: Draper and Smith, "Applied Regression Analysis", 3rd edition, 1998, section 1.3.
    """
    t, y = _real_pair("r2_score", targets, predictions)
    residual, total = np.sum((t - y) ** 2, axis=0), np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    is_constant = np.ptp(t, axis=0) == 0  # rounding may leave its total a little above 0
    score = 1 - residual / np.where(is_constant, 1, total)
    return float(np.mean(np.where(is_constant, residual == 0, score)))


def mean_absolute_error(targets: Reals, predictions: Reals) -> float:
    """Mean absolute difference of predictions and targets, over all outputs: MAE = 1/(N K) sum_{n,k} |t[n,k] - y[n,k]|.

    Shapes and errors as ``r2_score``; in the unit of the targets.
    """
    t, y = _real_pair("mean_absolute_error", targets, predictions)
    return float(np.mean(np.abs(t - y)))


def root_mean_squared_error(targets: Reals, predictions: Reals) -> float:
    """Root of the mean squared difference of each output, averaged over them.

        RMSE = 1/K sum_k sqrt(1/N sum_n (t[n,k] - y[n,k])^2)

    Shapes and errors as ``r2_score``; in the unit of the targets.
    """
    t, y = _real_pair("root_mean_squared_error", targets, predictions)
    return float(np.mean(np.sqrt(np.mean((t - y) ** 2, axis=0))))


def check_class_indices(where: str, name: str, indices: Integers, classes: int) -> None:
    """Raise InputError, from ``where``, unless these are a vector of integers in 0..classes-1."""
    if indices.ndim != 1 or not np.issubdtype(indices.dtype, np.integer):
        raise InputError(
            f"{where}: expected {name} (N,) of integers, got shape {indices.shape} of {indices.dtype}. "
            "Pass one class index for each example."
        )
    outside = indices[(indices < 0) | (indices >= classes)]
    if outside.size:
        raise InputError(
            f"{where}: expected {name} in 0..{classes - 1}, got {outside[0]}. Check the number of classes."
        )


def check_same_length(where: str, name: str, values: Sized, labels: Sized) -> None:
    """Raise InputError, from ``where``, unless there is one value for each label."""
    if len(values) != len(labels):
        raise InputError(
            f"{where}: expected {len(labels)} {name}, one for each label, got {len(values)}. "
            "Pass both for the same examples."
        )


def check_confusion(where: str, confusion: Integers) -> None:
    """Raise InputError, from ``where``, unless this is a square matrix."""
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or confusion.size == 0:
        raise InputError(
            f"{where}: expected a confusion matrix (classes, classes), got shape {confusion.shape}. "
            "Make it with metrics.confusion_matrix."
        )


def _fraction(part: Reals, whole: Integers) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _real_pair(where: str, targets: Reals, predictions: Reals) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as (N, K) of float64, in which integers do not wrap around."""
    for name, values in (("targets", targets), ("predictions", predictions)):
        if not np.issubdtype(values.dtype, np.integer) and not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"{where}: expected {name} to be real numbers, got {values.dtype}. Convert them.")
    t, y = (values[:, None] if values.ndim == 1 else values for values in (targets, predictions))
    if t.ndim != 2 or t.shape != y.shape or t.size == 0:
        raise InputError(
            f"{where}: expected targets (N,) or (N, K) with N >= 1 and predictions of the same shape, got shapes "
            f"{targets.shape} and {predictions.shape}. Pass one prediction for each target."
        )
    return t.astype(np.float64), y.astype(np.float64)
