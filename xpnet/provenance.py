"""What a measurement was made with."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

import xpnet
from xpnet import kernels
from xpnet.backend import Backend

_ROOT = Path(xpnet.__file__).parents[1]
_CPU_INFO = Path("/proc/cpuinfo")


def processor() -> str:
    """The processor's name, which Linux tells in a file only."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def blas() -> list[dict[str, Any]]:
    """NumPy's BLAS, and others that are loaded; ``kernel`` is the processor that its products are written for."""
    return [
        {"library": pool["internal_api"], "version": pool["version"], "kernel": pool.get("architecture")}
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]


def versions(backend: Backend) -> dict[str, str]:
    """The versions that a result depends on; oneDNN's, which serves NumPy, with the instruction set it compiles for."""
    return {
        "xpnet": xpnet.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        backend.name: backend.version(),
        **kernels.versions(backend.name),
    }


def code_version() -> str:
    """The commit of a clone's code, with -dirty behind it if the code was changed since; elsewhere xpnet's version."""
    if not (_ROOT / ".git").exists():  # an installed xpnet, which may lie in the clone of something else
        return xpnet.__version__
    try:
        commit, changes = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "--", "xpnet")
    except (OSError, subprocess.CalledProcessError):
        return xpnet.__version__
    return f"{commit}-dirty" if changes else commit


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
