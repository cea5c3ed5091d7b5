"""What programs change about their process."""

import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import refused
from xpnet import kernels, runtime
from xpnet.kernels import sharing, table, unrolled
from xpnet.shapes import make_window


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    """The tests share one process."""
    monkeypatch.setattr(runtime, "_tune_malloc", lambda: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setenv("XLA_FLAGS", "")
    yield
    kernels.use("fastest")
    sharing.set_threads(1)


def test_threads_are_those_asked_for(monkeypatch):
    runtime.configure(3)
    assert sharing.threads() == 3
    monkeypatch.setattr(runtime, "cores", lambda: 5)
    runtime.configure()
    assert sharing.threads() == 5


@pytest.mark.parametrize(("threads", "message"), [(0, "of at least 1, got 0."), (1025, "at most 1024, got 1025.")])
def test_a_number_of_threads_that_no_machine_has(threads, message):
    runtime.configure(1024)
    with refused("--threads: expected ", message):
        runtime.configure(threads)
    assert sharing.threads() == 1024


@pytest.mark.parametrize(("flag", "tuned"), [(False, [1]), (True, [])])
def test_malloc_is_tuned_unless_told_otherwise(monkeypatch, flag, tuned):
    calls = []
    monkeypatch.setattr(runtime, "_tune_malloc", lambda: calls.append(1))
    runtime.configure(1, no_malloc_tuning=flag)
    assert calls == tuned


def test_pure_kernels_serve_numpy_where_asked_for(monkeypatch):
    runtime.configure(1, "pure")
    monkeypatch.setattr(unrolled, "conv2d", lambda *arguments: "pure")
    x = np.zeros((1, 3, 3, 1), np.float32)
    assert kernels.conv2d(x, np.zeros((1, 1, 1, 1), np.float32), None, make_window("test", 1, 1, 0)) == "pure"


def test_blas_has_one_thread_once_convolutions_are_shared():
    """In a process of its own, since it stays so."""
    program = """
import numpy, threadpoolctl
from xpnet.kernels import numpy_kernels, sharing
from xpnet.shapes import make_window

def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

threadpoolctl.threadpool_limits(2)
sharing.set_threads(2)
x, window = numpy.ones((64, 32, 32, 16), "f"), make_window("test", 5, 1, 2)
before = blas_threads()
numpy_kernels.conv2d(x[:1], numpy.ones((16, 5, 5, 16), "f"), None, window)
small = blas_threads()
numpy_kernels.conv2d(x, numpy.ones((16, 5, 5, 16), "f"), None, window)
assert before == small and set(blas_threads()) == {1}, (before, small, blas_threads())
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def run_alone(code):
    """What a process of its own prints; what is set here stays in a process."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_libraries_are_told_to_be_deterministic():
    code = (
        "import os; from xpnet import kernels, runtime; os.environ['XLA_FLAGS'] = '--xla_dump_to=x'; "
        "runtime.configure(1, deterministic=True); "
        "print(kernels.is_deterministic(), os.environ['CUBLAS_WORKSPACE_CONFIG'], os.environ['XLA_FLAGS'])"
    )
    assert run_alone(code) == ["True", ":4096:8", "--xla_dump_to=x", "--xla_gpu_deterministic_ops=true"]


def test_pytorch_is_told_by_a_call_and_loaded_for_it_only_if_it_computes():
    pytest.importorskip("torch", exc_type=ImportError)
    code = (
        "import sys; from xpnet import runtime; runtime.configure(1, deterministic=True); "
        "print('torch' in sys.modules);"
        " runtime.configure(1, deterministic=True, backend='torch'); import torch; "
        "print(torch.are_deterministic_algorithms_enabled())"
    )
    assert run_alone(code) == ["False", "True"]


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_deterministic_run_on_the_cpu_is_the_run_it_always_was(library):
    pytest.importorskip(library, exc_type=ImportError)
    code = (
        "import sys, hashlib; from xpnet import runtime, datasets; from xpnet.backend import to_numpy; "
        "from xpnet.training import TrainConfig, Trainer; runtime.configure(1, deterministic={}, backend='{}'); "
        "data = datasets.load('mnist'); "
        "config = TrainConfig.for_model('mnist_starter', iterations=4, limit=64, validation_images=8, backend='{}'); "
        "trainer = Trainer(config, data); list(trainer.run()); "
        "print(hashlib.sha256(to_numpy(trainer.network.theta).tobytes()).hexdigest())"
    )
    assert run_alone(code.format(True, library, library)) == run_alone(code.format(False, library, library))


def test_pooling_on_a_gpu_is_pytorchs_own_unless_it_must_be_deterministic():
    """The device meta stands for a GPU."""
    torch = pytest.importorskip("torch", exc_type=ImportError)
    window, x = make_window("Test", 2, 2, 0), torch.zeros((1, 4, 4, 1), device="meta")

    def server(x):
        return table.name_of(table.find("max_pool2d", x, window))

    runtime.configure(1)
    assert server(x) == "torch_kernels"
    runtime.configure(1, deterministic=True)
    assert server(x) == "pooling"
    assert server(torch.zeros((1, 4, 4, 1))) == "torch_kernels"
