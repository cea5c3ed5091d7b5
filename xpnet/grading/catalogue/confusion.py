"""How good a classifier is: the confusion matrix, precision and recall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from xpnet import metrics
from xpnet.grading.exercises import Exercise, Mistake, Task


def _label_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    cases = []
    for count, classes in ((30, 3), (20, 5)):
        labels = rng.integers(0, classes, count)
        predictions = np.where(rng.random(count) < 0.6, labels, rng.integers(0, classes, count))
        cases.append({"labels": labels, "predictions": predictions, "classes": classes})
    few = {"labels": np.array([1, 1, 0, 1]), "predictions": np.array([1, 1, 2, 0]), "classes": 5}
    return [*cases, few]


def _pairs(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """1 where a pair occurs at all."""
    return (metrics.confusion_matrix(labels, predictions, classes) > 0).astype(int)


def _without(matrix: np.ndarray, *, diagonal: bool) -> np.ndarray:
    return matrix * (np.eye(len(matrix), dtype=int) != int(diagonal))


_MATRIX = Task(
    "confusion_matrix",
    ("M",),
    lambda labels, predictions, classes: metrics.confusion_matrix(labels, predictions, classes),
    _label_cases,
    (
        Mistake(
            "M",
            "is transposed: rows are the true classes, columns the predicted ones",
            lambda t, p, k: metrics.confusion_matrix(p, t, k),
        ),
        Mistake(
            "M",
            "counts each pair once: M[labels, predictions] += 1 does not add up equal indices, np.add.at does",
            _pairs,
        ),
        Mistake(
            "M",
            "lacks the mistakes: count pairs with different classes too",
            lambda t, p, k: _without(metrics.confusion_matrix(t, p, k), diagonal=False),
        ),
        Mistake(
            "M",
            "lacks the right predictions: they are on the diagonal",
            lambda t, p, k: _without(metrics.confusion_matrix(t, p, k), diagonal=True),
        ),
        Mistake(
            "M",
            "holds fractions of all examples: it holds counts",
            lambda t, p, k: metrics.confusion_matrix(t, p, k) / len(t),
        ),
        Mistake(
            "M",
            "holds fractions of each true class: it holds counts",
            lambda t, p, k: (m := metrics.confusion_matrix(t, p, k)) / m.sum(axis=1, keepdims=True),
        ),
        Mistake(
            "M",
            "holds fractions of each predicted class: it holds counts",
            lambda t, p, k: (m := metrics.confusion_matrix(t, p, k)) / m.sum(axis=0, keepdims=True),
        ),
        Mistake(
            "M",
            "lacks classes that do not occur: it is (classes, classes)",
            lambda t, p, k: metrics.confusion_matrix(t, p, int(max(t.max(), p.max())) + 1),
        ),
        Mistake("M", "lacks the first example", lambda t, p, k: metrics.confusion_matrix(t[1:], p[1:], k)),
        Mistake("M", "lacks the last example", lambda t, p, k: metrics.confusion_matrix(t[:-1], p[:-1], k)),
        Mistake("M", "counts from 1: start with zeros", lambda t, p, k: metrics.confusion_matrix(t, p, k) + 1),
        Mistake("M", "counts the labels alone", lambda t, p, k: metrics.confusion_matrix(t, t, k)),
        Mistake("M", "counts the predictions alone", lambda t, p, k: metrics.confusion_matrix(p, p, k)),
        Mistake(
            "M", "counts every pair in both directions", lambda t, p, k: (m := metrics.confusion_matrix(t, p, k)) + m.T
        ),
        Mistake("M", "is the accuracy: count the pairs of classes", lambda t, p, k: np.mean(t == p)),
    ),
)


def _matrix_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{"M": rng.integers(1, 20, (3, 3))}, {"M": rng.integers(1, 20, (5, 5))}]


def _precision_gaps(rng: np.random.Generator) -> list[dict[str, Any]]:
    """A class that was never predicted."""
    matrix = rng.integers(1, 20, (4, 4))
    matrix[:, 2] = 0
    return [{"M": matrix}]


def _recall_gaps(rng: np.random.Generator) -> list[dict[str, Any]]:
    """A class without examples."""
    return [{"M": case["M"].T} for case in _precision_gaps(rng)]


def _shared(output: str, over: str) -> tuple[Mistake, ...]:
    """What goes wrong with both fractions; ``over`` says what each is a fraction of."""
    return (
        Mistake(
            output, "is the accuracy, the same for all classes: each class has its own", lambda M: np.trace(M) / M.sum()
        ),
        Mistake(
            output, f"is divided by the number of all examples: divide by {over}", lambda M: np.diagonal(M) / M.sum()
        ),
        Mistake(
            output,
            "is a mean over the classes: each class has its own",
            lambda M: np.mean(np.diagonal(M) / M.sum(axis=1)),
        ),
        Mistake(
            output,
            "is a mean over the classes: each class has its own",
            lambda M: np.mean(np.diagonal(M) / M.sum(axis=0)),
        ),
        Mistake(
            output,
            "is F1, which has both row and column in it",
            lambda M: 2 * np.diagonal(M) / (M.sum(axis=0) + M.sum(axis=1)),
        ),
        Mistake(output, "is the count on the diagonal: divide it", np.diagonal),
        Mistake(
            output, "divides the mistakes too: take the diagonal alone", lambda M: M / M.sum(axis=0, keepdims=True)
        ),
        Mistake(
            output, "divides the mistakes too: take the diagonal alone", lambda M: M / M.sum(axis=1, keepdims=True)
        ),
        Mistake(
            output, "has the diagonal left out of the sum", lambda M: np.diagonal(M) / (M.sum(axis=1) - np.diagonal(M))
        ),
        Mistake(
            output, "has the diagonal left out of the sum", lambda M: np.diagonal(M) / (M.sum(axis=0) - np.diagonal(M))
        ),
        Mistake(
            output, "is rounded down to an integer: divide with /, not //", lambda M: np.diagonal(M) // M.sum(axis=0)
        ),
        Mistake(
            output, "is rounded down to an integer: divide with /, not //", lambda M: np.diagonal(M) // M.sum(axis=1)
        ),
    )


class _Words(NamedTuple):
    """What the sentences about one of the two fractions say."""

    other: str  # the fraction that it is mistaken for
    divisor: str
    wrong: str  # what the rest of it is
    empty: str  # a class for which it has no value
    upside_down: str


def _fraction(name: str, axis: int, words: _Words, hard_cases: Callable[..., Any]) -> Task:
    """Of each class what is on the diagonal by the sum over an axis."""

    def right(M: np.ndarray) -> np.ndarray:
        return np.diagonal(M) / M.sum(axis=axis)

    return Task(
        name,
        ("result",),
        right,
        _matrix_cases,
        (
            Mistake(
                "result",
                f"is {words.other}: divide by {words.divisor}",
                lambda M: np.diagonal(M) / M.sum(axis=1 - axis),
            ),
            Mistake("result", f"is 1 - {name}, {words.wrong}", lambda M: 1 - right(M)),
            Mistake(
                "result",
                f"is 0 for a class {words.empty}: 0/0 has no value, so NaN",
                lambda M: np.nan_to_num(right(M)),
            ),
            Mistake(
                "result",
                f"is 1 for a class {words.empty}: 0/0 has no value, so NaN",
                lambda M: np.nan_to_num(right(M), nan=1.0),
            ),
            Mistake("result", f"is upside down: {words.upside_down}", lambda M: M.sum(axis=axis) / np.diagonal(M)),
            *_shared("result", words.divisor),
        ),
        hard_cases=hard_cases,
    )


_PRECISION = _fraction(
    "precision",
    0,
    _Words(
        other="recall",
        divisor="the predictions of the class, the sum of its column",
        wrong="the wrong predictions",
        empty="that was never predicted",
        upside_down="right predictions by all predictions",
    ),
    _precision_gaps,
)
_RECALL = _fraction(
    "recall",
    1,
    _Words(
        other="precision",
        divisor="the examples of the class, the sum of its row",
        wrong="the missed examples",
        empty="without examples",
        upside_down="found examples by all examples",
    ),
    _recall_gaps,
)

CONFUSION_MATRIX = Exercise("confusion matrix", (_MATRIX,))
PRECISION_AND_RECALL = Exercise("precision and recall", (_PRECISION, _RECALL))
