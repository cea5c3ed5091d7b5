"""What programs change about their process."""

import subprocess
import sys

import numpy as np
import pytest

from xpnet import kernels, tuning
from xpnet.kernels import sharing, unrolled
from xpnet.shapes import make_window


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    """The tests share one process."""
    monkeypatch.setattr(tuning, "_tune_malloc", lambda: None)
    yield
    kernels.use("fastest")
    sharing.set_threads(1)


def test_threads_are_those_asked_for(monkeypatch):
    tuning.tune(3)
    assert sharing.threads() == 3
    monkeypatch.setattr(tuning, "cores", lambda: 5)
    tuning.tune()
    assert sharing.threads() == 5


@pytest.mark.parametrize(("flag", "tuned"), [(False, [1]), (True, [])])
def test_malloc_is_tuned_unless_told_otherwise(monkeypatch, flag, tuned):
    calls = []
    monkeypatch.setattr(tuning, "_tune_malloc", lambda: calls.append(1))
    tuning.tune(1, no_malloc_tuning=flag)
    assert calls == tuned


def test_pure_kernels_serve_numpy_where_asked_for(monkeypatch):
    tuning.tune(1, "pure")
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
