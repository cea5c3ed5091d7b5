"""Mini-batches of an epoch."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.grading.exercises import Exercise, Mistake, Task


def _batch_cases(rng: np.random.Generator) -> list[dict[str, Any]]:
    cases = []
    for count, size, step in ((12, 4, 0), (12, 4, 1), (10, 4, 2), (10, 4, 3), (7, 3, 5)):
        cases.append({"order": rng.permutation(count), "batch_size": size, "step": step})
    return cases


def _place(order: np.ndarray, batch_size: int, step: int) -> int:
    """Where the batch of a step begins in its epoch."""
    return step % -(-len(order) // batch_size) * batch_size


_BATCH = Task(
    "take_batch",
    ("batch",),
    lambda order, size, step: order[_place(order, size, step) : _place(order, size, step) + size],
    _batch_cases,
    (
        Mistake(
            "batch", "begins at step, not at step * batch_size", lambda order, size, step: order[step : step + size]
        ),
        Mistake("batch", "is the first batch for every step", lambda order, size, step: order[:size]),
        Mistake(
            "batch",
            "lacks the order: index the permutation, do not count",
            lambda order, size, step: np.arange(len(order))[
                _place(order, size, step) : _place(order, size, step) + size
            ],
        ),
        Mistake(
            "batch",
            "is empty once the epoch is over: begin at the front again",
            lambda order, size, step: order[step * size : (step + 1) * size],
        ),
        Mistake(
            "batch",
            "wraps around within a batch: the last one of an epoch is shorter",
            lambda order, size, step: order[np.arange(step * size, (step + 1) * size) % len(order)],
        ),
        Mistake(
            "batch",
            "takes step * batch_size modulo the number of examples: after a shorter batch that is not the front again",
            lambda order, size, step: order[(begin := step * size % len(order)) : begin + size],
        ),
        Mistake(
            "batch",
            "leaves out the last, shorter batch of an epoch",
            lambda order, size, step: order[(begin := step % (len(order) // size) * size) : begin + size],
        ),
        Mistake(
            "batch",
            "has one too few",
            lambda order, size, step: order[_place(order, size, step) : _place(order, size, step) + size - 1],
        ),
        Mistake(
            "batch",
            "has one too many",
            lambda order, size, step: order[_place(order, size, step) : _place(order, size, step) + size + 1],
        ),
        Mistake(
            "batch",
            "is every batch_size-th one: take neighbours in the order",
            lambda order, size, step: order[step % -(-len(order) // size) :: -(-len(order) // size)],
        ),
        Mistake(
            "batch", "goes on to the end of the epoch", lambda order, size, step: order[_place(order, size, step) :]
        ),
        Mistake(
            "batch",
            "counts steps from 1: the first is 0",
            lambda order, size, step: order[(begin := _place(order, size, step - 1)) : begin + size],
        ),
    ),
)

BATCHES = Exercise("batches", (_BATCH,))
