"""A folder of small real digits in MNIST's files, and a finished run on it."""

import contextlib
import io

import numpy as np
import pytest

from xpnet import kernels, runtime
from xpnet.cli import train
from xpnet.datasets import load
from xpnet.kernels import sharing


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    """Programs change how their process allocates and computes; the tests share one process."""
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: None)
    yield
    kernels.use("fastest")
    sharing.set_threads(1)


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory):
    """400 training and 100 test images of MNIST."""
    folder, mnist = tmp_path_factory.mktemp("digits"), load("mnist")
    for name, array in {
        "train-images-idx3-ubyte": mnist.train_inputs[:400, :, :, 0],
        "train-labels-idx1-ubyte": mnist.train_targets[:400],
        "t10k-images-idx3-ubyte": mnist.test_inputs[:100, :, :, 0],
        "t10k-labels-idx1-ubyte": mnist.test_targets[:100],
    }.items():
        sizes = np.array(array.shape, ">i4").tobytes()
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())
    return folder


@pytest.fixture(scope="session")
def finished_run(digits_folder, tmp_path_factory):
    """The folder of a run of 150 iterations, and what was printed."""
    folder, printed = tmp_path_factory.mktemp("runs") / "run", io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = train.main(
            [
                *("--data-dir", str(digits_folder), "--iterations", "150", "--out", str(folder)),
                *("--threads", "1", "--no-malloc-tuning"),
            ]
        )
    assert code == 0
    return folder, printed.getvalue()
