"""How the tests start ranks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None, reason="mpi4py or an MPI library is not installed"
)
LIMIT = 120  # seconds, for what takes two


def command(ranks: int, *arguments: str, module: str = "tests.parallel.worker") -> list[str]:
    """So many ranks with the same arguments."""
    return ["-n", str(ranks), sys.executable, "-W", "ignore", "-m", module, *arguments]


def environment(**changes: str) -> dict[str, str]:
    """That of this process, with one thread for each rank."""
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "JAX_ENABLE_X64": "1"}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # that of an emulated device too
    return {**os.environ, **one, "PYTHONPATH": path, **changes}


def start(*commands: Sequence[str], cwd: Path | None = None, **changes: str) -> subprocess.Popen[str]:
    """Start ranks, with different arguments if there are several commands."""
    words = [word for part in commands for word in (":", *part)][1:]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([str(MPIEXEC), *words], text=True, cwd=cwd, env=environment(**changes), **pipes)


def run(*commands: Sequence[str], cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    """The same, waiting for their end."""
    with start(*commands, cwd=cwd, **changes) as process:
        try:
            out, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Two ranks started by torchrun, waiting for their end."""
    words = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run([*words, *arguments], capture_output=True, text=True, env=environment(), timeout=LIMIT)
