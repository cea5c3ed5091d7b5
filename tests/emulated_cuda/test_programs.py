"""The programs on devices that fail: their messages and exit codes."""

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.emulated_cuda.records import IS_EMULATED
from xpnet.network import Network

pytestmark = pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")

ROOT = Path(__file__).parents[2]
SMALL = ("--model", "mlp", "--limit", "200", "--report-every", "4")


def run(folder: Path, *flags: str, settings: str = "") -> tuple[int, str]:
    """Exit code and error output of a training on a device with these settings."""
    command = [sys.executable, ROOT / "scripts" / "train.py", *flags, "--out", folder]
    environment = {**os.environ, "EMULATED_CUDA": settings}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("devices=0", "no CUDA-capable device"),
        ("driver=old", "driver version is insufficient"),
        ("memory=10", "cudaErrorMemoryAllocation: out of memory"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused_with_the_reason(tmp_path, settings, reason):
    code, error = run(tmp_path / "run", "--device", "cuda", settings=settings)
    assert code == 2
    assert error.count("\n") == 1
    assert reason in error
    assert error.startswith("error: --device cuda: ")
    assert "--device cpu" in error


def test_a_device_that_is_not_there_is_refused(tmp_path):
    code, error = run(tmp_path / "run", "--device", "cuda:2", settings="devices=2")
    assert code == 2
    assert "Use --device cuda:0 to cuda:1" in error


def resume(folder: Path, *flags: str, settings: str = "") -> tuple[int, str]:
    """The same of a run that goes on."""
    command = [sys.executable, ROOT / "scripts" / "train.py", "--resume", folder, *flags]
    environment = {**os.environ, "EMULATED_CUDA": settings}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_a_run_whose_device_is_out_of_memory_says_so_and_goes_on_later(tmp_path):
    folder, onwards = tmp_path / "run", ("--device", "cuda", "--iterations", "8")
    code, error = run(folder, "--device", "cuda", "--iterations", "4", "--batch-size", "180", *SMALL)
    assert code == 0, error
    (checkpoint,) = (folder / "checkpoints").glob("iteration-*")
    saved = checkpoint.read_bytes()
    for memory in (1_000_000, 5_000_000):
        code, error = resume(folder, *onwards, settings=f"memory={memory}")
        assert code == 1
        assert re.search(r"Out of memory allocating [\d,]+ bytes", error)
    assert "step 5: " in error  # with more memory than the weights take, and less than a step does
    assert "Use a smaller --batch-size." in error
    assert checkpoint.read_bytes() == saved
    code, error = resume(folder, *onwards)
    assert code == 0, error


def test_an_illegal_address_ends_a_run_with_the_kernels_name(tmp_path):
    program = """
        import sys, numpy
        from xpnet.cli.train import main
        from xpnet.kernels import cuda_kernels
        launch = cuda_kernels._launch

        def launch_elsewhere(kernel, grid, block, theta, *others):
            launch(kernel, grid, block, numpy.intp(4096) if kernel == "optimizers/moving_average" else theta, *others)

        cuda_kernels._launch = launch_elsewhere
        sys.exit(main(sys.argv[1:]))
    """
    folder = tmp_path / "run"
    command = [sys.executable, "-c", textwrap.dedent(program), "--device", "cuda", "--out", folder, *SMALL]
    environment = {**os.environ, "EMULATED_CUDA": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Test accuracy" not in done.stdout
    assert "illegal memory access" in done.stderr
    assert "At the launch of optimizers/moving_average." in done.stderr
    assert not (folder / "weights.safetensors").exists()


def test_a_run_goes_from_one_device_to_another(tmp_path):
    """Four iterations on each of three devices come to what twelve on the CPU do, but for rounding."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(whole, "--iterations", "12", *SMALL)[0] == 0
    assert run(parts, "--iterations", "4", *SMALL)[0] == 0
    for device, iterations in (("cuda:1", "8"), ("cpu", "12")):
        code, error = resume(parts, "--device", device, "--iterations", iterations, settings="devices=2")
        assert code == 0, error
    theirs, ours = (Network.load(folder / "weights.safetensors").theta for folder in (whole, parts))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)
