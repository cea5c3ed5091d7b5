"""What can be recorded into a CUDA graph, with cuBLAS's documented arithmetic compiled for the host.

That proves which matrix is handed over how, and that the names, numbers and types are those of NVIDIA's header where it
is installed. It does not prove that cuBLAS runs, or that it can be recorded: ``scripts/check_gpu.py`` does.
"""

import ctypes
import importlib
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kernels.pretend import pretend_cupy
from xpnet import kernels
from xpnet.kernels import graph_kernels
from xpnet.layers import Dense

SOURCE = Path(__file__).with_name("fake_cublas.c")
COMPILER = shutil.which("gcc") or shutil.which("cc")


class HostArray(np.ndarray):
    """A NumPy array with a CuPy array's way to say where it lies."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


def on_host(array):
    return array.view(HostArray)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if COMPILER is None:
        pytest.skip("there is no C compiler")
    path = tmp_path_factory.mktemp("cublas") / "libcublas.so"
    subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", "-Wall", "-Werror", SOURCE, "-o", path], check=True)
    return graph_kernels._typed(ctypes.CDLL(str(path)))


@pytest.fixture
def cupy(library, monkeypatch):
    """A CuPy whose device is the host, on which arrays of this file are CuPy's."""
    module = SimpleNamespace(
        empty=lambda shape, dtype: on_host(np.full(shape, np.nan, dtype)),
        ascontiguousarray=lambda array: on_host(np.ascontiguousarray(array)),
        concatenate=lambda arrays: joined_at_once(arrays),
        cuda=SimpleNamespace(
            Device=lambda: SimpleNamespace(id=0),
            get_current_stream=lambda: SimpleNamespace(ptr=7),
            Memory=lambda size: SimpleNamespace(ptr=9),
        ),
        _core=SimpleNamespace(
            set_compute_type=lambda *args: None, _routines_linalg=SimpleNamespace(COMPUTE_TYPE_TBD=0)
        ),
    )

    def joined_at_once(arrays):
        assert len(arrays) <= 8, "CuPy would send a table from the host"
        return on_host(np.concatenate(arrays))

    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(graph_kernels, "_library", lambda: library)
    pretend_cupy(monkeypatch, lambda array: isinstance(array, HostArray))
    graph_kernels._handle.cache_clear()
    yield module
    graph_kernels._handle.cache_clear()
    kernels.use("fastest")


def matrices(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 5)).astype(dtype), rng.normal(size=(5, 4)).astype(dtype)


LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "gaps": lambda array: np.repeat(array, 2, axis=1)[:, ::2],
}


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_products_are_right_however_matrices_lie_in_memory(cupy, dtype, first, second):
    kernels.use("fastest", recordable=True)
    a, b = matrices(dtype)
    product = kernels.matmul(on_host(LAYOUTS[first](a)), on_host(LAYOUTS[second](b)))
    assert (product.dtype, product.shape) == (dtype, (3, 4))
    expected = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(product, expected, rtol=10 * np.finfo(dtype).eps, atol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("dtype", "choice", "number"),
    [
        ("float32", "float32", 68),  # CUBLAS_COMPUTE_32F
        ("float32", "tf32", 77),  # CUBLAS_COMPUTE_32F_FAST_TF32
        ("float16", "tf32", 68),
        ("float64", "tf32", 70),  # CUBLAS_COMPUTE_64F
    ],
)
def test_only_products_of_float32_in_tf32_let_cublas_round_their_factors(cupy, library, dtype, choice, number):
    kernels.use("fastest", choice, recordable=True)
    kernels.matmul(*map(on_host, matrices(dtype)))
    assert ctypes.c_int.in_dll(library, "last_sums").value == number


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 1), (4, 1, 3), (1, 3, 5), (5, 3, 1)])
def test_vectors_as_matrices(cupy, shape):
    kernels.use("fastest", recordable=True)
    rows, inner, columns = shape
    a = np.arange(1.0, rows * inner + 1, dtype=np.float32).reshape(rows, inner)
    b = np.arange(1.0, inner * columns + 1, dtype=np.float32).reshape(inner, columns)
    np.testing.assert_array_equal(kernels.matmul(on_host(a), on_host(b)), a @ b)
    np.testing.assert_array_equal(kernels.matmul(on_host(b).T, on_host(a).T), b.T @ a.T)


