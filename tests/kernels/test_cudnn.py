"""Convolution by cuDNN itself: its plans, which need no GPU, and on a GPU what they compute.

The kernels that call it run on the emulated device: ``test_cudnn_on_device.py``.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kernels import naive
from tests.kernels.test_convolution import EXAMPLES
from xpnet import kernels
from xpnet.backend import resolve, to_numpy
from xpnet.cli import train
from xpnet.errors import InputError
from xpnet.kernels import choice, table
from xpnet.layers import Conv2D
from xpnet.shapes import Window

ROOT = Path(__file__).parents[2]
# Functions of the driver that cuDNN 9.28 links or looks up; without a GPU each may fail.
DRIVER = (
    "cuCtxGetCurrent cuCtxGetLimit cuCtxPopCurrent cuCtxPushCurrent cuDeviceGet cuDeviceGetCount cuDriverGetVersion "
    "cuGetErrorName cuGetErrorString cuKernelGetAttribute cuKernelGetFunction cuKernelSetAttribute cuLaunchKernel "
    "cuLaunchKernelEx cuLaunchCooperativeKernel cuLibraryGetKernel cuLibraryLoadData cuLibraryLoadFromFile "
    "cuLibraryUnload cuLinkAddData cuLinkComplete cuLinkCreate cuLinkDestroy cuModuleGetFunction cuModuleLoadData "
    "cuModuleUnload cuOccupancyMaxPotentialClusterSize cuStreamGetCtx cuTensorMapEncodeIm2col cuTensorMapEncodeTiled"
)


@pytest.mark.parametrize("problem", EXAMPLES)
@pytest.mark.parametrize("backend", ["cupy"], indirect=True)
def test_on_a_gpu_convolution_equals_the_definition(backend, problem):
    """Of small whole numbers, so to rounding: cuDNN may choose transforms. A fallback is a warning and so fails."""
    pytest.importorskip("cudnn")
    module, window = importlib.import_module("xpnet.kernels.cudnn_kernels"), problem.window
    x, weight, dy = problem.arrays()
    here, w, g = (backend.asarray(array, "float32") for array in (x, weight, dy))
    dx, dw, _ = module.conv2d_backward(here, g, w, window, problem.groups)
    for actual, expected in (
        (module.conv2d(here, w, None, window, problem.groups), naive.conv2d(x, weight, window, problem.groups)),
        (dx, naive.conv2d_input_gradient(dy, weight, window, problem.image_size, problem.groups)),
        (dw, naive.conv2d_weight_gradient(x, dy, window, problem.groups)),
    ):
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=0, atol=1e-3)


# Images and a layer: of the starters, of a ResNet's stem and blocks, and what is rare.
LARGE = (
    ((16, 28, 28, 1), Conv2D(16, 5, padding=2)),
    ((16, 14, 14, 16), Conv2D(16, 5, padding=2)),
    ((4, 64, 64, 3), Conv2D(64, 7, stride=2, padding=3)),
    ((4, 56, 56, 64), Conv2D(64, 3, padding=1)),
    ((4, 28, 28, 64), Conv2D(128, 1, stride=2)),
    ((4, 28, 28, 8), Conv2D(12, (4, 2), padding="same")),
    ((4, 28, 28, 32), Conv2D(64, 3, padding=1, groups=4)),
)


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 3e-5), ("tf32", 1e-2)])
@pytest.mark.parametrize(("shape", "layer"), LARGE, ids=str)
@pytest.mark.parametrize("backend", ["cupy"], indirect=True)
def test_on_a_gpu_float32_is_as_exact_as_asked_for(backend, shape, layer, precision, allowed):
    """By the largest value of the CPU's result in float64. Sums of 12,544 products were seen to be off by 1.4e-5."""
    pytest.importorskip("cudnn")
    rng, window, groups = np.random.default_rng(0), layer.window, layer.groups
    weight = rng.normal(size=(layer.filters, *window.kernel, shape[3] // groups))
    x, dy = rng.normal(size=shape), rng.normal(size=(shape[0], *window.output_size(*shape[1:3]), layer.filters))
    kernels.use("cudnn", precision)

    def results(where, dtype):
        arrays = [where.asarray(array, dtype) for array in (x, weight, dy)]
        y = kernels.conv2d(arrays[0], arrays[1], None, window, groups)
        return [to_numpy(a) for a in (y, *kernels.conv2d_backward(arrays[0], arrays[2], arrays[1], window, groups))]

    try:
        for actual, expected in zip(results(backend, "float32"), results(resolve("cpu"), "float64"), strict=True):
            assert np.max(np.abs(actual - expected)) <= allowed * np.max(np.abs(expected))
    finally:
        kernels.use("fastest")


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_other_arrays_keep_their_own_kernels(monkeypatch, library):
    xp = pytest.importorskip(library if library != "jax" else "jax.numpy")
    monkeypatch.setattr(choice, "_choice", choice.Choice("cudnn"))  # without a check of what is installed
    arguments = xp.ones((1, 3, 3, 1)), xp.ones((1, 3, 3, 1)), None, Window((3, 3)), 1
    assert table.find("conv2d", *arguments).__name__ == f"xpnet.kernels.{library}_kernels"


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (None, "import of cudnn halted"),
        (SimpleNamespace(backend_version=lambda: fail("Unable to find symbol cudnnGetVersion\n...")), "Unable to find"),
    ],
)
def test_without_cudnn_one_line_says_what_to_install(monkeypatch, capsys, module, reason):
    monkeypatch.setitem(sys.modules, "cudnn", module)
    with pytest.raises(InputError, match=rf'^Kernels cudnn: .*{reason}.* pip install "xpnet\[cuda13,cudnn\]"\.$'):
        kernels.use("cudnn")
    assert kernels.in_use()["kernels"] == "fastest"
    assert train.main(["--kernels", "cudnn", "--no-malloc-tuning"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def fail(message):
    raise RuntimeError(message)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """What cuDNN says to the networks' convolutions on two GPUs."""
    try:
        choice._check_cudnn()
    except InputError as error:
        pytest.skip(str(error))
    if importlib.import_module("cudnn").backend_version() < 91700:
        pytest.skip("cuDNN builds plans without a GPU from version 9.17 on")
    compiler = shutil.which("cc") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C compiler to build what stands for the driver")
    folder = tmp_path_factory.mktemp("driver")
    source, library = folder / "driver.c", folder / "libcuda.so.1"
    source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in DRIVER.split()))
    command = [compiler, "-x", "c", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, source]
    subprocess.run(command, check=True)
    program = [sys.executable, ROOT / "tests" / "kernels" / "deviceless.py", library]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return json.loads(subprocess.run(program, check=True, capture_output=True, env=environment).stdout)


def test_cudnn_has_a_plan_for_every_convolution(rows):
    assert len({row[0] for row in rows}) > 30
    assert [row for row in rows if not isinstance(row[-1], int)] == []


def test_strict_float32_and_tf32_are_computed_by_other_engines(rows):
    engines = by_what_is_asked(rows)
    for operation in {row[1] for row in rows}:
        asked = [("mnist_starter conv2", operation, "float32", one, False, 90) for one in ("float32", "tf32")]
        assert engines[asked[0]] != engines[asked[1]]


@pytest.mark.parametrize("operation", ["input gradient", "weight gradient"])
def test_engines_that_give_other_bits_each_time_are_left_out(rows, operation):
    """Of some gradients cuDNN chooses one of those where it may."""
    engines = by_what_is_asked(rows)
    bound = [asked for asked in engines if asked[1] == operation and asked[4]]
    assert any(engines[asked] != engines[*asked[:4], False, asked[5]] for asked in bound)


def by_what_is_asked(rows):
    return {tuple(row[:-1]): row[-1] for row in rows}
