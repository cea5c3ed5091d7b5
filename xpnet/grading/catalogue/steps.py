"""Steps of gradient descent, with weight decay and with momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, Mistake, Task

_UPHILL = "goes uphill: subtract the step"
_NO_RATE = "lacks the learning rate"


def _drawn(rng: np.random.Generator, settings: list[dict[str, float]], *names: str) -> list[dict[str, Any]]:
    return [
        {**{name: rng.normal(size=size) for name in names}, **case} for size, case in zip((4, 7), settings, strict=True)
    ]


_SGD = Task(
    "sgd_step",
    ("theta",),
    lambda theta, g, lr, decay: theta - lr * (g + decay * theta),
    lambda rng: _drawn(rng, [{"lr": 0.1, "decay": 0.02}, {"lr": 0.5, "decay": 0.3}], "theta", "g"),
    (
        Mistake("theta", _UPHILL, lambda theta, g, lr, decay: theta + lr * (g + decay * theta)),
        Mistake("theta", f"{_UPHILL} of the gradient", lambda theta, g, lr, decay: theta + lr * (g - decay * theta)),
        Mistake("theta", "lacks the weight decay", lambda theta, g, lr, decay: theta - lr * g),
        Mistake(
            "theta",
            "lets the weights grow: the decay has the sign of the gradient",
            lambda theta, g, lr, decay: theta - lr * (g - decay * theta),
        ),
        Mistake(
            "theta",
            "does not multiply the decay by the learning rate",
            lambda theta, g, lr, decay: theta - lr * g - decay * theta,
        ),
        Mistake(
            "theta",
            "multiplies the decay alone by the learning rate",
            lambda theta, g, lr, decay: theta - g - lr * decay * theta,
        ),
        Mistake("theta", _NO_RATE, lambda theta, g, lr, decay: theta - (g + decay * theta)),
        Mistake(
            "theta",
            "divides by the learning rate: multiply",
            lambda theta, g, lr, decay: theta - (g + decay * theta) / lr,
        ),
        Mistake(
            "theta",
            "has the decay twice: the derivative of decay/2 theta^2 is decay theta",
            lambda theta, g, lr, decay: theta - lr * (g + 2 * decay * theta),
        ),
        Mistake("theta", "has half of the decay", lambda theta, g, lr, decay: theta - lr * (g + decay * theta / 2)),
        Mistake(
            "theta",
            "decays after the step, which shrinks the step as well",
            lambda theta, g, lr, decay: (theta - lr * g) * (1 - lr * decay),
        ),
        Mistake(
            "theta",
            "has the decay of theta^2, the penalty itself: take its derivative",
            lambda theta, g, lr, decay: theta - lr * (g + decay * theta**2),
        ),
        Mistake(
            "theta",
            "has the decay of an L1 penalty, sign(theta)",
            lambda theta, g, lr, decay: theta - lr * (g + decay * np.sign(theta)),
        ),
        Mistake(
            "theta",
            "multiplies the gradient by the decay: it belongs to theta",
            lambda theta, g, lr, decay: theta - lr * (theta + decay * g),
        ),
        Mistake(
            "theta", "is the step alone: subtract it from theta", lambda theta, g, lr, decay: lr * (g + decay * theta)
        ),
        Mistake("theta", "is the step alone: add it to theta", lambda theta, g, lr, decay: -lr * (g + decay * theta)),
    ),
)


def _velocity_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return _drawn(rng, [{"lr": 0.1, "mu": 0.9}, {"lr": 0.3, "mu": 0.6}], "theta", "v", "g")


def _average(v: np.ndarray, g: np.ndarray, mu: float) -> np.ndarray:
    return mu * v + (1 - mu) * g


_MOMENTUM = Task(
    "momentum_step",
    ("theta", "v"),
    lambda theta, v, g, lr, mu: (theta - lr * _average(v, g, mu), _average(v, g, mu)),
    _velocity_cases,
    (
        Mistake("v", "lacks the factor 1 - mu of the gradient", lambda theta, v, g, lr, mu: mu * v + g),
        Mistake(
            "v", "has mu and 1 - mu exchanged: mu is of the past", lambda theta, v, g, lr, mu: (1 - mu) * v + mu * g
        ),
        Mistake("v", "forgets the past: add mu v", lambda theta, v, g, lr, mu: g),
        Mistake("v", "forgets the past: add mu v", lambda theta, v, g, lr, mu: (1 - mu) * g),
        Mistake("v", "lacks the factor mu of the past", lambda theta, v, g, lr, mu: v + (1 - mu) * g),
        Mistake("v", "lacks both factors", lambda theta, v, g, lr, mu: v + g),
        Mistake("v", "has the gradient with the wrong sign", lambda theta, v, g, lr, mu: mu * v - (1 - mu) * g),
        Mistake(
            "v",
            "has the learning rate in it: it belongs to the step of theta",
            lambda theta, v, g, lr, mu: mu * v + (1 - mu) * lr * g,
        ),
        Mistake(
            "v",
            "is that of a heavy ball, mu v - lr g; here it is a moving average",
            lambda theta, v, g, lr, mu: mu * v - lr * g,
        ),
        Mistake("v", "is the old one: return the new one", lambda theta, v, g, lr, mu: v),
        Mistake("v", "multiplies the gradient by mu", lambda theta, v, g, lr, mu: mu * (v + g)),
        Mistake("theta", _UPHILL, lambda theta, v, g, lr, mu: theta + lr * _average(v, g, mu)),
        Mistake("theta", "moves with the old v: update v first", lambda theta, v, g, lr, mu: theta - lr * v),
        Mistake("theta", "moves with the gradient: move with v", lambda theta, v, g, lr, mu: theta - lr * g),
        Mistake("theta", _NO_RATE, lambda theta, v, g, lr, mu: theta - _average(v, g, mu)),
        Mistake(
            "theta",
            "moves with v and the gradient: v has the gradient in it",
            lambda theta, v, g, lr, mu: theta - lr * (_average(v, g, mu) + g),
        ),
        Mistake(
            "theta",
            "multiplies the step by 1 - mu once more",
            lambda theta, v, g, lr, mu: theta - lr * (1 - mu) * _average(v, g, mu),
        ),
        Mistake("theta", "multiplies the step by mu", lambda theta, v, g, lr, mu: theta - lr * mu * _average(v, g, mu)),
        Mistake(
            "theta", "is the step alone: subtract it from theta", lambda theta, v, g, lr, mu: lr * _average(v, g, mu)
        ),
        Mistake("theta", "is the old one: subtract the step", lambda theta, v, g, lr, mu: theta),
    ),
    follows={"theta": lambda own, theta, v, g, lr, mu: theta - lr * own["v"]},
)


def _ball(v: np.ndarray, g: np.ndarray, lr: float, mu: float) -> np.ndarray:
    return mu * v - lr * g


_NESTEROV = Task(
    "nesterov_step",
    ("theta", "v"),
    lambda theta, v, g, lr, mu: (theta + mu * _ball(v, g, lr, mu) - lr * g, _ball(v, g, lr, mu)),
    _velocity_cases,
    (
        Mistake("v", "has the gradient with the wrong sign", lambda theta, v, g, lr, mu: mu * v + lr * g),
        Mistake("v", "lacks the learning rate of the gradient", lambda theta, v, g, lr, mu: mu * v - g),
        Mistake("v", "lacks the factor mu of the past", lambda theta, v, g, lr, mu: v - lr * g),
        Mistake("v", "forgets the past: add mu v", lambda theta, v, g, lr, mu: -lr * g),
        Mistake("v", "is a moving average; here it is mu v - lr g", lambda theta, v, g, lr, mu: _average(v, g, mu)),
        Mistake(
            "v",
            "multiplies all by the learning rate: it belongs to the gradient",
            lambda theta, v, g, lr, mu: lr * (mu * v - g),
        ),
        Mistake("v", "has the gradient times 1 - mu", lambda theta, v, g, lr, mu: mu * v - lr * (1 - mu) * g),
        Mistake("v", "is the old one: return the new one", lambda theta, v, g, lr, mu: v),
        Mistake(
            "v",
            "is that with the look ahead: return v before it",
            lambda theta, v, g, lr, mu: mu * _ball(v, g, lr, mu) - lr * g,
        ),
        Mistake(
            "theta",
            "moves by v, as the heavy ball: Nesterov adds mu v - lr g with the new v",
            lambda theta, v, g, lr, mu: theta + _ball(v, g, lr, mu),
        ),
        Mistake("theta", "lacks - lr g", lambda theta, v, g, lr, mu: theta + mu * _ball(v, g, lr, mu)),
        Mistake("theta", "lacks the factor mu of v", lambda theta, v, g, lr, mu: theta + _ball(v, g, lr, mu) - lr * g),
        Mistake("theta", "moves with the old v: update v first", lambda theta, v, g, lr, mu: theta + mu * v),
        Mistake(
            "theta",
            "moves against v: v already points downhill",
            lambda theta, v, g, lr, mu: theta - _ball(v, g, lr, mu),
        ),
        Mistake(
            "theta",
            "moves against v: v already points downhill",
            lambda theta, v, g, lr, mu: theta - mu * _ball(v, g, lr, mu) - lr * g,
        ),
        Mistake("theta", "moves uphill with g", lambda theta, v, g, lr, mu: theta + mu * _ball(v, g, lr, mu) + lr * g),
        Mistake(
            "theta",
            "multiplies v by the learning rate: it is in v already",
            lambda theta, v, g, lr, mu: theta + lr * (mu * _ball(v, g, lr, mu) - g),
        ),
        Mistake(
            "theta",
            "lacks the learning rate of the gradient",
            lambda theta, v, g, lr, mu: theta + mu * _ball(v, g, lr, mu) - g,
        ),
        Mistake("theta", "moves with the gradient alone", lambda theta, v, g, lr, mu: theta - lr * g),
        Mistake(
            "theta", "is the step alone: add it to theta", lambda theta, v, g, lr, mu: mu * _ball(v, g, lr, mu) - lr * g
        ),
        Mistake(
            "theta",
            "moves by the new v less mu times the old one: it is mu times the new",
            lambda theta, v, g, lr, mu: theta + _ball(v, g, lr, mu) - mu * v,
        ),
    ),
    follows={"theta": lambda own, theta, v, g, lr, mu: theta + mu * own["v"] - lr * g},
)


SGD = Exercise("sgd", (_SGD,))
MOMENTUM = Exercise("momentum", (_MOMENTUM,))
NESTEROV = Exercise("nesterov", (_NESTEROV,))
