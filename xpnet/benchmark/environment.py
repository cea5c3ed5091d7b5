"""What a measurement depends on beside the code."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import xpnet
from xpnet import kernels
from xpnet.provenance import blas, code_version, processor

_LIBRARIES = (
    "numpy",
    "cupy-cuda13x",
    "cupy-cuda12x",
    "nvidia-cudnn-cu13",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-frontend",
    "torch",
    "jax",
    "scikit-learn",
)


def describe(device: str, threads: int) -> dict[str, Any]:
    """The machine, its libraries and their settings, as JSON can hold them."""
    return {
        "code": code_version(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": _load_average(),
        "gpu": _gpu(device) if device != "cpu" else None,
        "system": platform.platform(),
        "blas": blas(),
        **kernels.versions("numpy"),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE"),
        "malloc": "kept by xpnet's processes (glibc's mallopt), as it comes in the others'"
        if platform.libc_ver()[0] == "glibc"
        else "as it comes",
        "versions": {"xpnet": xpnet.__version__, "python": platform.python_version(), **_versions()},
    }


def _load_average() -> float | None:
    """Processes that wanted a core in the last minute: above 0 before the start, the machine was shared."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def _gpu(device: str) -> str | None:
    """Name and driver of a GPU, by its address: nvidia-smi numbers them in another order than CUDA, and all of them."""
    address = import_module("cupy").cuda.runtime.deviceGetPCIBusId(int(device.removeprefix("cuda:")))
    query = ["nvidia-smi", f"--id={address}", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
