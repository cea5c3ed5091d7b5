"""Softmax cross-entropy: the loss and its gradient with respect to the logits z."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, LossGradient, Mistake, Task


def _softmax(z: np.ndarray, axis: int | None = 1) -> np.ndarray:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _added_up(z: np.ndarray, axis: int | None) -> np.ndarray:
    """Shifted by rows, but added up over another axis."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _unshifted(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def _shifted_together(z: np.ndarray) -> np.ndarray:
    return z - z.max()


def _largest(z: np.ndarray) -> np.ndarray:
    return z.max(axis=1)


def _true(p: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return p[np.arange(len(p)), labels]


def _one_hot(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.eye(z.shape[1])[labels].astype(z.dtype)


def _log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _log_of_sum(z: np.ndarray) -> np.ndarray:
    """Of the shifted logits."""
    return np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1))


def _cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{"z": rng.normal(size=shape), "labels": rng.integers(0, shape[1], shape[0])} for shape in ((3, 3), (5, 4))]


def _hard_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Logits whose exponentials overflow, probabilities that round to 0, and rows with very different maxima."""
    z = np.array([[1000.0, 0.0, -1000.0], [0.0, 1.0, 2.0]])
    return [{"z": z, "labels": np.array([0, 1])}, {"z": z, "labels": np.array([1, 1])}]


_OVER_EXAMPLES = "uses a softmax over the examples: the probabilities of each row add up to 1, so sum over axis 1"
_OVER_ALL = "uses a softmax over the whole batch: the probabilities of each row add up to 1, so sum over axis 1"
_LARGEST_OF_ALL = "subtracts the largest logit of the whole batch: subtract that of each row"


_TASK = Task(
    "softmax_cross_entropy",
    ("loss", "dz"),
    lambda z, labels: (
        -_true(_log_softmax(z), labels).mean(),
        (_softmax(z) - _one_hot(z, labels)) / len(z),
    ),
    _cases,
    (
        Mistake(
            "loss",
            "overflows for large logits: subtract the largest logit of each row before exp",
            lambda z, labels: -np.log(_true(_unshifted(z), labels)).mean(),
        ),
        Mistake(
            "loss",
            "overflows for large logits: subtract the largest logit of each row before exp",
            lambda z, labels: (np.log(np.exp(z).sum(axis=1)) - _true(z, labels)).mean(),
        ),
        Mistake(
            "loss", _LARGEST_OF_ALL, lambda z, labels: -np.log(_true(_unshifted(_shifted_together(z)), labels)).mean()
        ),
        Mistake(
            "loss",
            _LARGEST_OF_ALL,
            lambda z, labels: (
                np.log(np.exp(_shifted_together(z)).sum(axis=1)) - _true(_shifted_together(z), labels)
            ).mean(),
        ),
        Mistake(
            "loss",
            "subtracts the largest logit in the sum of exponentials alone: subtract it from that of the true class too",
            lambda z, labels: (_log_of_sum(z) - _true(z, labels)).mean(),
        ),
        Mistake(
            "loss",
            "subtracts the largest logit from that of the true class alone: subtract it in the sum of exponentials too",
            lambda z, labels: (_log_of_sum(z) + 2 * _largest(z) - _true(z, labels)).mean(),
        ),
        Mistake(
            "loss",
            "is infinite where a probability rounds to 0: compute its log as z - max z - log sum exp(z - max z)",
            lambda z, labels: -np.log(_true(_softmax(z), labels)).mean(),
        ),
        *(
            Mistake(
                "loss",
                "is cut off where a probability is tiny: compute its log as z - max z - log sum exp(z - max z)",
                lambda z, labels, tiny=tiny: -np.log(_true(_softmax(z), labels) + tiny).mean(),
            )
            for tiny in (1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15)
        ),
        *(
            Mistake(
                "loss",
                "is cut off where a probability is tiny: compute its log as z - max z - log sum exp(z - max z)",
                lambda z, labels, tiny=tiny: -np.log(_true(np.clip(_softmax(z), tiny, 1 - tiny), labels)).mean(),
            )
            for tiny in (1e-5, 1e-6)
        ),
        Mistake("loss", "has the wrong sign", lambda z, labels: np.log(_true(_softmax(z), labels)).mean()),
        Mistake("loss", "lacks the logarithm: it is -log p", lambda z, labels: -_true(_softmax(z), labels).mean()),
        Mistake("loss", "is 1 - p: it is -log p", lambda z, labels: 1 - _true(_softmax(z), labels).mean()),
        Mistake(
            "loss",
            "is summed over the examples: it is their mean",
            lambda z, labels: -_true(_log_softmax(z), labels).sum(),
        ),
        Mistake("loss", "is not averaged over the examples", lambda z, labels: -_true(_log_softmax(z), labels)),
        Mistake(
            "loss",
            "is averaged over the classes as well: divide by the number of examples alone",
            lambda z, labels: -_true(_log_softmax(z), labels).mean() / z.shape[1],
        ),
        Mistake(
            "loss",
            "adds up all classes: only the true one is in it",
            lambda z, labels: -_log_softmax(z).sum() / len(z),
        ),
        Mistake(
            "loss", "is a mean over all classes: only the true one is in it", lambda z, labels: -_log_softmax(z).mean()
        ),
        Mistake(
            "loss",
            "takes the logarithm of base 2: use np.log",
            lambda z, labels: -_true(_log_softmax(z), labels).mean() / np.log(2),
        ),
        Mistake(
            "loss",
            "takes the logarithm of base 10: use np.log",
            lambda z, labels: -_true(_log_softmax(z), labels).mean() / np.log(10),
        ),
        Mistake(
            "loss",
            "is the squared error: it is -log p of the true class",
            lambda z, labels: ((_softmax(z) - _one_hot(z, labels)) ** 2).sum() / len(z),
        ),
        *(
            Mistake("loss", words, lambda z, labels, p=p, axis=axis: -np.log(_true(p(z, axis), labels)).mean())
            for p in (_softmax, _added_up)
            for axis, words in ((0, _OVER_EXAMPLES), (None, _OVER_ALL))
        ),
        Mistake(
            "dz",
            "overflows for large logits: subtract the largest logit of each row before exp",
            lambda z, labels: (_unshifted(z) - _one_hot(z, labels)) / len(z),
        ),
        Mistake(
            "dz",
            _LARGEST_OF_ALL,
            lambda z, labels: (_unshifted(_shifted_together(z)) - _one_hot(z, labels)) / len(z),
        ),
        *(
            Mistake(
                "dz",
                "is made with probabilities that are cut off: take them as they are",
                lambda z, labels, tiny=tiny: (np.clip(_softmax(z), tiny, 1 - tiny) - _one_hot(z, labels)) / len(z),
            )
            for tiny in (1e-5, 1e-6, 1e-7, 1e-8)
        ),
        Mistake(
            "dz",
            "subtracts the 1 of all labels in every row, as p[:, labels] does: p[rows, labels] takes one entry of each",
            lambda z, labels: (_softmax(z) - _one_hot(z, labels).max(axis=0)) / len(z),
        ),
        Mistake("dz", "is not divided by the number of examples", lambda z, labels: _softmax(z) - _one_hot(z, labels)),
        Mistake("dz", "lacks the 1 of the true class: dz = (p - t)/N", lambda z, labels: _softmax(z) / len(z)),
        Mistake(
            "dz", "is p, without the 1 of the true class and without 1/N: dz = (p - t)/N", lambda z, labels: _softmax(z)
        ),
        Mistake(
            "dz",
            "is divided by the number of classes: divide by the number of examples",
            lambda z, labels: (_softmax(z) - _one_hot(z, labels)) / z.shape[1],
        ),
        Mistake(
            "dz",
            "is averaged over all entries: divide by the number of examples alone",
            lambda z, labels: (_softmax(z) - _one_hot(z, labels)) / z.size,
        ),
        Mistake(
            "dz",
            "subtracts the 1 after the division by N: dz = (p - t)/N",
            lambda z, labels: _softmax(z) / len(z) - _one_hot(z, labels),
        ),
        Mistake(
            "dz",
            "is the gradient with respect to p: go back through the softmax as well",
            lambda z, labels: -_one_hot(z, labels) / _softmax(z) / len(z),
        ),
        Mistake(
            "dz",
            "is made with the logits in place of the probabilities",
            lambda z, labels: (z - _one_hot(z, labels)) / len(z),
        ),
        Mistake(
            "dz",
            "takes the derivative p (1 - p) for the softmax, which leaves out that each logit moves all probabilities",
            lambda z, labels: (_softmax(z) - _one_hot(z, labels)) * _softmax(z) * (1 - _softmax(z)) / len(z),
        ),
        Mistake(
            "dz",
            "subtracts the 1 in the class that is most probable: subtract it in the true one",
            lambda z, labels: (_softmax(z) - _one_hot(z, z.argmax(axis=1))) / len(z),
        ),
        *(
            Mistake("dz", words, lambda z, labels, p=p, axis=axis: (p(z, axis) - _one_hot(z, labels)) / len(z))
            for p in (_softmax, _added_up)
            for axis, words in ((0, _OVER_EXAMPLES), (None, _OVER_ALL))
        ),
    ),
    hard_cases=_hard_cases,
    in_batches=True,
)

SOFTMAX = Exercise("softmax cross-entropy", (_TASK,), LossGradient())
