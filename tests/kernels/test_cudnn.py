"""Convolution by cuDNN, without a GPU.

What runs on the GPU is played by NumPy: ``Arrays`` stands for CuPy, with arrays that have an address, and ``Plan`` for
a plan, which reads and writes what lies at the addresses it is given. That proves which plan is asked for and what it
is given, not what cuDNN makes of it. That cuDNN accepts each graph is proved by building it, where cuDNN is installed;
that it computes the right thing, by the tests with CuPy where cuDNN is installed.
"""

import ctypes
import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.kernels import naive
from tests.kernels.pretend import choose, pretend_cupy
from tests.kernels.test_convolution import EXAMPLES
from xpnet import kernels
from xpnet.backend import resolve, to_numpy
from xpnet.cli import train
from xpnet.errors import InputError
from xpnet.kernels import choice, im2col, precision, table
from xpnet.layers import Conv2D
from xpnet.shapes import Window

ROOT = Path(__file__).parents[2]
PROBLEM = EXAMPLES[3]
# Functions of the driver that cuDNN 9.28 links or looks up; without a GPU each may fail.
DRIVER = (
    "cuCtxGetCurrent cuCtxGetLimit cuCtxPopCurrent cuCtxPushCurrent cuDeviceGet cuDeviceGetCount cuDriverGetVersion "
    "cuGetErrorName cuGetErrorString cuKernelGetAttribute cuKernelGetFunction cuKernelSetAttribute cuLaunchKernel "
    "cuLaunchKernelEx cuLaunchCooperativeKernel cuLibraryGetKernel cuLibraryLoadData cuLibraryLoadFromFile "
    "cuLibraryUnload cuLinkAddData cuLinkComplete cuLinkCreate cuLinkDestroy cuModuleGetFunction cuModuleLoadData "
    "cuModuleUnload cuOccupancyMaxPotentialClusterSize cuStreamGetCtx cuTensorMapEncodeIm2col cuTensorMapEncodeTiled"
)


class DeviceArray(np.ndarray):
    """An array whose address is where CuPy's have it."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)


class NotSupportedError(Exception):
    """Stands for cudnnGraphNotSupportedError."""


class Arrays:
    """CuPy: its arrays, devices, streams and memory."""

    ndarray = DeviceArray

    def __init__(self):
        self.device, self.stream, self.allocated = 0, 7, []
        linalg = SimpleNamespace(COMPUTE_TYPE_TBD=0)
        self._core = SimpleNamespace(set_compute_type=lambda dtype, kind: None, _routines_linalg=linalg)
        self.cuda = SimpleNamespace(
            Device=lambda number: SimpleNamespace(compute_capability=("90", "120")[number]),
            runtime=SimpleNamespace(getDevice=lambda: self.device),
            get_current_stream=lambda: SimpleNamespace(ptr=self.stream),
            alloc=self.alloc,
        )

    def alloc(self, size):
        self.allocated.append(size)
        return SimpleNamespace(ptr=1000 + size)

    def empty(self, shape, dtype):
        return np.full(shape, np.nan, dtype).view(DeviceArray)

    def ascontiguousarray(self, array):
        return np.ascontiguousarray(array).view(DeviceArray)


class Plan:
    """Computes a convolution from the addresses of its arrays."""

    def __init__(self, convolution, log):
        self.convolution, self.log = convolution, log

    def get_workspace_size(self):
        return 64

    def execute(self, pointers, workspace, handle):
        asked, shapes = self.convolution, self.convolution.shapes()
        groups = asked.images[3] // asked.weight[3]
        assert all(pointer % 16 == 0 for pointer in pointers.values())
        assert pointers.keys() == shapes.keys() - (set() if asked.operation == "forward" else {3})
        kind = np.ctypeslib.as_ctypes_type(np.dtype(asked.dtype))
        arrays = {
            uid: np.ctypeslib.as_array(ctypes.cast(pointer, ctypes.POINTER(kind)), shapes[uid])
            for uid, pointer in pointers.items()
        }
        if asked.operation == "forward":
            y = naive.conv2d(arrays[1], arrays[2], asked.window, groups)
            arrays[4][...] = y + (arrays[3] if asked.biased else 0)
        elif asked.operation == "input gradient":
            arrays[1][...] = naive.conv2d_input_gradient(arrays[4], arrays[2], asked.window, asked.images[1:3], groups)
        else:
            arrays[2][...] = naive.conv2d_weight_gradient(arrays[1], arrays[4], asked.window, groups)
        self.log.append(("execute", asked.operation, workspace, handle))


class Graph:
    """A graph that writes down what it is told."""

    def __init__(self, **settings):
        self.settings, self.calls = settings, []

    def __getattr__(self, name):
        def call(*arguments, **keywords):
            self.calls.append((name, arguments, keywords))
            return SimpleNamespace(name=name, **keywords) if name == "tensor" else Result(self.calls)

        return call


class Result:
    """A tensor that a node gives, told about itself in a chain of calls."""

    def __init__(self, calls):
        self._calls = calls

    def __getattr__(self, name):
        return lambda value: self._calls.append((name, value)) or self


@pytest.fixture
def gpu(monkeypatch):
    """The kernels' modules, imported on top of what stands for CuPy and cuDNN."""
    arrays, log = Arrays(), []
    cudnn = SimpleNamespace(
        data_type=SimpleNamespace(HALF="half", FLOAT="float", DOUBLE="double"),
        numerical_note=SimpleNamespace(
            TENSOR_CORE="tensor core", DOWN_CONVERT_INPUTS="down", WINOGRAD="winograd", NONDETERMINISTIC="other bits"
        ),
        heur_mode=SimpleNamespace(A="a", FALLBACK="fallback"),
        cudnnGraphNotSupportedError=NotSupportedError,
        pygraph=Graph,
        create_handle=lambda: log.append(("create_handle", arrays.device)) or len(log),
        set_stream=lambda handle, stream: log.append(("set_stream", stream)),
        backend_version=lambda: 92800,
    )
    monkeypatch.setitem(sys.modules, "cupy", arrays)
    monkeypatch.setitem(sys.modules, "cudnn", cudnn)
    modules = {}
    for name in ("cudnn_plans", "cudnn_kernels"):
        monkeypatch.delitem(sys.modules, f"xpnet.kernels.{name}", raising=False)
        modules[name] = importlib.import_module(f"xpnet.kernels.{name}")
    module, built = modules["cudnn_kernels"], []

    def build(convolution, sm_version, handle):
        built.append((convolution, sm_version, handle))
        return Plan(convolution, log)

    monkeypatch.setattr(module, "build", build)
    yield SimpleNamespace(cupy=arrays, cudnn=cudnn, log=log, built=built, plans=modules["cudnn_plans"], kernels=module)
    for name in modules:  # monkeypatch puts back what was there before
        del sys.modules[f"xpnet.kernels.{name}"]
        delattr(kernels, name)


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "0")
    choose(monkeypatch, "fastest")
    monkeypatch.setattr(precision, "_precision", "float32")


