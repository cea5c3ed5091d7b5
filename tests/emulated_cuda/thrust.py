"""CuPy's module of sorts, by NumPy: the real one holds machine code for GPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL, c_size_t, c_void_p

import numpy as np

available = True
_device = CDLL("libcuda.so.1")


def get_build_version():
    return 300000


@contextmanager
def _on_host(pointer: int, shape: tuple[int, ...], dtype: object) -> Iterator[np.ndarray]:
    """The elements of an array of the device, to read and to write."""
    array = np.empty(shape, dtype)
    where, here, size = c_void_p(pointer), c_void_p(array.ctypes.data), c_size_t(array.nbytes)
    if _device.emulated_read(here, where, size):
        raise RuntimeError("sort: the device has failed")
    yield array
    _device.emulated_write(where, here, size)


def sort(dtype, data_start, keys_start, shape):
    with _on_host(data_start, shape, dtype) as data:
        data.sort(axis=-1, kind="stable")


def argsort(dtype, idx_start, data_start, keys_start, shape):
    with _on_host(data_start, shape, dtype) as data, _on_host(idx_start, shape, np.intp) as index:
        index[...] = data.argsort(axis=-1, kind="stable")
        data.sort(axis=-1, kind="stable")


def lexsort(dtype, idx_start, keys_start, k, n):
    with _on_host(keys_start, (k, n), dtype) as keys, _on_host(idx_start, (n,), np.intp) as index:
        index[...] = np.lexsort(keys)
