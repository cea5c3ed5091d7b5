"""Sizes of convolutions: of their outputs, and of what a place of a deep layer sees of the image."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, Mistake, Task


def _output_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = ((28, 5, 1, 0), (28, 5, 1, 2), (28, 2, 2, 0), (227, 11, 4, 0), (224, 7, 2, 3), (13, 3, 2, 0), (12, 4, 3, 1))
    return [dict(zip(("size", "kernel", "stride", "padding"), row, strict=True)) for row in rows]


_OUTPUT = Task(
    "output_size",
    ("result",),
    lambda n, k, s, p: (n + 2 * p - k) // s + 1,
    _output_cases,
    (
        Mistake("result", "lacks + 1: the first place counts too", lambda n, k, s, p: (n + 2 * p - k) // s),
        Mistake("result", "has padding on one side alone: it is 2 padding", lambda n, k, s, p: (n + p - k) // s + 1),
        Mistake("result", "lacks the padding", lambda n, k, s, p: (n - k) // s + 1),
        Mistake(
            "result", "subtracts the padding: it makes the image larger", lambda n, k, s, p: (n - 2 * p - k) // s + 1
        ),
        Mistake("result", "lacks the stride", lambda n, k, s, p: n + 2 * p - k + 1),
        Mistake("result", "adds 1 before the division: add it after", lambda n, k, s, p: (n + 2 * p - k + 1) // s),
        Mistake("result", "is rounded up: a window must fit wholly", lambda n, k, s, p: -(-(n + 2 * p - k) // s) + 1),
        Mistake("result", "is not rounded down to an integer", lambda n, k, s, p: (n + 2 * p - k) / s + 1),
        Mistake("result", "multiplies by the stride: divide", lambda n, k, s, p: (n + 2 * p - k) * s + 1),
        Mistake("result", "adds the kernel: subtract it", lambda n, k, s, p: (n + 2 * p + k) // s + 1),
        Mistake("result", "lacks the kernel: a window must fit wholly", lambda n, k, s, p: (n + 2 * p) // s),
        Mistake(
            "result", "divides size by stride, as if windows could hang over the edge", lambda n, k, s, p: -(-n // s)
        ),
    ),
)


def _field_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = (((3, 3, 3), (1, 1, 1)), ((5, 2, 5, 2), (1, 2, 1, 2)), ((7, 3, 3, 1), (2, 2, 1, 1)), ((4,), (3,)))
    return [{"kernels": np.array(kernels), "strides": np.array(strides)} for kernels, strides in rows]


def _jumps(strides: np.ndarray) -> np.ndarray:
    """The distance of neighbouring inputs of each layer, in pixels of the image."""
    return np.concatenate([[1], np.cumprod(strides)[:-1]])


_FIELD = Task(
    "receptive_field",
    ("field",),
    lambda kernels, strides: 1 + np.sum((kernels - 1) * _jumps(strides)),
    _field_cases,
    (
        Mistake(
            "field",
            "lacks the strides: behind a stride of 2 neighbours are 2 pixels apart",
            lambda k, s: 1 + np.sum(k - 1),
        ),
        Mistake("field", "is the sum of the kernels: overlap makes each add k - 1", lambda k, s: np.sum(k)),
        Mistake(
            "field", "is the product of the kernels: each adds k - 1 times the strides before", lambda k, s: np.prod(k)
        ),
        Mistake(
            "field",
            "applies a layer's stride to its own window: it acts on the layers behind",
            lambda k, s: 1 + np.sum((k - 1) * np.cumprod(s)),
        ),
        Mistake(
            "field",
            "lacks the pixel that one place sees without any layer: start at 1",
            lambda k, s: np.sum((k - 1) * _jumps(s)),
        ),
        Mistake("field", "adds k, not k - 1, for each layer", lambda k, s: 1 + np.sum(k * _jumps(s))),
        Mistake("field", "adds k, not k - 1, for each layer", lambda k, s: np.sum(k * _jumps(s))),
        Mistake(
            "field",
            "multiplies by the layer's own stride alone: by the product of those before",
            lambda k, s: 1 + np.sum((k - 1) * s),
        ),
        Mistake(
            "field",
            "multiplies by the stride just before alone: by the product of all before",
            lambda k, s: 1 + np.sum((k - 1) * np.concatenate([[1], s[:-1]])),
        ),
        Mistake(
            "field",
            "adds up the strides: multiply them",
            lambda k, s: 1 + np.sum((k - 1) * np.concatenate([[1], np.cumsum(s)[:-1]])),
        ),
        Mistake(
            "field",
            "goes through the layers backwards: the first stride acts on all behind",
            lambda k, s: 1 + np.sum((k[::-1] - 1) * _jumps(s[::-1])),
        ),
        Mistake("field", "is the largest kernel: windows of windows add up", lambda k, s: np.max(k)),
        Mistake("field", "lacks the last layer", lambda k, s: 1 + np.sum((k[:-1] - 1) * _jumps(s)[:-1])),
        Mistake("field", "lacks the first layer", lambda k, s: 1 + np.sum((k[1:] - 1) * _jumps(s[1:])[: len(k) - 1])),
        Mistake("field", "is the product of the strides, the distance of two places", lambda k, s: np.prod(s)),
    ),
)

OUTPUT_SIZE = Exercise("output size", (_OUTPUT,))
RECEPTIVE_FIELD = Exercise("receptive field", (_FIELD,))
