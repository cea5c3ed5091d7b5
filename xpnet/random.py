"""Random numbers drawn on the host: one independent stream for each use of a seed."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from xpnet.errors import InputError
from xpnet.shapes import is_whole


class Stream(IntEnum):
    """What random numbers are drawn for. The values are part of what makes a seed reproducible: never renumber them."""

    WEIGHTS = 0
    SPLIT = 1
    EPOCH = 2


def generator(seed: int, *stream: int) -> np.random.Generator:
    """A generator whose numbers depend on the seed and the stream, such as (Stream.EPOCH, 3), alone.

    Raises InputError if the seed is not a whole number of at least 0.
    """
    check_seed(seed)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(int(part) for part in stream)))


def check_seed(seed: int) -> None:
    """Raise InputError unless the seed is a whole number of at least 0."""
    if not is_whole(seed) or seed < 0:
        raise InputError(f"Seed: expected a whole number of at least 0, got {seed!r}. Change the seed.")
