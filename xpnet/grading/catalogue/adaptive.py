"""Steps with a learning rate for each parameter: AdaGrad, RMSProp, Adam."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, Mistake, Task

EPS = 1e-3  # large enough that its place shows in the numbers

_UPHILL = "goes uphill: subtract the step"
_NO_ROOT = "lacks the root of s"
_NO_RATE = "lacks the learning rate"
_INSIDE = "has eps under the root: add it to the root"
_NO_EPS = "lacks eps in the denominator"
_OLD_S = "is divided by the root of the old s: update s first"
_OLD = "is the old one: return the new one"
_NO_SQUARE = "adds g, not its square"
_SIZE = "adds |g|, not its square"


def _states(rng: np.random.Generator, *names: str, **settings: tuple[Any, Any]) -> list[dict[str, Any]]:
    """Two cases: vectors theta, g and averages of squares, which are positive, with the settings of each."""
    return [
        {
            "theta": rng.normal(size=size),
            **{name: rng.uniform(0.1, 0.8, size) if name == "s" else rng.normal(size=size) for name in names},
            "g": rng.normal(size=size),
            **{name: values[number] for name, values in settings.items()},
            "eps": EPS,
        }
        for number, size in enumerate((4, 7))
    ]


def _step(theta: np.ndarray, g: np.ndarray, s: np.ndarray, lr: float, eps: float) -> np.ndarray:
    return theta - lr * g / (np.sqrt(s) + eps)


_ADAGRAD = Task(
    "adagrad_step",
    ("theta", "s"),
    lambda theta, s, g, lr, eps: (_step(theta, g, s + g * g, lr, eps), s + g * g),
    lambda rng: _states(rng, "s", lr=(0.1, 0.3)),
    (
        Mistake("s", _NO_SQUARE, lambda theta, s, g, lr, eps: s + g),
        Mistake("s", _SIZE, lambda theta, s, g, lr, eps: s + np.abs(g)),
        Mistake("s", "is the last square alone: add it to s", lambda theta, s, g, lr, eps: g * g),
        Mistake(
            "s",
            "adds the mean square of all entries: each parameter has its own",
            lambda theta, s, g, lr, eps: s + np.mean(g * g),
        ),
        Mistake(
            "s",
            "adds the square sum of all entries: each parameter has its own",
            lambda theta, s, g, lr, eps: s + np.sum(g * g),
        ),
        Mistake(
            "s",
            "is a moving average, as in RMSProp; here it is a sum",
            lambda theta, s, g, lr, eps: 0.9 * s + 0.1 * g * g,
        ),
        Mistake("s", _OLD, lambda theta, s, g, lr, eps: s),
        Mistake("s", "subtracts the square: add it", lambda theta, s, g, lr, eps: s - g * g),
        Mistake("theta", _UPHILL, lambda theta, s, g, lr, eps: theta + lr * g / (np.sqrt(s + g * g) + eps)),
        Mistake("theta", _NO_ROOT, lambda theta, s, g, lr, eps: theta - lr * g / (s + g * g + eps)),
        Mistake("theta", _NO_RATE, lambda theta, s, g, lr, eps: _step(theta, g, s + g * g, 1, eps)),
        Mistake("theta", _INSIDE, lambda theta, s, g, lr, eps: theta - lr * g / np.sqrt(s + g * g + eps)),
        Mistake("theta", _NO_EPS, lambda theta, s, g, lr, eps: theta - lr * g / np.sqrt(s + g * g)),
        Mistake("theta", _OLD_S, lambda theta, s, g, lr, eps: _step(theta, g, s, lr, eps)),
        Mistake(
            "theta",
            "multiplies by the root of s: divide",
            lambda theta, s, g, lr, eps: theta - lr * g * (np.sqrt(s + g * g) + eps),
        ),
        Mistake("theta", "is not divided by the root of s", lambda theta, s, g, lr, eps: theta - lr * g),
        Mistake(
            "theta",
            "moves by the squared gradient",
            lambda theta, s, g, lr, eps: _step(theta, g * g, s + g * g, lr, eps),
        ),
        Mistake(
            "theta",
            "has the sign of the gradient alone: the root is of s, not of g^2",
            lambda theta, s, g, lr, eps: _step(theta, g, g * g, lr, eps),
        ),
    ),
    follows={"theta": lambda own, theta, s, g, lr, eps: _step(theta, g, own["s"], lr, eps)},
)


def _mean(s: np.ndarray, g: np.ndarray, rho: float) -> np.ndarray:
    return rho * s + (1 - rho) * g * g


_RMSPROP = Task(
    "rmsprop_step",
    ("theta", "s"),
    lambda theta, s, g, lr, rho, eps: (_step(theta, g, _mean(s, g, rho), lr, eps), _mean(s, g, rho)),
    lambda rng: _states(rng, "s", lr=(0.1, 0.3), rho=(0.9, 0.7)),
    (
        Mistake(
            "s", "is a sum, as in AdaGrad; here it is a moving average", lambda theta, s, g, lr, rho, eps: s + g * g
        ),
        Mistake(
            "s",
            "has rho and 1 - rho exchanged: rho is of the past",
            lambda theta, s, g, lr, rho, eps: _mean(s, g, 1 - rho),
        ),
        Mistake("s", "lacks the factor 1 - rho of the square", lambda theta, s, g, lr, rho, eps: rho * s + g * g),
        Mistake("s", "lacks the factor rho of the past", lambda theta, s, g, lr, rho, eps: s + (1 - rho) * g * g),
        Mistake("s", "averages g, not its square", lambda theta, s, g, lr, rho, eps: rho * s + (1 - rho) * g),
        Mistake("s", "averages |g|, not its square", lambda theta, s, g, lr, rho, eps: rho * s + (1 - rho) * np.abs(g)),
        Mistake(
            "s", "squares the factor 1 - rho as well", lambda theta, s, g, lr, rho, eps: rho * s + ((1 - rho) * g) ** 2
        ),
        Mistake(
            "s",
            "averages the mean square of all entries: each parameter has its own",
            lambda theta, s, g, lr, rho, eps: rho * s + (1 - rho) * np.mean(g * g),
        ),
        Mistake("s", _OLD, lambda theta, s, g, lr, rho, eps: s),
        Mistake("theta", _UPHILL, lambda theta, s, g, lr, rho, eps: _step(theta, -g, _mean(s, g, rho), lr, eps)),
        Mistake("theta", _NO_ROOT, lambda theta, s, g, lr, rho, eps: theta - lr * g / (_mean(s, g, rho) + eps)),
        Mistake("theta", _NO_RATE, lambda theta, s, g, lr, rho, eps: _step(theta, g, _mean(s, g, rho), 1, eps)),
        Mistake("theta", _INSIDE, lambda theta, s, g, lr, rho, eps: theta - lr * g / np.sqrt(_mean(s, g, rho) + eps)),
        Mistake("theta", _NO_EPS, lambda theta, s, g, lr, rho, eps: theta - lr * g / np.sqrt(_mean(s, g, rho))),
        Mistake("theta", _OLD_S, lambda theta, s, g, lr, rho, eps: _step(theta, g, s, lr, eps)),
        Mistake(
            "theta",
            "multiplies by the root of s: divide",
            lambda theta, s, g, lr, rho, eps: theta - lr * g * (np.sqrt(_mean(s, g, rho)) + eps),
        ),
        Mistake("theta", "is not divided by the root of s", lambda theta, s, g, lr, rho, eps: theta - lr * g),
    ),
    follows={"theta": lambda own, theta, s, g, lr, rho, eps: _step(theta, g, own["s"], lr, eps)},
)


def _adam(theta: Any, m: Any, s: Any, g: Any, t: int, lr: float, beta1: float, beta2: float, eps: float) -> tuple:
    m = beta1 * m + (1 - beta1) * g
    s = _mean(s, g, beta2)
    return _step(theta, m / (1 - beta1**t), s / (1 - beta2**t), lr, eps), m, s


def _moved(theta: Any, m: Any, s: Any, lr: float, eps: float) -> Any:
    return theta - lr * m / (np.sqrt(s) + eps)


_ADAM = Task(
    "adam_step",
    ("theta", "m", "s"),
    _adam,
    lambda rng: _states(rng, "m", "s", t=(1, 3), lr=(0.1, 0.3), beta1=(0.9, 0.8), beta2=(0.99, 0.95)),
    (
        Mistake("m", "lacks the factor 1 - beta1 of the gradient", lambda th, m, s, g, t, lr, b1, b2, eps: b1 * m + g),
        Mistake(
            "m", "has beta1 and 1 - beta1 exchanged", lambda th, m, s, g, t, lr, b1, b2, eps: (1 - b1) * m + b1 * g
        ),
        Mistake(
            "m",
            "averages the square: m is the mean of g, s that of g^2",
            lambda th, m, s, g, t, lr, b1, b2, eps: b1 * m + (1 - b1) * g * g,
        ),
        Mistake("m", "has beta2 in place of beta1", lambda th, m, s, g, t, lr, b1, b2, eps: b2 * m + (1 - b2) * g),
        Mistake(
            "m",
            "is the corrected mean: return m before it is divided by 1 - beta1^t",
            lambda th, m, s, g, t, lr, b1, b2, eps: (b1 * m + (1 - b1) * g) / (1 - b1**t),
        ),
        Mistake("m", _OLD, lambda th, m, s, g, t, lr, b1, b2, eps: m),
        Mistake(
            "s", "lacks the factor 1 - beta2 of the square", lambda th, m, s, g, t, lr, b1, b2, eps: b2 * s + g * g
        ),
        Mistake(
            "s", "has beta2 and 1 - beta2 exchanged", lambda th, m, s, g, t, lr, b1, b2, eps: (1 - b2) * s + b2 * g * g
        ),
        Mistake("s", "averages g, not its square", lambda th, m, s, g, t, lr, b1, b2, eps: b2 * s + (1 - b2) * g),
        Mistake("s", "has beta1 in place of beta2", lambda th, m, s, g, t, lr, b1, b2, eps: b1 * s + (1 - b1) * g * g),
        Mistake(
            "s",
            "averages the square of m, not that of g",
            lambda th, m, s, g, t, lr, b1, b2, eps: b2 * s + (1 - b2) * (b1 * m + (1 - b1) * g) ** 2,
        ),
        Mistake(
            "s",
            "is the corrected mean: return s before it is divided by 1 - beta2^t",
            lambda th, m, s, g, t, lr, b1, b2, eps: _mean(s, g, b2) / (1 - b2**t),
        ),
        Mistake("s", _OLD, lambda th, m, s, g, t, lr, b1, b2, eps: s),
        Mistake(
            "theta",
            "lacks the corrections: divide m by 1 - beta1^t and s by 1 - beta2^t",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(th, b1 * m + (1 - b1) * g, _mean(s, g, b2), lr, eps),
        ),
        Mistake(
            "theta",
            "lacks the correction of s, 1 - beta2^t",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(
                th, (b1 * m + (1 - b1) * g) / (1 - b1**t), _mean(s, g, b2), lr, eps
            ),
        ),
        Mistake(
            "theta",
            "lacks the correction of m, 1 - beta1^t",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(
                th, b1 * m + (1 - b1) * g, _mean(s, g, b2) / (1 - b2**t), lr, eps
            ),
        ),
        Mistake(
            "theta",
            "divides by 1 - beta, without the power t",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(
                th, (b1 * m + (1 - b1) * g) / (1 - b1), _mean(s, g, b2) / (1 - b2), lr, eps
            ),
        ),
        Mistake(
            "theta",
            "corrects with t + 1: t counts this step",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(
                th, (b1 * m + (1 - b1) * g) / (1 - b1 ** (t + 1)), _mean(s, g, b2) / (1 - b2 ** (t + 1)), lr, eps
            ),
        ),
        Mistake(
            "theta",
            "multiplies by 1 - beta^t: divide",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(
                th, (b1 * m + (1 - b1) * g) * (1 - b1**t), _mean(s, g, b2) * (1 - b2**t), lr, eps
            ),
        ),
        Mistake(
            "theta",
            f"{_NO_ROOT}, and eps",
            lambda th, m, s, g, t, lr, b1, b2, eps: (
                th - lr * (b1 * m + (1 - b1) * g) / (1 - b1**t) / (_mean(s, g, b2) / (1 - b2**t))
            ),
        ),
        Mistake(
            "theta",
            f"{_NO_ROOT}, and the corrections",
            lambda th, m, s, g, t, lr, b1, b2, eps: th - lr * (b1 * m + (1 - b1) * g) / (_mean(s, g, b2) + eps),
        ),
        Mistake(
            "theta", _UPHILL, lambda th, m, s, g, t, lr, b1, b2, eps: 2 * th - _adam(th, m, s, g, t, lr, b1, b2, eps)[0]
        ),
        Mistake(
            "theta",
            _NO_ROOT,
            lambda th, m, s, g, t, lr, b1, b2, eps: (
                th - lr * (b1 * m + (1 - b1) * g) / (1 - b1**t) / (_mean(s, g, b2) / (1 - b2**t) + eps)
            ),
        ),
        Mistake("theta", _NO_RATE, lambda th, m, s, g, t, lr, b1, b2, eps: _adam(th, m, s, g, t, 1, b1, b2, eps)[0]),
        Mistake("theta", _NO_EPS, lambda th, m, s, g, t, lr, b1, b2, eps: _adam(th, m, s, g, t, lr, b1, b2, 0)[0]),
        Mistake(
            "theta",
            _INSIDE,
            lambda th, m, s, g, t, lr, b1, b2, eps: (
                th - lr * (b1 * m + (1 - b1) * g) / (1 - b1**t) / np.sqrt(_mean(s, g, b2) / (1 - b2**t) + eps)
            ),
        ),
        Mistake(
            "theta",
            "moves with g in place of m",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(th, g, _mean(s, g, b2) / (1 - b2**t), lr, eps),
        ),
        Mistake(
            "theta",
            "moves with the old m and s: update them first",
            lambda th, m, s, g, t, lr, b1, b2, eps: _moved(th, m / (1 - b1**t), s / (1 - b2**t), lr, eps),
        ),
    ),
    follows={
        "theta": lambda own, th, m, s, g, t, lr, b1, b2, eps: _step(
            th, own["m"] / (1 - b1**t), own["s"] / (1 - b2**t), lr, eps
        )
    },
)

ADAGRAD = Exercise("adagrad", (_ADAGRAD,))
RMSPROP = Exercise("rmsprop", (_RMSPROP,))
ADAM = Exercise("adam", (_ADAM,))
