"""cuDNN's delegate on the emulated device, where loops execute its plans: see ``cudnn_on_host.py``."""

import importlib
import sys
import threading
import warnings

import numpy as np
import pytest

from tests.emulated_cuda.records import IS_EMULATED, recorded
from tests.helpers import assert_same_bits
from tests.kernels import naive
from tests.kernels.test_convolution import EXAMPLES
from tests.training.runs import make_trainer
from xpnet import kernels
from xpnet.backend import resolve, to_numpy
from xpnet.datasets import Dataset
from xpnet.kernels import table
from xpnet.shapes import Window

pytestmark = pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")
MODULES = ("xpnet.kernels.cudnn_kernels", "xpnet.kernels.cudnn_plans")


@pytest.fixture(autouse=True)
def cudnn(monkeypatch):
    """CuDNN as the host has it, under the kernels that call it."""
    monkeypatch.setitem(sys.modules, "cudnn", importlib.import_module("tests.emulated_cuda.cudnn_on_host"))
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(table, "_row", table._row.__wrapped__)  # which remembers modules
    kernels.use("cudnn")
    yield
    kernels.use("fastest")
    for module in MODULES:
        sys.modules.pop(module, None)


@pytest.fixture
def built(monkeypatch):
    """The convolutions that plans are made for, with the GPU's architecture and the plan."""
    module, found = table.by_name("cudnn_kernels"), []
    build = module.build

    def build_and_tell(convolution, sm_version, handle):
        plan = build(convolution, sm_version, handle=handle)
        found.append((convolution, sm_version, plan))
        return plan

    monkeypatch.setattr(module, "build", build_and_tell)
    return found


PROBLEM = EXAMPLES[3]


def on_device(dtype="float32"):
    return [resolve("cuda").asarray(array, dtype) for array in PROBLEM.arrays()]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-2), ("float32", 1e-5)])
@pytest.mark.parametrize("problem", EXAMPLES)
def test_convolution_equals_the_definition(problem, dtype, tolerance):
    cuda, window, groups = resolve("cuda"), problem.window, problem.groups
    x, weight, dy = problem.arrays()
    bias = np.arange(1.0, problem.outputs + 1)
    here, w, b, g = (cuda.asarray(array, dtype) for array in (x, weight, bias, dy))
    assert table.name_of(table.find("conv2d", here, w, b, window, groups)) == "cudnn_kernels"
    with recorded() as record:
        y = kernels.conv2d(here, w, b, window, groups)
        dx, dw, _ = kernels.conv2d_backward(here, g, w, window, groups, need_db=False)
    assert [what for what in record if what[0] == "launch"] == [("launch", "cudnn")] * 3
    for actual, expected in (
        (y, naive.conv2d(x, weight, window, groups) + bias),
        (dx, naive.conv2d_input_gradient(dy, weight, window, problem.image_size, groups)),
        (dw, naive.conv2d_weight_gradient(x, dy, window, groups)),
    ):
        assert actual.dtype == dtype
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=tolerance, atol=tolerance)


def test_views_are_copied_to_where_cudnn_can_read_them():
    x, weight, _ = on_device()
    turned = x.transpose(3, 1, 2, 0).copy().transpose(3, 1, 2, 0)
    theta = resolve("cuda").xp.zeros(weight.size + 1, dtype="float32")
    misplaced = theta[1:].reshape(weight.shape)
    misplaced[...] = weight
    assert misplaced.data.ptr % 16 == 4
    y = kernels.conv2d(turned, misplaced, None, PROBLEM.window)
    np.testing.assert_array_equal(to_numpy(y), naive.conv2d(*PROBLEM.arrays()[:2], PROBLEM.window))


def test_a_plan_is_made_once_for_each_convolution(built):
    x, weight, _ = on_device()
    bias, window = resolve("cuda").asarray(np.zeros(PROBLEM.outputs), "float32"), PROBLEM.window
    for _ in range(2):
        kernels.conv2d(x, weight, None, window)
        kernels.conv2d(x[:1], weight, None, window)
        kernels.conv2d(x, weight, bias, window)
        kernels.conv2d(x.astype("e"), weight.astype("e"), None, window)
        kernels.conv2d(x, weight, None, Window(window.kernel))
    assert len(built) == 5


def test_each_device_and_thread_has_plans_of_its_own(built):
    def convolve(device):
        backend = resolve(device)
        x, weight = (backend.asarray(array, "float32") for array in PROBLEM.arrays()[:2])
        kernels.conv2d(x, weight, None, PROBLEM.window)

    for device in ("cuda:0", "cuda:1", "cuda:0"):
        convolve(device)
    thread = threading.Thread(target=convolve, args=("cuda:0",))
    thread.start()
    thread.join()
    assert len(built) == 3
    resolve("cuda:0")


