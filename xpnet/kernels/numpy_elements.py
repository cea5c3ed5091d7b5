"""Functions of single elements on NumPy arrays, one part of the array after the other, for the cache's sake."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xpnet.kernels.sharing import blas_has_one_thread, even_slices, parallel_map

_BLOCK = 2**15  # elements: of half and of four times as many a GELU took longer
_MULTIPLICATIONS = 64  # of a GEMM, in the time in which an element is read and written


def serves(operation: str, x: np.ndarray, *others: object) -> bool:
    """Whether the array is long, and its elements lie in order, as do those of others that are like it."""
    if x.size <= _BLOCK or not x.flags.c_contiguous:
        return False
    arrays = [other for other in others if isinstance(other, np.ndarray)]
    return all((other.shape, other.dtype) == (x.shape, x.dtype) and other.flags.c_contiguous for other in arrays)


def elementwise(x: np.ndarray, function: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """The function's arrays; threads that share NumPy's convolutions share the parts too."""
    flat = x.reshape(-1)
    results = tuple(np.empty_like(flat) for _ in function(flat[:1]))

    def fill(part: slice) -> None:
        for result, values in zip(results, function(flat[part]), strict=True):
            result[part] = values

    _in_parts(fill, flat.size, math.inf)
    return tuple(result.reshape(x.shape) for result in results)


def rectify(x: np.ndarray) -> np.ndarray:
    """max(x, 0)."""
    return _filled(lambda y, x: np.maximum(x, 0, out=y), x)


def rectified_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """max(a + b, 0)."""
    return _filled(lambda y, a, b: np.maximum(np.add(a, b, out=y), 0, out=y), a, b)


def rectify_gradient(dy: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Input gradient of ``rectify``: dy where its output y was above 0, else 0."""
    return _filled(lambda dx, dy, y: np.multiply(dy, (y > 0).astype(dy.dtype), out=dx), dy, y)


def _filled(function: Callable[..., object], *arrays: np.ndarray) -> np.ndarray:
    """What a function writes into its first argument, given those of arrays that are alike."""
    result = np.empty_like(arrays[0])
    flat, *others = (array.reshape(-1) for array in (result, *arrays))

    def fill(part: slice) -> None:
        function(flat[part], *(other[part] for other in others))

    _in_parts(fill, flat.size, _MULTIPLICATIONS * flat.size)
    return result


def _in_parts(fill: Callable[[slice], object], size: int, multiplications: float) -> None:
    """Call a function for each part, among threads where BLAS has left the cores to them and that is worth it."""
    parallel_map(fill, even_slices(size, _BLOCK), multiplications if blas_has_one_thread() else 0)
