"""The counter-based random numbers of ``xpnet.random`` for NumPy: unsigned integers, in parts that the cache holds.

The bits are those of the array operations there: Threefry-2x32 with 20 rounds.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.kernels.sharing import blas_has_one_thread, even_slices, parallel_map
from xpnet.shapes import Shape

_CACHED = 2**16  # counters whose words and their shifts a core's second cache holds
_MULTIPLICATIONS = 1000  # that a GEMM does in the time of one counter
_ALL = 0xFFFFFFFF
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def fold_in(key: np.ndarray, number: int) -> np.ndarray:
    """A new key for a number; see ``xpnet.random.fold_in``. In Python's integers, faster than arrays of one element."""
    keys = _schedule(key)
    x0, x1 = (int(number) + keys[0]) & _ALL, keys[1]
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = (x0 + x1) & _ALL
            x1 = (x1 << rotation & _ALL | x1 >> (32 - rotation)) ^ x0
        x0 = (x0 + keys[(group + 1) % 3]) & _ALL
        x1 = (x1 + keys[(group + 2) % 3] + group + 1) & _ALL
    folded = np.array([x0, x1], np.uint32).view(np.int32)
    return folded if len(key) == 2 else np.concatenate([folded, key[2:]])


def random_bits(key: np.ndarray, shape: Shape, bits: int) -> np.ndarray:
    """Independent uniform integers of so many bits; see ``xpnet.random.random_bits``."""
    size, keys = math.prod(shape), _schedule(key)
    if len(key) > 2:
        return (_words_of_rows(key, shape) >> np.uint32(32 - bits)).view(np.int32).reshape(shape)
    pairs = (size + 1) // 2
    words = np.empty(2 * pairs, np.uint32)

    def fill(part: slice) -> None:
        x0, x1 = words[:pairs][part], words[pairs:][part]
        x0[:], x1[:] = np.arange(part.start, part.stop, dtype=np.uint32), 1
        _threefry2x32(keys, x0, x1)

    _share(fill, pairs)
    return (words[:size] >> np.uint32(32 - bits)).view(np.int32).reshape(shape)


def _words_of_rows(key: np.ndarray, shape: Shape) -> np.ndarray:
    """The random words of some rows; see ``xpnet.random.for_rows``."""
    size, row, keys = math.prod(shape), math.prod(shape[1:]), _schedule(key)
    first, pairs = int(key[2]) * row, (int(key[3]) * row + 1) // 2
    words = np.empty(size, np.uint32)

    def fill(part: slice) -> None:
        x0 = np.arange(first + part.start, first + part.stop, dtype=np.uint32)
        x1, is_second = np.ones_like(x0), x0 >= pairs
        x0[is_second] -= np.uint32(pairs)
        _threefry2x32(keys, x0, x1)
        words[part] = np.where(is_second, x1, x0)

    _share(fill, size)
    return words


def _share(fill: Callable[[slice], None], counters: int) -> None:
    """Fill parts that the cache holds; as with optimizers, threads are not begun for this alone."""
    parallel_map(fill, even_slices(counters, _CACHED), _MULTIPLICATIONS * counters if blas_has_one_thread() else 0)


def random_mask(key: np.ndarray, shape: Shape, bits: int, threshold: int, value: float, dtype: Any) -> np.ndarray:
    """``value`` where such integers reach the threshold, 0 elsewhere; see ``xpnet.random.random_mask``."""
    return (random_bits(key, shape, bits) >= threshold).astype(dtype) * value


def _schedule(key: np.ndarray) -> tuple[int, int, int]:
    k0, k1 = (int(word) & _ALL for word in key[:2])
    return k0, k1, k0 ^ k1 ^ 0x1BD11BDA


def _threefry2x32(keys: tuple[int, int, int], x0: np.ndarray, x1: np.ndarray) -> None:
    """Two words for each pair of counters, in their place."""
    shifted = np.empty_like(x1)
    x0 += np.uint32(keys[0])
    x1 += np.uint32(keys[1])
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 += x1
            np.left_shift(x1, np.uint32(rotation), out=shifted)
            x1 >>= np.uint32(32 - rotation)
            x1 |= shifted
            x1 ^= x0
        x0 += np.uint32(keys[(group + 1) % 3])
        x1 += np.uint32((keys[(group + 2) % 3] + group + 1) & _ALL)
