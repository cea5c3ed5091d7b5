"""ReLU, whose derivative at 0 is 0 by agreement."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, LayerGradient, Mistake, Task


def _cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    """A matrix and a batch of images, each with zeros, where the derivative is 0 by agreement."""
    cases = [{"x": rng.normal(size=(3, 4))}, {"x": 8 * rng.normal(size=(2, 3, 3, 2))}]
    for case in cases:
        case["x"][0, ..., -1] = 0.0
    return cases


_FORWARD = Task(
    "relu_forward",
    ("y",),
    lambda x: np.maximum(x, 0),
    _cases,
    (
        Mistake("y", "is |x|: negative values become 0", np.abs),
        Mistake("y", "is the negative part: keep the positive one, max(x, 0)", lambda x: np.minimum(x, 0)),
        Mistake("y", "is the slope, 1 where x > 0: keep x there", lambda x: (x > 0) * 1.0),
        Mistake("y", "is the slope, 1 where x >= 0: keep x where it is above 0", lambda x: (x >= 0) * 1.0),
        Mistake("y", "is the sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        Mistake("y", "is tanh(x)", np.tanh),
        Mistake("y", "is the softplus ln(1 + e^x), a smooth ReLU", lambda x: np.log1p(np.exp(x))),
        Mistake("y", "is x itself: negative values become 0", lambda x: x),
        Mistake("y", "is a single number, the largest of all: use np.maximum, which compares entry by entry", np.max),
        Mistake("y", "leaks 0.01 x where x < 0: that is LeakyReLU", lambda x: np.where(x > 0, x, 0.01 * x)),
        Mistake("y", "is cut off above 1", lambda x: np.clip(x, 0, 1)),
        Mistake("y", "is cut off above 6: that is ReLU6", lambda x: np.clip(x, 0, 6)),
        Mistake("y", "has negative values left out, which changes its shape: set them to 0", lambda x: x[x > 0]),
        Mistake("y", "is max(x, 1): the bound is 0", lambda x: np.maximum(x, 1)),
        Mistake("y", "is x squared where x > 0", lambda x: np.where(x > 0, x * x, 0)),
    ),
)


def _backward_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{**case, "dy": rng.normal(size=case["x"].shape)} for case in _cases(rng)]


_BACKWARD = Task(
    "relu_backward",
    ("dx",),
    lambda x, dy: dy * (x > 0),
    _backward_cases,
    (
        Mistake(
            "dx", "also passes dy where x = 0: the derivative is 0 there by agreement", lambda x, dy: dy * (x >= 0)
        ),
        Mistake("dx", "asks whether dy is positive: ask x", lambda x, dy: dy * (dy > 0)),
        Mistake("dx", "passes dy only where it is positive too: ask x alone", lambda x, dy: dy * ((x > 0) & (dy > 0))),
        Mistake("dx", "passes dy where x < 0: it is the other way round", lambda x, dy: dy * (x < 0)),
        Mistake("dx", "passes dy where x <= 0: it is the other way round", lambda x, dy: dy * (x <= 0)),
        Mistake("dx", "passes dy everywhere: it is 0 where x is negative", lambda x, dy: dy),
        Mistake("dx", "lacks dy: the chain rule multiplies the slope by it", lambda x, dy: (x > 0) * 1.0),
        Mistake("dx", "multiplies dy by y: multiply it by the slope, 0 or 1", lambda x, dy: dy * np.maximum(x, 0)),
        Mistake("dx", "multiplies dy by x: multiply it by the slope, 0 or 1", lambda x, dy: dy * x),
        Mistake("dx", "has slope -1 where x < 0, as |x| has: there it is 0", lambda x, dy: dy * np.sign(x)),
        Mistake("dx", "is y: it is dy times the slope", lambda x, dy: np.maximum(x, 0)),
        Mistake("dx", "leaks 0.01 dy where x < 0: that is LeakyReLU", lambda x, dy: dy * np.where(x > 0, 1, 0.01)),
        Mistake("dx", "has the values where x < 0 left out: set them to 0", lambda x, dy: dy[x > 0]),
    ),
)

RELU = Exercise("relu", (_FORWARD, _BACKWARD), LayerGradient((4, 3), (4, 3), {}))
