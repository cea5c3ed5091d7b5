"""A folder of small real digits in MNIST's files, and a finished run on it."""

import contextlib
import io

import pytest

from tests.helpers import write_digits
from xpnet import kernels, runtime
from xpnet.cli import train
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
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
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