def test_a_dense_layer_goes_through_it_forward_and_backward(cupy, monkeypatch):
    kernels.use("fastest", recordable=True)
    calls, matmul = [], graph_kernels.matmul
    monkeypatch.setattr(graph_kernels, "matmul", lambda a, b: (calls.append(1), matmul(a, b))[1])
    layer, rng = Dense(4), np.random.default_rng(0)
    params = {name: value.astype(np.float32) for name, value in layer.init(rng, (5,)).params.items()}
    x, dy = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)

    def run(wrap):
        values = {name: wrap(value) for name, value in params.items()}
        y, cache, _ = layer.forward(values, {}, wrap(x), train=True)
        dx, grads = layer.backward(values, cache, wrap(dy))
        return [y, dx, grads["weight"], grads["bias"]]

    for ours, theirs in zip(run(on_host), run(np.asarray), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert len(calls) == 3


@pytest.mark.parametrize("count", [1, 8, 9, 65])
def test_vectors_are_joined_eight_at_a_time(cupy, count):
    kernels.use("fastest", recordable=True)
    vectors = [on_host(np.arange(number + 1, dtype=np.float32)) for number in range(count)]
    np.testing.assert_array_equal(kernels.join_vectors(vectors), np.concatenate(vectors))


def test_what_cublas_has_no_form_for_is_left_to_cupy(cupy):
    kernels.use("fastest", recordable=True)
    assert graph_kernels.serves("matmul", *matrices("float32"))
    whole = [array.astype(np.int32) for array in matrices("float32")]
    assert not graph_kernels.serves("matmul", *whole)
    assert not graph_kernels.serves("matmul", np.zeros((0, 3), np.float32), np.zeros((3, 2), np.float32))
    np.testing.assert_array_equal(kernels.matmul(*map(on_host, whole)), whole[0] @ whole[1])


def test_without_a_graph_cupy_multiplies(cupy, monkeypatch):
    monkeypatch.setattr(graph_kernels, "matmul", None)
    kernels.use("fastest")
    a, b = matrices("float32")
    np.testing.assert_array_equal(kernels.matmul(on_host(a), on_host(b)), a @ b)


def test_a_failed_call_says_so(cupy, library):
    with pytest.raises(graph_kernels.CublasError, match="status 7"):
        graph_kernels._check(7)


HEADER_TEST = """
#include <cublas_v2.h>
int call(void) {
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
    const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*, cudaDataType, int,
    cublasComputeType_t, cublasGemmAlgo_t) = cublasGemmEx;
  cublasStatus_t (*workspace)(cublasHandle_t, void*, size_t) = cublasSetWorkspace_v2;
  _Static_assert(sizeof(cublasOperation_t) == sizeof(int) && sizeof(cudaDataType) == sizeof(int), "ints");
  _Static_assert(sizeof(cublasComputeType_t) == sizeof(int) && sizeof(cublasGemmAlgo_t) == sizeof(int), "ints");
  return gemm && workspace;
}
"""
HEADER_NUMBERS = {
    "CUBLAS_OP_N": graph_kernels._AS_IT_IS,
    "CUBLAS_OP_T": graph_kernels._TRANSPOSED,
    "CUBLAS_GEMM_DEFAULT": graph_kernels._DEFAULT_ALGORITHM,
    "CUDA_R_16F": graph_kernels._KINDS["float16"].matrix,
    "CUDA_R_32F": graph_kernels._KINDS["float32"].matrix,
    "CUDA_R_64F": graph_kernels._KINDS["float64"].matrix,
    "CUBLAS_COMPUTE_32F": graph_kernels._KINDS["float32"].sums,
    "CUBLAS_COMPUTE_32F_FAST_TF32": graph_kernels._SUMS_OF_TF32,
    "CUBLAS_COMPUTE_64F": graph_kernels._KINDS["float64"].sums,
}


def test_names_and_numbers_are_those_of_the_header(tmp_path):
    if COMPILER is None or not find_spec("cupy") or not find_spec("nvidia"):
        pytest.skip("there is no cuBLAS")
    folders = [path / "cu13" / "include" for path in map(Path, importlib.import_module("nvidia").__path__)]
    needed = ("cublas_v2.h", "crt/host_defines.h")  # the second is not among what the extra cuda13 brings
    folder = next((folder for folder in folders if all((folder / name).is_file() for name in needed)), None)
    if folder is None:
        pytest.skip("cuBLAS's header is not installed, or what it includes: pip install nvidia-cuda-crt")
    others = Path(importlib.import_module("cupy").__path__[0]) / "_core/include/cupy/_cccl/libcudacxx"
    source = tmp_path / "header.c"
    numbers = "".join(f'_Static_assert({name} == {number}, "{name}");\n' for name, number in HEADER_NUMBERS.items())
    source.write_text(HEADER_TEST + numbers)
    subprocess.run(
        [COMPILER, "-std=gnu11", f"-I{folder}", f"-I{others}", "-c", source, "-o", tmp_path / "header.o"], check=True
    )


def test_cublas_is_found_where_it_is_installed():
    """Also the names of what is called."""
    if not find_spec("cupy"):
        pytest.skip("CuPy is not installed")
    pytest.importorskip("cuda.pathfinder")
    assert graph_kernels._library().cublasGemmEx
