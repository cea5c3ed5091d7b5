"""Matrix products of CuPy arrays, which CuPy's own functions refuse while a CUDA graph is recorded.

CuPy 14 computes matrix products by cuBLAS, but not while recording (cupy_backends/cuda/libs/cublas.pyx, setStream);
here cuBLAS is called directly, which allows it where it has a workspace of its own and writes no result to the host.
Source: NVIDIA, cuBLAS documentation, sections "CUDA Graphs Support", "cublasSetWorkspace" and "cublasGemmEx".
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
from typing import Any, NamedTuple

from xpnet.backend import Array
from xpnet.kernels.choice import chosen
from xpnet.kernels.precision import precision_in_use

WORKSPACE = 32 * 1024 * 1024  # bytes; what cuBLAS takes for itself on the H100 and its successors
# Numbers of cublas_api.h and library_types.h.
_AS_IT_IS, _TRANSPOSED = 0, 1
_DEFAULT_ALGORITHM = -1
_SUMS_OF_TF32 = 77  # CUBLAS_COMPUTE_32F_FAST_TF32


class _Kind(NamedTuple):
    """A dtype as cuBLAS knows it: of the matrices, of the sums, and of the factors."""

    matrix: int
    sums: int
    factor: Any


_KINDS = {
    "float16": _Kind(2, 68, ctypes.c_float),  # CUDA_R_16F, CUBLAS_COMPUTE_32F: sums in float32
    "float32": _Kind(0, 68, ctypes.c_float),
    "float64": _Kind(1, 70, ctypes.c_double),
}


class CublasError(RuntimeError):
    """A call of cuBLAS failed."""


def serves(operation: str, *arrays: Array) -> bool:
    """Whether a CUDA graph must be able to hold the operation, and a product is one that ``matmul`` can compute."""
    a, b = arrays
    if not chosen().recordable:  # first: the name of a dtype takes longer than all else
        return False
    is_known = a.ndim == b.ndim == 2 and a.dtype == b.dtype and str(a.dtype) in _KINDS
    return is_known and 0 not in (*a.shape, *b.shape)


def matmul(a: Array, b: Array) -> Array:
    """Product of matrices (m, k) and (k, n) of one dtype, float16 with sums in float32.

    cuBLAS has columns where CuPy has rows: it is asked for the transpose, b^T a^T, which is what it finds if it reads
    the same memory its own way.
    """
    cupy = importlib.import_module("cupy")
    (rows, inner), columns = a.shape, b.shape[1]
    product = cupy.empty((rows, columns), dtype=a.dtype)
    (a, a_operation, a_length), (b, b_operation, b_length) = _operand(cupy, a), _operand(cupy, b)
    kind, library = _KINDS[str(a.dtype)], _library()
    sums = _SUMS_OF_TF32 if str(a.dtype) == "float32" and precision_in_use() == "tf32" else kind.sums
    one, zero = kind.factor(1), kind.factor(0)
    handle = _handle(cupy.cuda.Device().id, threading.get_ident())
    _check(library.cublasSetStream_v2(handle.pointer, cupy.cuda.get_current_stream().ptr))
    # A new stream takes the workspace away (cuBLAS documentation, cublasSetStream).
    _check(library.cublasSetWorkspace_v2(handle.pointer, handle.workspace.ptr, WORKSPACE))
    _check(
        library.cublasGemmEx(
            handle.pointer,
            b_operation,
            a_operation,
            columns,
            rows,
            inner,
            ctypes.byref(one),
            b.data.ptr,
            kind.matrix,
            b_length,
            a.data.ptr,
            kind.matrix,
            a_length,
            ctypes.byref(zero),
            product.data.ptr,
            kind.matrix,
            columns,
            sums,
            _DEFAULT_ALGORITHM,
        )
    )
    return product


def _operand(cupy: Any, matrix: Array) -> tuple[Array, int, int]:
    """A matrix in memory that cuBLAS can read, how it lies there, and the length of its rows or columns."""
    if matrix.flags.c_contiguous:
        return matrix, _AS_IT_IS, matrix.shape[1]
    if matrix.flags.f_contiguous:  # such as the transpose of a weight
        return matrix, _TRANSPOSED, matrix.shape[0]
    return cupy.ascontiguousarray(matrix), _AS_IT_IS, matrix.shape[1]


class _Handle(NamedTuple):
    """cuBLAS's context, and the memory that it works in."""

    pointer: ctypes.c_void_p
    workspace: Any


@functools.cache
def _handle(device: int, thread: int) -> _Handle:
    pointer = ctypes.c_void_p()
    _check(_library().cublasCreate_v2(ctypes.byref(pointer)))
    # From the device, not from a pool: it outlives all graphs that were recorded with it.
    return _Handle(pointer, importlib.import_module("cupy").cuda.Memory(WORKSPACE))


@functools.cache
def _library() -> Any:
    """The cuBLAS that CuPy uses, with the types of what is called."""
    path = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublas").abs_path
    return _typed(ctypes.CDLL(path))


def _typed(library: ctypes.CDLL) -> ctypes.CDLL:
    number, pointer = ctypes.c_int, ctypes.c_void_p
    matrix = [pointer, number, number]  # address, dtype, length of a column
    library.cublasCreate_v2.argtypes = [pointer]
    library.cublasSetStream_v2.argtypes = [pointer, pointer]
    library.cublasSetWorkspace_v2.argtypes = [pointer, pointer, ctypes.c_size_t]
    library.cublasGemmEx.argtypes = [
        pointer,
        *[number] * 5,
        pointer,
        *matrix,
        *matrix,
        pointer,
        *matrix,
        number,
        number,
    ]
    return library


def _check(status: int) -> None:
    if status != 0:
        raise CublasError(f"cuBLAS: a call failed with status {status}")
