"""The benchmark changes how its processes allocate and share work; the tests share one process, and do not measure."""

import os
from pathlib import Path

import pytest

from xpnet import kernels, runtime
from xpnet.benchmark import controller
from xpnet.kernels import sharing

ROOT = str(Path(__file__).parents[2])


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(controller, "BLOCK_SECONDS", 0.01)
    monkeypatch.setattr(controller, "PAUSE_SECONDS", 0.0)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")]))
    yield
    kernels.use("fastest")
    sharing.set_threads(1)
