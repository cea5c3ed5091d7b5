"""Batch normalisation of vectors while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, LayerGradient, Mistake, Task

EPS = 1e-5  # as the lesson says


def _normalized(x: np.ndarray, ddof: int = 0) -> tuple[np.ndarray, np.ndarray]:
    scale = 1 / np.sqrt(x.var(axis=0, ddof=ddof) + EPS)
    return (x - x.mean(axis=0)) * scale, scale


def _cases(rng: np.random.Generator, *, backward: bool) -> list[dict[str, Any]]:
    cases = []
    for rows, features in ((4, 4), (6, 3)):
        x = rng.normal(2, 3, size=(rows, features))
        last = {"dy": rng.normal(size=x.shape)} if backward else {"beta": rng.normal(size=features)}
        cases.append({"x": x, "gamma": rng.normal(size=features), **last})
    return cases


def _tiny(rng: np.random.Generator) -> list[dict[str, Any]]:
    """Spreads so small that eps decides."""
    return [{**case, "x": 0.003 * case["x"]} for case in _cases(rng, backward=False)]


_N_MINUS_1 = "has the variance with N - 1: here it is a mean over N"
_ROWS = "normalises each example: take mean and variance over the batch, axis 0"

_FORWARD = Task(
    "batch_norm_forward",
    ("y",),
    lambda x, gamma, beta: gamma * _normalized(x)[0] + beta,
    lambda rng: _cases(rng, backward=False),
    (
        Mistake("y", _ROWS, lambda x, gamma, beta: gamma * _normalized(x.T)[0].T + beta),
        Mistake(
            "y",
            "takes one mean and variance of all entries: each feature has its own",
            lambda x, gamma, beta: gamma * (x - x.mean()) / np.sqrt(x.var() + EPS) + beta,
        ),
        Mistake(
            "y",
            "divides by the variance: divide by its root",
            lambda x, gamma, beta: gamma * (x - x.mean(axis=0)) / (x.var(axis=0) + EPS) + beta,
        ),
        Mistake(
            "y",
            "multiplies by the standard deviation: divide",
            lambda x, gamma, beta: gamma * (x - x.mean(axis=0)) * np.sqrt(x.var(axis=0) + EPS) + beta,
        ),
        Mistake("y", "does not subtract the mean", lambda x, gamma, beta: gamma * x * _normalized(x)[1] + beta),
        Mistake(
            "y", "does not divide by the standard deviation", lambda x, gamma, beta: gamma * (x - x.mean(axis=0)) + beta
        ),
        Mistake("y", "lacks gamma and beta", lambda x, gamma, beta: _normalized(x)[0]),
        Mistake("y", "lacks beta", lambda x, gamma, beta: gamma * _normalized(x)[0]),
        Mistake("y", "lacks gamma", lambda x, gamma, beta: _normalized(x)[0] + beta),
        Mistake("y", "has gamma and beta exchanged", lambda x, gamma, beta: beta * _normalized(x)[0] + gamma),
        Mistake("y", "multiplies beta by gamma", lambda x, gamma, beta: gamma * (_normalized(x)[0] + beta)),
        Mistake("y", "subtracts beta: add it", lambda x, gamma, beta: gamma * _normalized(x)[0] - beta),
        Mistake(
            "y",
            _N_MINUS_1,
            lambda x, gamma, beta: gamma * _normalized(x, ddof=1)[0] + beta,
        ),
        Mistake(
            "y",
            "takes the mean of squares for the variance: subtract the mean first",
            lambda x, gamma, beta: gamma * (x - x.mean(axis=0)) / np.sqrt((x * x).mean(axis=0) + EPS) + beta,
        ),
        Mistake("y", "lacks eps", lambda x, gamma, beta: gamma * (x - x.mean(axis=0)) / x.std(axis=0) + beta),
        Mistake(
            "y",
            "adds eps to the root: add it to the variance",
            lambda x, gamma, beta: gamma * (x - x.mean(axis=0)) / (x.std(axis=0) + EPS) + beta,
        ),
    ),
    hard_cases=_tiny,
)


def _gradient(
    x: np.ndarray, gamma: np.ndarray, dy: np.ndarray, mean: float = 1.0, spread: float = 1.0, ddof: int = 0
) -> np.ndarray:
    """The three terms of dx, two of them with factors."""
    hat, scale = _normalized(x, ddof)
    return gamma * scale * (dy - mean * dy.mean(axis=0) - spread * hat * (dy * hat).mean(axis=0))


def _from_sums(own: Mapping[str, np.ndarray], x: np.ndarray, gamma: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """The formula of dx with the student's dbeta and dgamma in place of N times the means."""
    hat, scale = _normalized(x)
    return gamma * scale * (dy - own["dbeta"] / len(x) - hat * own["dgamma"] / len(x))