def on_device(problem, dtype="float64"):
    return [array.astype(dtype).view(DeviceArray) for array in problem.arrays()]


def check(module, problem, x, weight, dy):
    """Compare with the definition, whatever the arrays' places in memory; the values are integers."""
    window, bias = problem.window, np.arange(1.0, problem.outputs + 1).astype(x.dtype).view(DeviceArray)
    groups = problem.groups
    y = naive.conv2d(x, weight, window, groups)
    np.testing.assert_array_equal(module.conv2d(x, weight, None, window, groups), y)
    np.testing.assert_array_equal(module.conv2d(x, weight, bias, window, groups), y + bias)
    dx, dw, db = module.conv2d_backward(x, dy, weight, window, groups)
    np.testing.assert_array_equal(dx, naive.conv2d_input_gradient(dy, weight, window, problem.image_size, groups))
    np.testing.assert_array_equal(dw, naive.conv2d_weight_gradient(x, dy, window, groups))
    np.testing.assert_array_equal(db, dy.sum(axis=(0, 1, 2)))
    assert {array.dtype for array in (y, dx, dw)} == {np.dtype("float64"), x.dtype}
    nothing, alone, _ = module.conv2d_backward(x, dy, weight, window, groups, need_dx=False)
    assert nothing is None
    np.testing.assert_array_equal(alone, dw)


@pytest.mark.parametrize("problem", EXAMPLES)
def test_plans_are_given_the_arrays_they_were_made_for(gpu, problem):
    check(gpu.kernels, problem, *on_device(problem))
    operations = [entry[1] for entry in gpu.log if entry[0] == "execute"]
    assert operations == ["forward"] * 2 + ["input gradient", "weight gradient", "weight gradient"]


def test_views_are_copied_to_where_cudnn_can_read_them(gpu):
    x, weight, dy = on_device(PROBLEM)
    turned = np.ascontiguousarray(x.transpose(3, 1, 2, 0)).view(DeviceArray).transpose(3, 1, 2, 0)
    theta = np.zeros(weight.size + 4).view(DeviceArray)
    start = 1 if theta.ctypes.data % 16 == 0 else 2
    misplaced = theta[start : start + weight.size].reshape(weight.shape)
    misplaced[...] = weight
    assert misplaced.data.ptr % 16 == 8
    check(gpu.kernels, PROBLEM, turned, misplaced, dy[::1, ::-1][:, ::-1])


def test_a_plan_is_made_once(gpu):
    x, weight, _ = on_device(PROBLEM)
    for _ in range(3):
        gpu.kernels.conv2d(x, weight, None, PROBLEM.window)
    assert len(gpu.built) == 1


