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
    ("classes",),
    lambda scores, k: _order(scores)[:, :k],
    _score_cases,
    (
        Mistake("classes", "are those with the smallest scores", lambda s, k: np.argsort(s, axis=1)[:, :k]),
        Mistake(
            "classes",
            "begin with the least of the k: the largest comes first",
            lambda s, k: np.argsort(s, axis=1)[:, -k:],
        ),
        Mistake(
            "classes",
            "are the scores: return their places",
            lambda s, k: np.take_along_axis(s, _order(s)[:, :k], axis=1),
        ),
        Mistake(
            "classes", "are sorted over the examples: sort each row, axis 1", lambda s, k: np.argsort(-s, axis=0)[:, :k]
        ),
        Mistake(
            "classes", "are sorted over the examples: sort each row, axis 1", lambda s, k: np.argsort(-s, axis=0)[:k]
        ),
        Mistake("classes", "are all of them: keep the first k", lambda s, k: _order(s)),
        Mistake("classes", "are those of the first k examples: keep k columns", lambda s, k: _order(s)[:k]),
        Mistake("classes", "are the first alone: keep k", lambda s, k: s.argmax(axis=1)),
        Mistake("classes", "are the first alone: keep k", lambda s, k: s.argmax(axis=1, keepdims=True)),
        Mistake("classes", "lack the largest: places begin at 0", lambda s, k: _order(s)[:, 1 : k + 1]),
        Mistake("classes", "have one too many", lambda s, k: _order(s)[:, : k + 1]),
        Mistake(
            "classes", "are those of the largest sizes |score|", lambda s, k: np.argsort(-np.abs(s), axis=1)[:, :k]
        ),
        Mistake(
            "classes",
            "are the ranks of the first k classes: argsort gives the places in order",
            lambda s, k: np.argsort(_order(s), axis=1)[:, :k],
        ),
        Mistake("classes", "are sorted by number: sort them by score", lambda s, k: np.sort(_order(s)[:, :k], axis=1)),
        Mistake("classes", "count from 1", lambda s, k: _order(s)[:, :k] + 1),
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
    ("cosines",),
    lambda a, b: _unit(a) @ _unit(b).T,
    _feature_cases,
    (
        Mistake("cosines", "are dot products: divide by the lengths of both rows", lambda a, b: a @ b.T),
        Mistake("cosines", "are divided by the lengths of a alone", lambda a, b: _unit(a) @ b.T),
        Mistake("cosines", "are divided by the lengths of b alone", lambda a, b: a @ _unit(b).T),
        Mistake(
            "cosines",
            "are divided by the squared lengths: take the root",
            lambda a, b: a @ b.T / np.outer((a * a).sum(axis=1), (b * b).sum(axis=1)),
        ),
        Mistake(
            "cosines",
            "are divided by the size of all rows together: each row has its own length",
            lambda a, b: a @ b.T / np.linalg.norm(a) / np.linalg.norm(b),
        ),
        Mistake(
            "cosines",
            "are divided by the lengths of columns: rows are examples, axis 1",
            lambda a, b: (a / np.linalg.norm(a, axis=0)) @ (b / np.linalg.norm(b, axis=0)).T,
        ),
        Mistake("cosines", "are distances: alike is near 1", _distances),
        Mistake("cosines", "are 1 - cosine, a distance: alike is near 1", lambda a, b: 1 - _unit(a) @ _unit(b).T),
        Mistake(
            "cosines",
            "are those of the same rows alone: compare each of a with each of b",
            lambda a, b: (_unit(a) * _unit(b)).sum(axis=1),
        ),
        Mistake("cosines", "lack the transpose of b: rows of a meet rows of b", lambda a, b: _unit(a) @ _unit(b)),
        Mistake("cosines", "compare columns: rows are examples", lambda a, b: _unit(a).T @ _unit(b)),
        Mistake("cosines", "compare a with itself", lambda a, b: _unit(a) @ _unit(a).T),
        Mistake(
            "cosines", "are positive always: an opposite direction has -1", lambda a, b: np.abs(_unit(a) @ _unit(b).T)
        ),
        Mistake("cosines", "are angles: return their cosines", lambda a, b: np.arccos(_unit(a) @ _unit(b).T)),
        Mistake(
            "cosines",
            "are multiplied by the lengths: divide",
            lambda a, b: a @ b.T * np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)),
        ),
        Mistake(
            "cosines",
            "divide by the sum of |entries|: divide by the root of the sum of squares",
            lambda a, b: a @ b.T / np.outer(np.abs(a).sum(axis=1), np.abs(b).sum(axis=1)),
        ),
        Mistake(
            "cosines",
            "are correlations: do not subtract the mean",
            lambda a, b: _unit(a - a.mean(axis=1, keepdims=True)) @ _unit(b - b.mean(axis=1, keepdims=True)).T,
        ),
    ),
)

TOP_K = Exercise("top k", (_TOP_K,))
COSINE = Exercise("cosine similarity", (_COSINE,))
