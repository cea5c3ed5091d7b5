"""What to do with features: the largest scores, and how alike two examples are."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, Mistake, Task


def _score_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Distinct scores, some below 0."""
    return [
        {"scores": rng.permutation(24).reshape(4, 6) - 9.5, "k": 3},
        {"scores": rng.permutation(25).reshape(5, 5) - 12.5, "k": 2},
        {"scores": rng.permutation(14).reshape(2, 7) - 6.5, "k": 1},
    ]


def _order(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, axis=1)


_TOP_K = Task(
    "top_k",
    ("result",),
    lambda scores, k: _order(scores)[:, :k],
    _score_cases,
    (
        Mistake("result", "holds those with the smallest scores", lambda s, k: np.argsort(s, axis=1)[:, :k]),
        Mistake(
            "result",
            "begins with the least of the k: the largest comes first",
            lambda s, k: np.argsort(s, axis=1)[:, -k:],
        ),
        Mistake(
            "result",
            "holds the scores: return their places",
            lambda s, k: np.take_along_axis(s, _order(s)[:, :k], axis=1),
        ),
        Mistake(
            "result", "is sorted over the examples: sort each row, axis 1", lambda s, k: np.argsort(-s, axis=0)[:, :k]
        ),
        Mistake(
            "result", "is sorted over the examples: sort each row, axis 1", lambda s, k: np.argsort(-s, axis=0)[:k]
        ),
        Mistake("result", "holds all of them: keep the first k", lambda s, k: _order(s)),
        Mistake("result", "holds those of the first k examples: keep k columns", lambda s, k: _order(s)[:k]),
        Mistake("result", "holds the first alone: keep k", lambda s, k: s.argmax(axis=1)),
        Mistake("result", "holds the first alone: keep k", lambda s, k: s.argmax(axis=1, keepdims=True)),
        Mistake("result", "lacks the largest: places begin at 0", lambda s, k: _order(s)[:, 1 : k + 1]),
        Mistake("result", "has one too many", lambda s, k: _order(s)[:, : k + 1]),
        Mistake(
            "result", "holds those of the largest sizes |score|", lambda s, k: np.argsort(-np.abs(s), axis=1)[:, :k]
        ),
        Mistake(
            "result",
            "is the ranks of the first k classes: argsort gives the places in order",
            lambda s, k: np.argsort(_order(s), axis=1)[:, :k],
        ),
        Mistake("result", "is sorted by number: sort them by score", lambda s, k: np.sort(_order(s)[:, :k], axis=1)),
        Mistake("result", "counts from 1", lambda s, k: _order(s)[:, :k] + 1),
    ),
)


def _feature_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [
        {"a": rng.normal(size=shape_a), "b": rng.normal(size=shape_b)}
        for shape_a, shape_b in (((4, 4), (4, 4)), ((2, 5), (3, 5)))
    ]


def _unit(a: np.ndarray) -> np.ndarray:
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a[:, None] - b[None], axis=2)


_COSINE = Task(
    "cosine_similarity",
    ("result",),
    lambda a, b: _unit(a) @ _unit(b).T,
    _feature_cases,
    (
        Mistake("result", "holds dot products: divide by the lengths of both rows", lambda a, b: a @ b.T),
        Mistake("result", "is divided by the lengths of a alone", lambda a, b: _unit(a) @ b.T),
        Mistake("result", "is divided by the lengths of b alone", lambda a, b: a @ _unit(b).T),
        Mistake(
            "result",
            "is divided by the squared lengths: take the root",
            lambda a, b: a @ b.T / np.outer((a * a).sum(axis=1), (b * b).sum(axis=1)),
        ),
        Mistake(
            "result",
            "is divided by the size of all rows together: each row has its own length",
            lambda a, b: a @ b.T / np.linalg.norm(a) / np.linalg.norm(b),
        ),
        Mistake(
            "result",
            "is divided by the lengths of columns: rows are examples, axis 1",
            lambda a, b: (a / np.linalg.norm(a, axis=0)) @ (b / np.linalg.norm(b, axis=0)).T,
        ),
        Mistake("result", "holds distances: alike is near 1", _distances),
        Mistake("result", "is 1 - cosine, a distance: alike is near 1", lambda a, b: 1 - _unit(a) @ _unit(b).T),
        Mistake(
            "result",
            "holds those of the same rows alone: compare each of a with each of b",
            lambda a, b: (_unit(a) * _unit(b)).sum(axis=1),
        ),
        Mistake("result", "lacks the transpose of b: rows of a meet rows of b", lambda a, b: _unit(a) @ _unit(b)),
        Mistake("result", "compares columns: rows are examples", lambda a, b: _unit(a).T @ _unit(b)),
        Mistake("result", "compares a with itself", lambda a, b: _unit(a) @ _unit(a).T),
        Mistake(
            "result", "is positive always: an opposite direction has -1", lambda a, b: np.abs(_unit(a) @ _unit(b).T)
        ),
        Mistake("result", "holds angles: return their cosines", lambda a, b: np.arccos(_unit(a) @ _unit(b).T)),
        Mistake(
            "result",
            "is multiplied by the lengths: divide",
            lambda a, b: a @ b.T * np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)),
        ),
        Mistake(
            "result",
            "divides by the sum of |entries|: divide by the root of the sum of squares",
            lambda a, b: a @ b.T / np.outer(np.abs(a).sum(axis=1), np.abs(b).sum(axis=1)),
        ),
        Mistake(
            "result",
            "holds correlations: do not subtract the mean",
            lambda a, b: _unit(a - a.mean(axis=1, keepdims=True)) @ _unit(b - b.mean(axis=1, keepdims=True)).T,
        ),
    ),
)

TOP_K = Exercise("top k", (_TOP_K,))
COSINE = Exercise("cosine similarity", (_COSINE,))
