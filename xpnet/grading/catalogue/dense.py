"""A dense layer, with examples as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, LayerGradient, Mistake, Task


def _cases(rng: np.random.Generator, *, backward: bool) -> list[dict[str, Any]]:
    cases = []
    for rows, features, units in ((3, 3, 3), (2, 5, 4), (6, 2, 3)):
        x, weight = rng.normal(size=(rows, features)), rng.normal(size=(units, features))
        last = {"dy": rng.normal(size=(rows, units))} if backward else {"b": rng.normal(size=units)}
        cases.append({"x": x, "W": weight, **last})
    return cases


_FORWARD = Task(
    "dense_forward",
    ("y",),
    lambda x, W, b: x @ W.T + b,
    lambda rng: _cases(rng, backward=False),
    (
        Mistake("y", "lacks the bias b", lambda x, W, b: x @ W.T),
        Mistake("y", "has b with the wrong sign", lambda x, W, b: x @ W.T - b),
        Mistake("y", "has a bias of each example: b belongs to the columns", lambda x, W, b: x @ W.T + b[:, None]),
        Mistake("y", "lacks the transpose of W: y = x W^T + b", lambda x, W, b: x @ W + b),
        Mistake("y", "is W x, for examples in columns; here they are rows: y = x W^T + b", lambda x, W, b: W @ x + b),
        Mistake("y", "is W x, for examples in columns; here they are rows: y = x W^T + b", lambda x, W, b: W @ x.T + b),
        Mistake("y", "is a product element by element (*), not of matrices (@)", lambda x, W, b: x * W + b),
        Mistake("y", "is a product element by element (*), not of matrices (@)", lambda x, W, b: x * W.T + b),
        Mistake("y", "multiplies by b: add it", lambda x, W, b: x @ W.T * b),
        Mistake("y", "has b inside the product, where W multiplies it", lambda x, W, b: (x + b) @ W.T),
        Mistake("y", "has the sum of b in place of b", lambda x, W, b: x @ W.T + b.sum()),
        Mistake("y", "has a ReLU in it: that is a layer of its own", lambda x, W, b: np.maximum(x @ W.T + b, 0)),
    ),
    in_batches=True,
)

_BACKWARD = Task(
    "dense_backward",
    ("dx", "dW", "db"),
    lambda x, W, dy: (dy @ W, dy.T @ x, dy.sum(axis=0)),
    lambda rng: _cases(rng, backward=True),
    (
        Mistake("dx", "has a transpose of W too many: y = x W^T + b gives dx = dy W", lambda x, W, dy: dy @ W.T),
        Mistake("dx", "is W^T dy, for examples in columns; here they are rows: dx = dy W", lambda x, W, dy: W.T @ dy),
        Mistake("dx", "has its factors in the wrong order: dx = dy W", lambda x, W, dy: W @ dy),
        Mistake("dx", "is a product element by element (*), not of matrices (@)", lambda x, W, dy: dy * W),
        Mistake("dx", "is W itself, without dy: the chain rule multiplies by it", lambda x, W, dy: W),
        Mistake("dx", "is dy itself: multiply it by W", lambda x, W, dy: dy),
        Mistake("dx", "is made with x in place of dy", lambda x, W, dy: x @ W),
        Mistake("dW", "is transposed: dW = dy^T x has the shape of W", lambda x, W, dy: x.T @ dy),
        Mistake("dW", "lacks the transpose of dy: dW = dy^T x", lambda x, W, dy: dy @ x),
        Mistake("dW", "transposes x in place of dy: dW = dy^T x", lambda x, W, dy: dy @ x.T),
        Mistake("dW", "is a product element by element (*), not of matrices (@)", lambda x, W, dy: dy * x),
        Mistake("dW", "is made with dy twice: one factor is x", lambda x, W, dy: dy.T @ dy),
        Mistake("dW", "is made with W in place of x: dW = dy^T x", lambda x, W, dy: dy.T @ W),
        Mistake("dW", "is of the first example alone: it is the sum over all", lambda x, W, dy: np.outer(dy[0], x[0])),
        Mistake("db", "is summed over the wrong axis: sum over the examples, axis 0", lambda x, W, dy: dy.sum(axis=1)),
        Mistake("db", "is averaged over the examples: it is their sum", lambda x, W, dy: dy.mean(axis=0)),
        Mistake("db", "is summed over all axes: sum over the examples alone, axis 0", lambda x, W, dy: dy.sum()),
        Mistake("db", "is not summed over the examples", lambda x, W, dy: dy),
        Mistake("db", "is of the first example alone: it is the sum over all", lambda x, W, dy: dy[0]),
        Mistake("db", "keeps the axis of the examples, of length 1", lambda x, W, dy: dy.sum(axis=0, keepdims=True)),
        Mistake("db", "is 1 everywhere: the chain rule multiplies that by dy", lambda x, W, dy: np.ones(dy.shape[1])),
        Mistake("db", "is the sum of dW: sum dy", lambda x, W, dy: (dy.T @ x).sum(axis=1)),
    ),
    in_batches=True,
)

DENSE = Exercise("dense", (_FORWARD, _BACKWARD), LayerGradient((5,), (4,), {"W": (4, 5), "b": (4,)}))
