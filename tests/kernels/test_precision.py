"""How exactly float32 is multiplied."""

import os
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from xpnet import Runtime, kernels
from xpnet.cli import train
from xpnet.errors import InputError
from xpnet.kernels import precision


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    monkeypatch.setenv("CUPY_TF32", "0")
    monkeypatch.setattr(precision, "_precision", "float32")


def test_cupy_reads_the_choice_from_the_environment_and_forgets_the_one_before(monkeypatch):
    calls = []
    core = SimpleNamespace(
        set_compute_type=lambda dtype, kind: calls.append((dtype, kind, os.environ["CUPY_TF32"])),
        _routines_linalg=SimpleNamespace(COMPUTE_TYPE_TBD="not decided"),
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(_core=core))
    for choice in ("tf32", "float32"):
        kernels.use("fastest", choice)
        assert precision.precision_in_use() == choice
    assert calls == [("float32", "not decided", "1"), ("float32", "not decided", "0")]


def test_without_cupy_the_choice_waits_in_the_environment(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    Runtime(threads=1, tune_malloc=False, precision="tf32").configure()
    assert os.environ["CUPY_TF32"] == "1"


def test_cupy_itself_decides_again():
    """Without a GPU it fails when it asks for the device's capability, which it does for TF32 alone."""
    cupy = pytest.importorskip("cupy")
    linalg = cupy._core._routines_linalg
    precision.use_precision("float32")
    assert cupy._core.get_compute_type("float32") == linalg.COMPUTE_TYPE_DEFAULT
    precision.use_precision("tf32")
    with suppress(cupy.cuda.runtime.CUDARuntimeError):
        assert cupy._core.get_compute_type("float32") == linalg.COMPUTE_TYPE_TF32
    precision.use_precision("float32")
    assert cupy._core.get_compute_type("float32") == linalg.COMPUTE_TYPE_DEFAULT


def test_another_precision_is_refused(capsys):
    with pytest.raises(InputError, match=r"^Precision: expected one of float32, tf32, got 'tf31'\. "):
        kernels.use("fastest", "tf31")
    with pytest.raises(SystemExit):
        train.main(["--precision", "tf31"])
    assert "tf31" in capsys.readouterr().err
