"""Initial weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, Mistake, Task


def _cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [{"z": rng.normal(size=shape)} for shape in ((6, 6), (3, 12), (20, 5))]


_WORDS = "here features come last, W is (units, features)"

_TASK = Task(
    "he_weights",
    ("W",),
    lambda z: z * np.sqrt(2 / z.shape[1]),
    _cases,
    (
        Mistake("W", "has the variance 2/features as standard deviation: take its root", lambda z: z * 2 / z.shape[1]),
        Mistake("W", f"is scaled by the number of units: {_WORDS}", lambda z: z * np.sqrt(2 / z.shape[0])),
        Mistake("W", f"is scaled by the number of units, without the root: {_WORDS}", lambda z: z * 2 / z.shape[0]),
        Mistake(
            "W",
            "lacks the factor 2, which makes up for the half that ReLU sets to 0",
            lambda z: z * np.sqrt(1 / z.shape[1]),
        ),
        Mistake("W", "has the 2 outside of the root", lambda z: z * 2 * np.sqrt(1 / z.shape[1])),
        Mistake("W", "has the 2 outside of the root, below it", lambda z: z * np.sqrt(1 / z.shape[1]) / 2),
        Mistake("W", "is Glorot's, 2/(features + units): He has 2/features", lambda z: z * np.sqrt(2 / sum(z.shape))),
        Mistake(
            "W", "is Glorot's with 6, which is for a uniform distribution", lambda z: z * np.sqrt(6 / sum(z.shape))
        ),
        Mistake("W", "has the 6 of a uniform distribution: 2/features here", lambda z: z * np.sqrt(6 / z.shape[1])),
        Mistake(
            "W",
            "is scaled by features times units: the sum of a unit has one term for each feature",
            lambda z: z * np.sqrt(2 / z.size),
        ),
        Mistake("W", "is multiplied by the root of features/2: divide", lambda z: z * np.sqrt(z.shape[1] / 2)),
        Mistake("W", "adds to z: multiply", lambda z: z + np.sqrt(2 / z.shape[1])),
        Mistake("W", "is z itself: scale it", lambda z: z),
        Mistake("W", "divides by features: divide by the root of half of them", lambda z: z / z.shape[1]),
        Mistake(
            "W",
            "is the standard deviation, the same for all weights: multiply it by z",
            lambda z: np.full_like(z, np.sqrt(2 / z.shape[1])),
        ),
        Mistake("W", "is the standard deviation: multiply it by z", lambda z: np.sqrt(2 / z.shape[1])),
    ),
)

HE_WEIGHTS = Exercise("initial weights", (_TASK,))
