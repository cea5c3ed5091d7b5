"""Functions of single elements on NumPy arrays, one part of the array after the other, for the cache's sake."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xpnet.kernels.sharing import blas_has_one_thread, even_slices, parallel_map

_BLOCK = 2**15  # elements: of half and of four times as many a GELU took longer


def serves(operation: str, x: np.ndarray, *arguments: object) -> bool:
    """Whether the array is long, and its elements lie in order."""
    return x.size > _BLOCK and x.flags.c_contiguous


def elementwise(x: np.ndarray, function: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """The function's arrays; threads that share NumPy's convolutions share the parts too."""
    flat = x.reshape(-1)
    results = tuple(np.empty_like(flat) for _ in function(flat[:1]))

    def fill(part: slice) -> None:
        for result, values in zip(results, function(flat[part]), strict=True):
            result[part] = values

    parallel_map(fill, even_slices(flat.size, _BLOCK), math.inf if blas_has_one_thread() else 0)
    return tuple(result.reshape(x.shape) for result in results)
