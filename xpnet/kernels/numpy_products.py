"""Products of NumPy's matrices, shared among threads: where these share convolutions too, BLAS has one thread.

The parts do not depend on the number of threads, so neither do the results.
"""

from __future__ import annotations

import math

import numpy as np

from xpnet.kernels.sharing import WORTH_SHARING, blas_has_one_thread, even_slices, parallel_map

_NARROWEST = 256  # columns of a part: below that BLAS spends its time on copies of the other matrix
_MOST_PARTS = 4


def serves(operation: str, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether threads share work already, and a product is large enough, with columns enough, to be cut."""
    return (
        blas_has_one_thread()
        and a.ndim == b.ndim == 2
        and b.shape[1] >= 2 * _NARROWEST
        and math.prod((*a.shape, b.shape[1])) >= WORTH_SHARING
    )


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of two matrices, (m, k) and (k, n) -> (m, n), some columns at a time."""
    (rows, inner), columns = a.shape, b.shape[1]
    product = np.empty((rows, columns), np.result_type(a, b))
    is_transposed = b.flags.f_contiguous  # as weights are in forward; BLAS then likes few columns better than few rows

    def fill(part: slice) -> None:
        if is_transposed and rows < columns:
            product[:, part] = (b[:, part].T @ a.T).T
        else:
            np.matmul(a, b[:, part], out=product[:, part])

    parts = _MOST_PARTS if columns >= _MOST_PARTS * _NARROWEST else 2
    parallel_map(fill, even_slices(columns, -(-columns // parts)), rows * inner * columns)
    return product
