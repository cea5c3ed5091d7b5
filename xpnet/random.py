"""Random numbers: on the host from a seed, one stream for each use; on any device from a key and a counter.

Counter-based bits are a pure function of their key, made of integer operations alone: the same key gives the same bits
on every backend, under ``jax.jit`` and in a replayed CUDA graph. A key is an int32 array of shape (2,); one of shape
(4,) is for some rows of a batch (``for_rows``).
"""

from __future__ import annotations

import math
from enum import IntEnum
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import device, is_cupy_array, is_numpy_array

from xpnet.backend import Array, array_namespace
from xpnet.errors import InputError, short
from xpnet.shapes import Shape, is_whole

__all__ = ["Stream", "fold_in", "for_rows", "generator", "make_key", "random_bits", "random_mask"]


class Stream(IntEnum):
    """What random numbers are drawn for. The values are part of what makes a seed reproducible: never renumber them."""

    WEIGHTS = 0
    SPLIT = 1
    EPOCH = 2
    LAYERS = 3
    AGAIN = 4
    MIXING = 5


UNIFORM_BITS = 24  # of each random word; float32 holds all of them exactly


def generator(seed: int, *stream: int) -> np.random.Generator:
    """A generator whose numbers depend on the seed and the stream, such as (Stream.EPOCH, 3), alone.

    Raises
    ------
    InputError
        If the seed is not an integer of at least 0.
    """
    check_seed(seed)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(int(part) for part in stream)))


def check_seed(seed: int) -> None:
    """Raise InputError unless the seed is an integer of at least 0."""
    if not is_whole(seed) or seed < 0:
        raise InputError(f"Seed: expected an integer of at least 0, got {short(seed)}. Change the seed.")


def make_key(seed: int) -> np.ndarray:
    """The key that a run's random layers start from, on the host."""
    return generator(seed, Stream.LAYERS).integers(-(2**31), 2**31, size=2, dtype=np.int32)


def fold_in(key: Array, number: int | Array) -> Array:
    """A new key for a number, such as a step (an int32 array without axes) or a layer's position."""
    if special := _special(key):
        return special.fold_in(key, number)
    xp = array_namespace(key)
    zero = xp.zeros_like(key[:1])
    return xp.concat([*_threefry2x32(key, zero + number, zero), key[2:]])


def for_rows(key: Array, first: int | Array, count: int | Array) -> Array:
    """The key that draws for the rows from ``first`` on what ``key`` draws for them among all ``count`` of a batch."""
    xp = array_namespace(key)
    zero = xp.zeros_like(key[:1])
    return xp.concat([key, zero + first, zero + count])


def random_bits(key: Array, shape: Shape) -> Array:
    """Independent uniform integers from 0 to 2**24 - 1, as an int32 array on the key's device."""
    if special := _special(key):
        return special.random_bits(key, shape, UNIFORM_BITS)
    xp = array_namespace(key)
    size = math.prod(shape)
    if is_for_rows(key):
        words = _words_of_rows(key, shape)
    else:
        counters = xp.arange((size + 1) // 2, dtype=xp.int32, device=device(key))
        words = xp.concat(_threefry2x32(key, counters, xp.ones_like(counters)))[:size]
    return xp.reshape(_shift_right(words, 32 - UNIFORM_BITS), shape)


def random_mask(key: Array, shape: Shape, p: float, dtype: Any) -> Array:
    """Independent values that are 0 with probability p and else 1/(1 - p), so that their mean is 1."""
    threshold, value = round(p * 2**UNIFORM_BITS), 1 / (1 - p)
    if special := _special(key):
        return special.random_mask(key, shape, UNIFORM_BITS, threshold, value, dtype)
    return array_namespace(key).astype(random_bits(key, shape) >= threshold, dtype) * value


def is_for_rows(key: Array) -> bool:
    """Whether a key is one of ``for_rows``."""
    return key.shape[0] > 2


def _words_of_rows(key: Array, shape: Shape) -> Array:
    """The random words of some rows: of value i of all rows word 0 of counter i, in the second half word 1."""
    xp, row = array_namespace(key), math.prod(shape[1:])
    first, pairs = key[2:3] * row, (key[3:4] * row + 1) // 2
    number = first + xp.arange(math.prod(shape), dtype=xp.int32, device=device(key))
    is_second = number >= pairs
    counters = xp.where(is_second, number - pairs, number)
    return xp.where(is_second, *reversed(_threefry2x32(key, counters, xp.ones_like(counters))))


def _special(key: Array) -> ModuleType | None:
    """The module that computes the same bits faster for arrays of one library."""
    if is_cupy_array(key):
        return import_module("xpnet.kernels.cupy_random")
    return import_module("xpnet.kernels.numpy_random") if is_numpy_array(key) else None


def _threefry2x32(key: Array, x0: Array, x1: Array) -> list[Array]:
    """Threefry-2x32 with 20 rounds: two words for each pair of counters.

    Computed with signed 32-bit numbers, which wrap around on every backend; PyTorch cannot add unsigned ones.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4.2.
    """
    # One-element arrays: the sum of two NumPy scalars would warn when it wraps around.
    k0, k1 = key[:1], key[1:2]
    schedule = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    x0, x1 = x0 + k0, x1 + k1
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << rotation | _shift_right(x1, 32 - rotation)) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + (group + 1)
    return [x0, x1]


def _shift_right(x: Array, places: int) -> Array:
    """Shift without copies of the sign bit, which ``>>`` brings in for signed numbers."""
    return (x >> places) & ((1 << (32 - places)) - 1)
