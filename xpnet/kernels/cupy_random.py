"""The counter-based random numbers of ``xpnet.random`` for CuPy arrays, in one kernel each instead of 140 operations.

The bits are those of the array operations there: Threefry-2x32 with 20 rounds, in unsigned 32-bit integers.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4.2.
"""

from __future__ import annotations

import math
from typing import Any

import cupy
import numpy as np

from xpnet.backend import Array
from xpnet.kernels.cuda_sources import source
from xpnet.shapes import Shape

THREEFRY = source("threefry.cuh")

_fold_in = cupy.ElementwiseKernel(
    "raw int32 key, int32 number",
    "int32 folded",
    """
    unsigned x0 = number, x1 = 0;
    threefry2x32(key[0], key[1], x0, x1);
    folded = i == 0 ? x0 : x1;
    """,
    "xpnet_fold_in",
    preamble=THREEFRY,
)

# Each pair of words is for two places: the first words of all pairs, then the second ones.
_random_bits = cupy.ElementwiseKernel(
    "raw int32 key, int32 size, int32 pairs, int32 shift",
    "raw int32 bits",
    """
    unsigned x0 = i, x1 = 1;
    threefry2x32(key[0], key[1], x0, x1);
    bits[i] = x0 >> shift;
    if (i + pairs < size) bits[i + pairs] = x1 >> shift;
    """,
    "xpnet_random_bits",
    preamble=THREEFRY,
)


# Of some rows of a batch: one word of the pair that each place has in the whole.
_bits_of_rows = cupy.ElementwiseKernel(
    "raw int32 key, int64 row, int32 shift",
    "int32 bits",
    """
    long long number = key[2] * row + i, pairs = (key[3] * row + 1) / 2;
    bool is_second = number >= pairs;
    unsigned x0 = is_second ? number - pairs : number, x1 = 1;
    threefry2x32(key[0], key[1], x0, x1);
    bits = (is_second ? x1 : x0) >> shift;
    """,
    "xpnet_bits_of_rows",
    preamble=THREEFRY,
)

_random_mask = cupy.ElementwiseKernel(
    "raw int32 key, int32 size, int32 pairs, int32 shift, int32 threshold, T value",
    "raw T mask",
    """
    unsigned x0 = i, x1 = 1;
    threefry2x32(key[0], key[1], x0, x1);
    mask[i] = x0 >> shift >= threshold ? value : T(0);
    if (i + pairs < size) mask[i + pairs] = x1 >> shift >= threshold ? value : T(0);
    """,
    "xpnet_random_mask",
    preamble=THREEFRY,
)


def fold_in(key: Array, number: int | Array) -> Array:
    """A new key for a number; see ``xpnet.random.fold_in``."""
    folded = _fold_in(key, number, cupy.empty(2, dtype=np.int32))
    return folded if len(key) == 2 else cupy.concatenate([folded, key[2:]])


def random_bits(key: Array, shape: Shape, bits: int) -> Array:
    """Independent uniform integers of so many bits; see ``xpnet.random.random_bits``."""
    result = cupy.empty(shape, dtype=np.int32)
    if len(key) > 2:
        return _bits_of_rows(key, math.prod(shape[1:]), 32 - bits, result) if result.size else result
    return _draw(_random_bits, key, result, 32 - bits)


def random_mask(key: Array, shape: Shape, bits: int, threshold: int, value: float, dtype: Any) -> Array:
    """``value`` where such integers reach the threshold, 0 elsewhere; see ``xpnet.random.random_mask``."""
    if len(key) > 2:
        return (random_bits(key, shape, bits) >= threshold).astype(dtype) * np.dtype(dtype).type(value)
    return _draw(_random_mask, key, cupy.empty(shape, dtype=dtype), 32 - bits, threshold, np.dtype(dtype).type(value))


def _draw(kernel: Any, key: Array, result: Array, *numbers: Any) -> Array:
    """Fill an array with what a kernel makes of each pair of words."""
    if result.size:
        pairs = (result.size + 1) // 2
        kernel(key, result.size, pairs, *numbers, result, size=pairs)
    return result