def test_other_sizes_numbers_windows_and_a_bias_take_other_plans(gpu):
    x, weight, _ = on_device(PROBLEM)
    bias, window = np.zeros(PROBLEM.outputs).view(DeviceArray), PROBLEM.window
    gpu.kernels.conv2d(x, weight, None, window)
    gpu.kernels.conv2d(x[:1], weight, None, window)
    gpu.kernels.conv2d(x, weight, bias, window)
    gpu.kernels.conv2d(x.astype("f"), weight.astype("f"), None, window)
    gpu.kernels.conv2d(x, weight, None, Window(window.kernel))
    assert len(gpu.built) == 5


def test_where_cudnn_has_no_plan_the_pure_kernels_serve_and_that_is_said_once(gpu, monkeypatch, caplog):
    tries = []

    def build(convolution, sm_version, handle):
        tries.append(convolution)
        raise (NotSupportedError if len(tries) % 2 else RuntimeError)("no engine\n{...}")

    monkeypatch.setattr(gpu.kernels, "build", build)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")  # as in a program
        check(gpu.kernels, PROBLEM, *on_device(PROBLEM))
    assert [str(warning.message).partition(";")[0] for warning in said] == ["cuDNN has no plan for a convolution"]
    assert len(tries) == len(set(tries)) == 4  # with and without a bias, and the gradients
    assert caplog.messages == [f"cuDNN has no plan for {convolution}: no engine" for convolution in tries]


def test_handle_stream_and_workspace(gpu):
    x, weight, _ = on_device(PROBLEM)
    for stream in (7, 7, 8, 8):
        gpu.cupy.stream = stream
        gpu.kernels.conv2d(x, weight, None, PROBLEM.window)
    execute = ("execute", "forward", 1064, 1)
    assert gpu.log == [
        ("create_handle", 0),
        ("set_stream", 7),
        *(execute, execute),
        ("set_stream", 8),
        *(execute, execute),
    ]
    assert gpu.cupy.allocated == [64] * 4
    assert gpu.built[0][1:] == (90, 1)


def test_each_device_and_thread_has_its_own_handle(gpu):
    x, weight, _ = on_device(PROBLEM)

    def convolve():
        gpu.kernels.conv2d(x, weight, None, PROBLEM.window)

    convolve()
    gpu.cupy.device = 1
    convolve()
    thread = threading.Thread(target=convolve)
    thread.start()
    thread.join()
    convolve()
    assert [entry[1] for entry in gpu.log if entry[0] == "create_handle"] == [0, 1, 1]
    assert [sm_version for _, sm_version, _ in gpu.built] == [90, 120, 120]


def test_the_precision_is_part_of_what_is_asked_for(gpu):
    x, weight, dy = on_device(PROBLEM, "float32")
    kernels.use("cudnn", "tf32")
    gpu.kernels.conv2d(x, weight, None, PROBLEM.window)
    gpu.kernels.conv2d_backward(x, dy, weight, PROBLEM.window)
    kernels.use("cudnn", "float32")
    gpu.kernels.conv2d(x, weight, None, PROBLEM.window)
    assert [asked.precision for asked, *_ in gpu.built] == ["tf32"] * 3 + ["float32"]


def test_the_same_bits_each_time_are_part_of_what_is_asked_for(gpu):
    x, weight, dy = on_device(PROBLEM)
    for deterministic in (True, False):
        kernels.use("cudnn", deterministic=deterministic)
        gpu.kernels.conv2d(x, weight, None, PROBLEM.window)
        gpu.kernels.conv2d_backward(x, dy, weight, PROBLEM.window)
    assert [asked.deterministic for asked, *_ in gpu.built] == [True] * 3 + [False] * 3


ASKED = {
    "operation": "forward",
    "images": (2, 9, 11, 3),
    "weight": (5, 3, 2, 3),
    "window": Window((3, 2), (2, 3), ((1, 0), (0, 2)), (2, 3)),
}


STEPS = ("create_execution_plans", "deselect_numeric_notes", "check_support", "build_plans")


def described(gpu, **changes):
    convolution = gpu.plans.Convolution(**{**ASKED, "dtype": "float32", **changes})
    return gpu.plans.build(convolution, 90, handle=5)


