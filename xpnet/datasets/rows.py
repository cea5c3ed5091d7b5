"""Rows of memory maps and large arrays, which stay where they are until a batch asks for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from xpnet.backend import array_namespace, backend_of
from xpnet.datasets.image_files import ImageFiles

LARGE_BYTES = 1 << 30


class HostRows:
    """Some rows of a NumPy array or memory map; those that are indexed are read, in the machine's byte order."""

    def __init__(self, array: np.ndarray, indices: np.ndarray) -> None:
        self._array, self._indices = array, indices
        self.dtype = array.dtype.newbyteorder("=")
        self.shape = (len(indices), *array.shape[1:])
        self.ndim, self.size = array.ndim, math.prod(self.shape)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read what an index, a slice or an array of indices picks, as from an array."""
        return np.asarray(self._array[self._indices[key]], self.dtype)

    def numbers(self, indices: np.ndarray) -> np.ndarray:
        """The rows that indices stand for, as they are counted in the whole array."""
        return self._indices[indices]

    def subset(self, indices: np.ndarray) -> HostRows:
        """Some of the rows, not read yet."""
        return HostRows(self._array, self._indices[indices])


def is_large(values: Any) -> bool:
    """Whether an array is a memory map, or a NumPy array of more than 1 GiB."""
    return isinstance(values, np.memmap) or (isinstance(values, np.ndarray) and values.nbytes > LARGE_BYTES)


def row_numbers(values: Any, indices: np.ndarray) -> np.ndarray:
    """The rows that indices of some inputs stand for, as the user counts them."""
    return values.numbers(indices) if isinstance(values, HostRows) else indices


def subset(values: Any, indices: np.ndarray) -> Any:
    """Some rows of an array of any library, on its device; of files and large arrays nothing is read yet."""
    if isinstance(values, ImageFiles | HostRows):
        return values.subset(indices)
    if is_large(values):
        return HostRows(values, indices)
    return array_namespace(values).take(values, backend_of(values).asarray(indices), axis=0)
