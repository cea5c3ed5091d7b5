"""The counter-based random numbers of ``xpnet.random`` for CuPy arrays, in one kernel each instead of 140 operations.

The bits are those of the array operations there: Threefry-2x32 with 20 rounds, in unsigned 32-bit integers.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 4.2.
"""

from __future__ import annotations

import math

import cupy
import numpy as np

from xpnet.backend import Array
from xpnet.shapes import Shape

_THREEFRY = """
__device__ void threefry2x32(unsigned k0, unsigned k1, unsigned& x0, unsigned& x1)
{
    const unsigned keys[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDA};
    const int rotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    x0 += k0, x1 += k1;
    for (int group = 0; group < 5; ++group) {
        for (int round = 0; round < 4; ++round) {
            int places = rotations[group % 2][round];
            x0 += x1;
            x1 = (x1 << places | x1 >> (32 - places)) ^ x0;
        }
        x0 += keys[(group + 1) % 3];
        x1 += keys[(group + 2) % 3] + group + 1;
    }
}
"""

_fold_in = cupy.ElementwiseKernel(
    "raw int32 key, int32 number",
    "int32 folded",
    """
    unsigned x0 = number, x1 = 0;
    threefry2x32(key[0], key[1], x0, x1);
    folded = i == 0 ? x0 : x1;
    """,
    "xpnet_fold_in",
    preamble=_THREEFRY,
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
    preamble=_THREEFRY,
)


def fold_in(key: Array, number: int | Array) -> Array:
    """A new key for a number; see ``xpnet.random.fold_in``."""
    return _fold_in(key, number, cupy.empty(2, dtype=np.int32))


def random_bits(key: Array, shape: Shape, bits: int) -> Array:
    """Independent uniform integers of so many bits; see ``xpnet.random.random_bits``."""
    result = cupy.empty(shape, dtype=np.int32)
    size = math.prod(shape)
    if size:
        pairs = (size + 1) // 2
        _random_bits(key, size, pairs, 32 - bits, result, size=pairs)
    return result
