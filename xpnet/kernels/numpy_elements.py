"""Functions of single elements on NumPy arrays: in parts that fit the cache, or two steps of it in one array."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.kernels.sharing import blas_has_one_thread, even_slices, parallel_map

_BLOCK = 2**15  # elements: of half and of four times as many a GELU took longer


def serves(operation: str, x: np.ndarray, *arguments: Any) -> bool:
    """Arrays of one dtype; for a function in parts, an array that is long and whose elements lie in order."""
    if operation == "elementwise":
        return x.size > _BLOCK and x.flags.c_contiguous
    return all(array.dtype == x.dtype for array in arguments)


def elementwise(x: np.ndarray, function: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """The function's arrays; threads that share NumPy's convolutions share the parts too."""
    flat = x.reshape(-1)
    results = tuple(np.empty_like(flat) for _ in function(flat[:1]))

    def fill(part: slice) -> None:
        for result, values in zip(results, function(flat[part]), strict=True):
            result[part] = values

    parallel_map(fill, even_slices(flat.size, _BLOCK), math.inf if blas_has_one_thread() else 0)
    return tuple(result.reshape(x.shape) for result in results)


def normalize(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(x - mean) * scale."""
    y = x - mean
    return np.multiply(y, scale, out=y)


def rectified_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """max(a + b, 0)."""
    y = a + b
    return np.maximum(y, 0, out=y)