def test_a_graph_is_described_in_cudnns_order_of_dimensions(gpu):
    calls = described(gpu, biased=True).calls
    assert [call[2] for call in calls if call[0] == "tensor"] == [
        {"uid": 1, "dim": [2, 3, 9, 11], "stride": [297, 1, 33, 3]},
        {"uid": 2, "dim": [5, 3, 3, 2], "stride": [18, 1, 6, 3]},
        {"uid": 3, "dim": [1, 5, 1, 1], "stride": [5, 1, 5, 5]},
    ]
    (convolution,) = [call for call in calls if call[0] == "conv_fprop"]
    assert [tensor.uid for tensor in convolution[1]] == [1, 2]
    assert convolution[2] == {"pre_padding": [1, 0], "post_padding": [0, 2], "stride": [2, 3], "dilation": [2, 3]}
    assert [call[1][1].uid for call in calls if call[0] == "bias"] == [3]
    told = [("set_output", True), ("set_uid", 4), ("set_dim", [2, 5, 3, 4]), ("set_stride", [60, 1, 20, 5])]
    assert [call for call in calls if call[0].startswith("set_")] == told


@pytest.mark.parametrize(
    ("operation", "node", "inputs", "uid", "dim"),
    [
        ("input gradient", "conv_dgrad", [4, 2], 1, [2, 3, 9, 11]),
        ("weight gradient", "conv_wgrad", [1, 4], 2, [5, 3, 3, 2]),
    ],
)
def test_gradients_have_the_shapes_of_what_they_belong_to(gpu, operation, node, inputs, uid, dim):
    calls = described(gpu, operation=operation).calls
    assert [[tensor.uid for tensor in call[1]] for call in calls if call[0] == node] == [inputs]
    assert ("set_uid", uid) in calls
    assert ("set_dim", dim) in calls


@pytest.mark.parametrize(
    ("dtype", "choice", "kinds", "strict"),
    [
        ("float32", "float32", ("float", "float"), True),
        ("float32", "tf32", ("float", "float"), False),
        ("float16", "float32", ("half", "float"), False),
        ("float64", "float32", ("double", "double"), False),
    ],
)
def test_only_strict_float32_forbids_tensor_cores(gpu, dtype, choice, kinds, strict):
    graph = described(gpu, dtype=dtype, precision=choice)
    settings = {"io_data_type": kinds[0], "intermediate_data_type": kinds[1], "compute_data_type": kinds[1]}
    assert graph.settings == {**settings, "sm_version": 90, "handle": 5}
    assert forbidden(graph) == (["tensor core", "down", "winograd"] if strict else [])


@pytest.mark.parametrize("choice", ["float32", "tf32"])
def test_only_deterministic_convolutions_forbid_engines_that_give_other_bits_each_time(gpu, choice):
    free, bound = (forbidden(described(gpu, precision=choice, deterministic=one)) for one in (False, True))
    assert "other bits" not in free
    assert bound == [*free, "other bits"]


def forbidden(graph):
    """The notes of the engines that a plan may not have, all told between the choice of engines and their check."""
    first, *notes, check, last = [call for call in graph.calls if call[0] in STEPS]
    assert [step[0] for step in (first, check, last)] == ["create_execution_plans", "check_support", "build_plans"]
    assert all(note[0] == "deselect_numeric_notes" for note in notes)
    return [name for note in notes for name in note[1][0]]


def test_cupys_arrays_get_cudnn_where_it_is_asked_for(gpu, monkeypatch):
    pretend_cupy(monkeypatch, lambda array: isinstance(array, DeviceArray), without=("cupy_kernels",))
    x, weight, _ = on_device(PROBLEM)
    for name, module in (("fastest", im2col), ("cudnn", gpu.kernels), ("pure", im2col)):
        kernels.use(name)
        assert table.find("conv2d", x, weight, None, PROBLEM.window, 1) is module


@pytest.mark.parametrize("problem", EXAMPLES)
@pytest.mark.parametrize("backend", ["cupy"], indirect=True)
def test_on_a_gpu_convolution_equals_the_definition(backend, problem):
    """In float64, to rounding: cuDNN may choose transforms. A fallback is a warning and so fails."""
    pytest.importorskip("cudnn")
    module, window = importlib.import_module("xpnet.kernels.cudnn_kernels"), problem.window
    x, weight, dy = problem.arrays()
    here, w, g = map(backend.asarray, (x, weight, dy))
    dx, dw, _ = module.conv2d_backward(here, g, w, window, problem.groups)
    for actual, expected in (
        (module.conv2d(here, w, None, window, problem.groups), naive.conv2d(x, weight, window, problem.groups)),
        (dx, naive.conv2d_input_gradient(dy, weight, window, problem.image_size, problem.groups)),
        (dw, naive.conv2d_weight_gradient(x, dy, window, problem.groups)),
    ):
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=0, atol=1e-9)


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


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1e-5), ("tf32", 1e-2)])
@pytest.mark.parametrize(("shape", "layer"), LARGE, ids=str)
@pytest.mark.parametrize("backend", ["cupy"], indirect=True)
def test_on_a_gpu_float32_is_as_exact_as_asked_for(backend, shape, layer, precision, allowed):
    """By the largest value of the CPU's result in float64."""
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
    choose(monkeypatch, "cudnn")
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
