"""Inputs as scikit-learn's checks leave them, dense or sparse, with their targets and weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils._array_api import get_namespace

from xpnet import backend as backends
from xpnet.backend import Array, Backend
from xpnet.datasets.rows import HostRows, subset

_ROWS = 1024  # of a sparse matrix that are made dense at once


class SparseRows(HostRows):
    """Some rows of a sparse matrix in CSR format; those that are indexed are made dense."""

    def __init__(self, matrix: Any, indices: np.ndarray | None = None) -> None:
        super().__init__(matrix, np.arange(matrix.shape[0]) if indices is None else indices)
        self._matrix = matrix

    def __getitem__(self, key: Any) -> np.ndarray:
        """Make dense what a slice or an array of indices picks."""
        return self._matrix[self._indices[key]].toarray()

    def subset(self, indices: np.ndarray) -> SparseRows:
        """Some of the rows."""
        return SparseRows(self._matrix, self._indices[indices])

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows, made dense a part at a time."""
        return (self[start : start + _ROWS] for start in range(0, len(self), _ROWS))


class Examples(NamedTuple):
    """Inputs where they are, and on the host targets as the loss takes them and weights, if any."""

    X: Any
    targets: np.ndarray
    weights: np.ndarray | None

    def rows(self, indices: np.ndarray) -> Examples:
        """Some of the examples."""
        weights = None if self.weights is None else self.weights[indices]
        return Examples(subset(self.X, indices), self.targets[indices], weights)

    def beside(self, values: np.ndarray | None) -> Any:
        """Host values where the inputs are."""
        return None if values is None else home(self.X).asarray(values)


def as_rows(X: Any) -> Any:
    """Checked inputs as rows can be taken of them."""
    return SparseRows(X) if issparse(X) else X


def home(X: Any) -> Backend:
    """Where inputs are: library and device."""
    return backends.resolve("cpu") if isinstance(X, SparseRows) else backends.backend_of(X)


def outputs_of(network: Any, X: Any) -> Array:
    """A network's outputs for dense or sparse inputs."""
    if isinstance(X, SparseRows):
        return np.concatenate([network(block) for block in X.blocks()])
    return network(X)


def float_dtypes(X: Any) -> list[Any]:
    """What scikit-learn may leave as it is, and first what it converts others to: the float that holds their values."""
    xp, _ = get_namespace(X)
    bytes_each = getattr(getattr(X, "dtype", None), "itemsize", 8)
    return [xp.float32, xp.float64] if bytes_each < 4 else [xp.float64, xp.float32]


def dtype_name(X: Any) -> str:
    """The dtype to compute in."""
    return "float32" if "float32" in str(X.dtype) else "float64"