_BACKWARD = Task(
    "batch_norm_backward",
    ("dx", "dgamma", "dbeta"),
    lambda x, gamma, dy: (_gradient(x, gamma, dy), (dy * _normalized(x)[0]).sum(axis=0), dy.sum(axis=0)),
    lambda rng: _cases(rng, backward=True),
    (
        Mistake(
            "dx",
            "takes mean and variance for constants: they depend on x too",
            lambda x, gamma, dy: _gradient(x, gamma, dy, 0, 0),
        ),
        Mistake(
            "dx",
            "lacks the term of the variance, x_hat * mean(dy * x_hat)",
            lambda x, gamma, dy: _gradient(x, gamma, dy, 1, 0),
        ),
        Mistake("dx", "lacks the term of the mean, mean(dy)", lambda x, gamma, dy: _gradient(x, gamma, dy, 0, 1)),
        Mistake("dx", "adds the two means: subtract them", lambda x, gamma, dy: _gradient(x, gamma, dy, -1, -1)),
        Mistake("dx", "adds the term of the mean: subtract it", lambda x, gamma, dy: _gradient(x, gamma, dy, -1, 1)),
        Mistake(
            "dx", "adds the term of the variance: subtract it", lambda x, gamma, dy: _gradient(x, gamma, dy, 1, -1)
        ),
        Mistake("dx", "has sums in place of means", lambda x, gamma, dy: _gradient(x, gamma, dy, len(x), len(x))),
        Mistake("dx", _N_MINUS_1, lambda x, gamma, dy: _gradient(x, gamma, dy, ddof=1)),
        Mistake("dx", "lacks gamma", lambda x, gamma, dy: _gradient(x, np.ones_like(gamma), dy)),
        Mistake(
            "dx", "lacks the factor 1/sqrt(var + eps)", lambda x, gamma, dy: _gradient(x, gamma, dy) / _normalized(x)[1]
        ),
        Mistake(
            "dx",
            "has 1/(var + eps) in place of its root",
            lambda x, gamma, dy: _gradient(x, gamma, dy) * _normalized(x)[1],
        ),
        Mistake(
            "dx",
            "takes x in place of x_hat",
            lambda x, gamma, dy: gamma * _normalized(x)[1] * (dy - dy.mean(axis=0) - x * (dy * x).mean(axis=0)),
        ),
        Mistake(
            "dx",
            "lacks x_hat before the mean of dy * x_hat",
            lambda x, gamma, dy: (
                gamma * _normalized(x)[1] * (dy - dy.mean(axis=0) - (dy * _normalized(x)[0]).mean(axis=0))
            ),
        ),
        Mistake(
            "dx",
            "takes means over the features: take them over the batch, axis 0",
            lambda x, gamma, dy: (
                gamma
                * _normalized(x)[1]
                * (
                    dy
                    - dy.mean(axis=1, keepdims=True)
                    - _normalized(x)[0] * (dy * _normalized(x)[0]).mean(axis=1, keepdims=True)
                )
            ),
        ),
        Mistake("dgamma", _N_MINUS_1, lambda x, gamma, dy: (dy * _normalized(x, ddof=1)[0]).sum(axis=0)),
        Mistake("dgamma", "is made with x in place of x_hat", lambda x, gamma, dy: (dy * x).sum(axis=0)),
        Mistake(
            "dgamma",
            "is made with x - mean, which is not yet divided",
            lambda x, gamma, dy: (dy * (x - x.mean(axis=0))).sum(axis=0),
        ),
        Mistake(
            "dgamma",
            "is averaged over the examples: it is their sum",
            lambda x, gamma, dy: (dy * _normalized(x)[0]).mean(axis=0),
        ),
        Mistake(
            "dgamma",
            "is summed over the wrong axis: sum over the examples, axis 0",
            lambda x, gamma, dy: (dy * _normalized(x)[0]).sum(axis=1),
        ),
        Mistake("dgamma", "is not summed over the examples", lambda x, gamma, dy: dy * _normalized(x)[0]),
        Mistake("dgamma", "lacks x_hat", lambda x, gamma, dy: dy.sum(axis=0)),
        Mistake("dgamma", "lacks dy", lambda x, gamma, dy: _normalized(x)[0].sum(axis=0)),
        Mistake(
            "dgamma",
            "is made with y: the derivative of gamma x_hat is x_hat",
            lambda x, gamma, dy: (dy * gamma * _normalized(x)[0]).sum(axis=0),
        ),
        Mistake("dbeta", "is averaged over the examples: it is their sum", lambda x, gamma, dy: dy.mean(axis=0)),
        Mistake(
            "dbeta", "is summed over the wrong axis: sum over the examples, axis 0", lambda x, gamma, dy: dy.sum(axis=1)
        ),
        Mistake("dbeta", "is summed over all axes: each feature has its own", lambda x, gamma, dy: dy.sum()),
        Mistake("dbeta", "is not summed over the examples", lambda x, gamma, dy: dy),
        Mistake("dbeta", "has gamma in it: beta is added after", lambda x, gamma, dy: (gamma * dy).sum(axis=0)),
    ),
    in_batches=True,
    follows={"dx": _from_sums},
)

BATCH_NORM = Exercise(
    "batch normalisation", (_FORWARD, _BACKWARD), LayerGradient((3,), (3,), {"gamma": (3,), "beta": (3,)})
)
