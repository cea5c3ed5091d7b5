"""Metrics of classes."""

from __future__ import annotations

from collections.abc import Sized

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import InputError

Integers = NDArray[np.integer]
Floats = NDArray[np.floating]
Reals = Integers | Floats


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    r"""Logarithms of the probabilities of all classes, without overflow.

    Notes
    -----
    .. math:: \log p_c = z_c - \log \sum_k e^{z_k}

    Shapes: logits (N, classes) -> (N, classes), float64.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def confusion_matrix(labels: Integers, predictions: Integers, classes: int) -> NDArray[np.int64]:
    r"""Count how often each true class was predicted as each class.

    Raises
    ------
    InputError
        Unless indices are integers, in range, and of equal number.

    Notes
    -----
    .. math:: M_{tp} = \#\{n : \mathrm{labels}_n = t \text{ and } \mathrm{predictions}_n = p\}

    Shapes: labels (N,), predictions (N,), class indices in 0..classes-1 -> M (classes, classes) of int64; rows are the
    true classes, columns the predicted ones.
    """
    where = "confusion_matrix"
    check_class_indices(where, "labels", labels, classes)
    check_class_indices(where, "predictions", predictions, classes)
    check_same_length(where, "predictions", predictions, labels)
    # A uint8 label times the number of classes would wrap around.
    cell = labels.astype(np.int64) * classes + predictions.astype(np.int64)
    return np.bincount(cell, minlength=classes * classes).reshape(classes, classes)


def accuracy(confusion: Integers) -> float:
    r"""Fraction of the examples that were predicted correctly.

    Raises
    ------
    InputError
        For a matrix that is not square or counts no example.

    Notes
    -----
    .. math:: \mathrm{accuracy} = \frac{\sum_c M_{cc}}{\sum_{t,p} M_{tp}}

    Shapes: confusion (classes, classes) -> a float in [0, 1].
    """
    check_confusion("accuracy", confusion)
    examples = int(confusion.sum())
    if examples == 0:
        raise InputError("accuracy: expected at least one example, got 0. Evaluate on a data set that has images.")
    return int(np.trace(confusion)) / examples


def precision(confusion: Integers) -> NDArray[np.float64]:
    r"""For each class, the fraction of its predictions that are right.

    A class that was never predicted has 0/0, NaN: 0 would say that all were wrong. np.nanmean averages over the others.

    Raises
    ------
    InputError
        For a matrix that is not square.

    Notes
    -----
    .. math:: \mathrm{precision}_c = \frac{M_{cc}}{\sum_t M_{tc}}

    Shapes: confusion (classes, classes) -> (classes,), float64.
    """
    check_confusion("precision", confusion)
    return fraction(np.diagonal(confusion), confusion.sum(axis=0))


def recall(confusion: Integers) -> NDArray[np.float64]:
    r"""For each class, the fraction of its examples that were found.

    A class without examples has 0/0, NaN: 0 would say that all were missed. np.nanmean averages over the others.

    Raises
    ------
    InputError
        For a matrix that is not square.

    Notes
    -----
    .. math:: \mathrm{recall}_c = \frac{M_{cc}}{\sum_p M_{cp}}

    Shapes: confusion (classes, classes) -> (classes,), float64.
    """
    check_confusion("recall", confusion)
    return fraction(np.diagonal(confusion), confusion.sum(axis=1))


def f1(confusion: Integers) -> NDArray[np.float64]:
    r"""For each class, the harmonic mean of precision and recall.

    A class that neither has examples nor was predicted has 0/0, NaN; where only one of precision and recall is NaN, f1
    is 0. np.nanmean averages over the other classes.

    Raises
    ------
    InputError
        For a matrix that is not square.

    Notes
    -----
    .. math:: f1_c = \frac{2 M_{cc}}{\sum_t M_{tc} + \sum_p M_{cp}}

    Shapes: confusion (classes, classes) -> (classes,), float64.

    References
    ----------
    van Rijsbergen, "Information Retrieval", 2nd edition, 1979, chapter 7 (1 - E with equal weights).
    """
    check_confusion("f1", confusion)
    return fraction(2 * np.diagonal(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def iou(confusion: Integers) -> NDArray[np.float64]:
    r"""For each class, intersection over union: of what is it or was predicted as it, the fraction that is both.

    Where a class neither has examples nor was predicted it is 0/0, NaN. np.nanmean averages over the other classes.

    Raises
    ------
    InputError
        For a matrix that is not square.

    Notes
    -----
    .. math:: \mathrm{iou}_c = \frac{M_{cc}}{\sum_t M_{tc} + \sum_p M_{cp} - M_{cc}}

    Shapes: confusion (classes, classes) -> (classes,), float64.

    References
    ----------
    Jaccard, Bulletin de la Société vaudoise des sciences naturelles 37, 1901.
    """
    check_confusion("iou", confusion)
    both = np.diagonal(confusion)
    return fraction(both, confusion.sum(axis=0) + confusion.sum(axis=1) - both)


def top_k_accuracy(logits: Floats, labels: Integers, k: int) -> float:
    """Fraction of the examples whose true class is among the k largest logits.

    Among equal logits the lower class index comes first, as in argmax, so top-1 is the accuracy of argmax.

    Raises
    ------
    InputError
        For other shapes, labels out of range, k out of range, or no example.

    Notes
    -----
    Shapes: logits (N, classes), labels (N,), 1 <= k <= classes -> a float in [0, 1].
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


def fraction(part: Reals, whole: Integers) -> NDArray[np.float64]:
    """Part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
