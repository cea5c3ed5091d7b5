"""cuDNN's delegate on the emulated device, where loops execute its plans: see ``cudnn_on_host.py``."""

import importlib
import sys

import numpy as np
import pytest

from tests.emulated_cuda.records import IS_EMULATED, recorded
from tests.helpers import assert_same_bits
from tests.kernels import naive
from tests.kernels.pretend import forget_rows
from tests.kernels.test_convolution import EXAMPLES
from tests.training.runs import make_trainer
from xpnet import kernels
from xpnet.backend import resolve, to_numpy
from xpnet.datasets import Dataset
from xpnet.kernels import table

pytestmark = pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")
MODULES = ("xpnet.kernels.cudnn_kernels", "xpnet.kernels.cudnn_plans")


@pytest.fixture(autouse=True)
def cudnn(monkeypatch):
    """CuDNN as the host has it, under the kernels that call it."""
    monkeypatch.setitem(sys.modules, "cudnn", importlib.import_module("tests.emulated_cuda.cudnn_on_host"))
    for module in MODULES:
        monkeypatch.delitem(sys.modules, module, raising=False)
    forget_rows(monkeypatch)
    kernels.use("cudnn")
    yield
    kernels.use("fastest")
    for module in MODULES:
        sys.modules.pop(module, None)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-2), ("float32", 1e-5), ("float64", 1e-12)])
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