@pytest.mark.parametrize(
    ("dtype", "precision", "deterministic", "forbidden"),
    [
        ("float32", "float32", False, {"TENSOR_CORE", "DOWN_CONVERT_INPUTS", "WINOGRAD"}),
        ("float32", "float32", True, {"TENSOR_CORE", "DOWN_CONVERT_INPUTS", "WINOGRAD", "NONDETERMINISTIC"}),
        ("float32", "tf32", False, set()),
        ("float32", "tf32", True, {"NONDETERMINISTIC"}),
        ("float16", "float32", False, set()),
    ],
)
def test_engines_that_round_otherwise_or_give_other_bits_are_left_out(
    built, dtype, precision, deterministic, forbidden
):
    kernels.use("cudnn", precision, deterministic=deterministic)
    x, weight, dy = on_device(dtype)
    kernels.conv2d(x, weight, None, PROBLEM.window)
    kernels.conv2d_backward(x, dy, weight, PROBLEM.window)
    assert [{note.name for note in plan.forbidden} for *_, plan in built] == [forbidden] * 3
    assert {sm_version for _, sm_version, _ in built} == {90}


@pytest.mark.parametrize(
    ("choice", "dtype", "expected"),
    [
        ("fastest", "float32", "cupy_kernels"),
        ("cudnn", "float32", "cudnn_kernels"),
        ("cudnn", "float64", "cupy_kernels"),
        ("pure", "float32", "im2col"),
    ],
)
def test_cudnn_serves_where_it_is_asked_for_and_right(choice, dtype, expected):
    kernels.use(choice)
    x, weight, _ = on_device(dtype)
    assert table.name_of(table.find("conv2d", x, weight, None, PROBLEM.window, 1)) == expected


@pytest.fixture
def no_plans(monkeypatch):
    """CuDNN has no plan for anything; the convolutions that it was asked for."""
    module, asked = table.by_name("cudnn_kernels"), []

    def build(convolution, sm_version, handle):
        asked.append(convolution)
        raise (module.cudnn.cudnnGraphNotSupportedError if len(asked) % 2 else RuntimeError)("no engine\n{...}")

    monkeypatch.setattr(module, "build", build)
    return asked


def test_without_a_plan_other_kernels_serve_and_that_is_said_once(no_plans, caplog):
    x, weight, dy = on_device()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")  # as in a program
        for _ in range(2):
            y = kernels.conv2d(x, weight, None, PROBLEM.window)
            dx, dw, _ = kernels.conv2d_backward(x, dy, weight, PROBLEM.window)
    assert [str(warning.message).partition(";")[0] for warning in said] == ["cuDNN has no plan for a convolution"]
    assert len(no_plans) == len(set(no_plans)) == 3
    assert caplog.messages == [f"cuDNN has no plan for {convolution}: no engine" for convolution in no_plans]
    x, weight, dy = PROBLEM.arrays()
    for actual, expected in (
        (y, naive.conv2d(x, weight, PROBLEM.window)),
        (dx, naive.conv2d_input_gradient(dy, weight, PROBLEM.window, PROBLEM.image_size)),
        (dw, naive.conv2d_weight_gradient(x, dy, PROBLEM.window)),
    ):
        np.testing.assert_allclose(to_numpy(actual), expected, rtol=1e-12)


@pytest.mark.filterwarnings("ignore:cuDNN has no plan")
def test_a_graph_can_hold_what_serves_without_a_plan(digits, no_plans):
    trainer = make_trainer(
        digits, iterations=4, report_every=4, batch_size=8, device="cuda", kernels="cudnn", graph=True
    )
    trainer.run()
    assert no_plans
    assert not trainer._step._failed
    assert len(trainer._step._recordings) == 1


@pytest.fixture
def digits():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (80, 28, 28, 1), np.uint8), rng.integers(0, 10, 80, np.int32)
    return Dataset("noise", images, labels, images[:16], labels[:16], tuple("0123456789"))


def test_a_step_is_recorded_and_replayed_bit_for_bit(digits):
    settings = {"iterations": 4, "report_every": 4, "batch_size": 8, "device": "cuda", "kernels": "cudnn"}
    graphed = make_trainer(digits, **settings, graph=True)
    graphed.run()
    plain = make_trainer(digits, **settings)
    kernels.use("cudnn", recordable=True)
    plain.run()
    assert not graphed._step._failed
    assert len(graphed._step._recordings) == 1
    assert_same_bits(graphed.snapshot().tensors, plain.snapshot().tensors)


def test_a_step_is_few_launches(digits):
    trainer = make_trainer(digits, device="cuda", kernels="cudnn", batch_size=8)
    trainer.step()
    trainer.step()
    with recorded() as record:
        trainer.step()
    assert record.count("launch") + record.count("set") <= 24, str(record)
    assert record.count("wait") == record.count("to host") == 0
