"""Matrix products that a CUDA graph can hold, on CuPy; and that names, numbers and types are those of NVIDIA's header.

What the emulated device does not prove is that cuBLAS itself runs: ``scripts/check_gpu.py`` does.
"""

import importlib
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PRESENT
from xpnet import backend as backends
from xpnet import kernels
from xpnet.backend import to_numpy
from xpnet.kernels import graph_kernels, table
from xpnet.layers import Dense

COMPILER = shutil.which("gcc") or shutil.which("cc")
needs_a_device = pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device")


@pytest.fixture
def cuda():
    """The device, with kernels that a graph can hold."""
    kernels.use("fastest", recordable=True)
    yield backends.resolve("cuda")
    kernels.use("fastest")


def matrices(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(3, 5)).astype(dtype), rng.normal(size=(5, 4)).astype(dtype)


LAYOUTS = {
    "rows": lambda cuda, array: cuda.asarray(array),
    "columns": lambda cuda, array: cuda.asarray(np.ascontiguousarray(array.T)).T,
    "gaps": lambda cuda, array: cuda.asarray(np.repeat(array, 2, axis=1))[:, ::2],
}


@needs_a_device
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("first", LAYOUTS)
@pytest.mark.parametrize("second", LAYOUTS)
def test_products_are_right_however_matrices_lie_in_memory(cuda, dtype, first, second):
    a, b = matrices(dtype)
    on_device = LAYOUTS[first](cuda, a), LAYOUTS[second](cuda, b)
    assert table.find("matmul", *on_device) is graph_kernels
    product = kernels.matmul(*on_device)
    assert (product.dtype, product.shape) == (dtype, (3, 4))
    expected, eps = a.astype(np.float64) @ b.astype(np.float64), np.finfo(dtype).eps
    np.testing.assert_allclose(to_numpy(product), expected, rtol=10 * eps, atol=10 * eps)


@needs_a_device
@pytest.mark.parametrize(
    ("dtype", "choice", "rounds"),
    [("float32", "float32", False), ("float32", "tf32", True), ("float64", "tf32", False)],
)
def test_only_products_of_float32_in_tf32_let_cublas_round_their_factors(cuda, dtype, choice, rounds):
    kernels.use("fastest", choice, recordable=True)
    a, b = matrices(dtype)
    error = np.max(np.abs(to_numpy(kernels.matmul(cuda.asarray(a), cuda.asarray(b))) - a.astype(float) @ b))
    assert (error > 1e-5) == rounds
    assert error < 1e-2


@needs_a_device
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 6, 1), (4, 1, 3), (1, 3, 5), (5, 3, 1)])
def test_vectors_as_matrices(cuda, shape):
    rows, inner, columns = shape
    a = np.arange(1.0, rows * inner + 1, dtype=np.float32).reshape(rows, inner)
    b = np.arange(1.0, inner * columns + 1, dtype=np.float32).reshape(inner, columns)
    here, there = cuda.asarray(a), cuda.asarray(b)
    np.testing.assert_array_equal(to_numpy(kernels.matmul(here, there)), a @ b)
    np.testing.assert_array_equal(to_numpy(kernels.matmul(there.T, here.T)), b.T @ a.T)


@needs_a_device
def test_a_dense_layer_can_be_recorded_forward_and_backward(cuda):
    import cupy

    layer, rng = Dense(4), np.random.default_rng(0)
    params = {name: value.astype(np.float32) for name, value in layer.init(rng, (5,)).params.items()}
    x, dy = rng.normal(size=(3, 5)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)

    def run(params, x, dy):
        y, cache, _ = layer.forward(params, {}, x, train=True)
        dx, grads = layer.backward(params, cache, dy)
        return [y, dx, grads["weight"], grads["bias"]]

    arguments = {name: cuda.asarray(value) for name, value in params.items()}, cuda.asarray(x), cuda.asarray(dy)
    pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    cupy.cuda.runtime.deviceSynchronize()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        run(*arguments)
        stream.synchronize()
        stream.begin_capture()
        recorded = run(*arguments)
        graph = stream.end_capture()
        arguments[1][...] *= 2
        graph.launch()
        stream.synchronize()
    for ours, theirs in zip(recorded, run(params, 2 * x, dy), strict=True):
        np.testing.assert_allclose(to_numpy(ours), theirs, rtol=1e-5, atol=1e-6)


@needs_a_device
def test_what_cublas_has_no_form_for_is_left_to_cupy(cuda):
    whole = [array.astype(np.int32) for array in matrices("float32")]
    assert not graph_kernels.serves("matmul", *whole)
    assert not graph_kernels.serves("matmul", np.zeros((0, 3), np.float32), np.zeros((3, 2), np.float32))
    product = kernels.matmul(*map(cuda.asarray, whole))
    np.testing.assert_array_equal(to_numpy(product), whole[0] @ whole[1])


@needs_a_device
def test_without_a_graph_cupy_multiplies(cuda):
    kernels.use("fastest")
    assert table.find("matmul", *map(cuda.asarray, matrices("float32"))) is not graph_kernels


def test_a_failed_call_says_so():
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
