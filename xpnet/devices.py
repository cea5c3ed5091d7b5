"""What the names of a device and an array library stand for: a namespace and one of its devices.

Apart from ``backend.py``, ``compile.py``, the kernels for one library and the engines of ``parallel/``, no other file
imports an array library by name.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from xpnet.checks import import_library
from xpnet.errors import InputError

BACKENDS = ("numpy", "cupy", "torch", "jax")
DEVICES = ("cpu", "cuda", "cuda:N", "mps", "auto")


class Found(NamedTuple):
    """An array library, the functions of its namespace, and a device."""

    name: str
    xp: Any
    device: Any


def check_names(device: str, backend: str | None) -> None:
    """Raise InputError for names of a device or an array library that cannot be."""
    family, colon, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if family not in ("cpu", "cuda", "mps", "auto") or (colon and not (family == "cuda" and index.isdecimal())):
        raise InputError(f"device {device!r}: expected one of {', '.join(DEVICES)}. Choose one of these.")
    if backend not in (None, *BACKENDS):
        raise InputError(f"backend {backend!r}: expected one of {', '.join(BACKENDS)}. Choose one of these.")


def find(device: str, backend: str | None) -> Found:
    """The array library and device of these names, as in ``backend.resolve``."""
    check_names(device, backend)
    family, _, index = device.partition(":")
    if backend is None:
        return _default(family, device, index)
    return _FINDERS[backend](family, device, index)


def _default(family: str, device: str, index: str) -> Found:
    if family == "mps":
        raise InputError("device 'mps': NumPy and CuPy have no such device. Add backend='torch', or use device='cpu'.")
    if family == "cuda":
        return _cupy(family, device, index)
    if family == "auto":
        try:
            return _cupy(family, device, index)
        except InputError:
            pass
    return _numpy("cpu", "cpu", "")


def _numpy(family: str, device: str, index: str) -> Found:
    if family not in ("cpu", "auto"):
        raise InputError(f"device {device!r}: NumPy computes on the CPU. Use device='cpu', or leave backend out.")
    return Found("numpy", importlib.import_module("array_api_compat.numpy"), "cpu")


def _cupy(family: str, device: str, index: str) -> Found:
    if family not in ("cuda", "auto"):
        raise InputError(f"device {device!r}: CuPy computes on CUDA GPUs. Use device='cuda', or leave backend out.")
    cupy = import_library(
        "cupy",
        f"device {device!r}: CuPy is not installed. Install it with: "
        'pip install "xpnet[cuda13]" (CUDA 13) or "xpnet[cuda12]"; or run with device=\'cpu\'.',
    )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device {device!r}: CuPy is installed but finds no usable CUDA driver ({reason}). "
            "Check that nvidia-smi lists a GPU; or run with device='cpu'."
        ) from error
    number = int(index or 0)
    if number >= count:
        raise InputError(f"device {device!r}: {_found(count)}. {_choose(count)}")
    chosen = cupy.cuda.Device(number)
    try:
        chosen.use()  # for those who call layers on their own
    except cupy.cuda.runtime.CUDARuntimeError as error:  # of a device whose memory others have filled
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device {device!r}: the device cannot be used ({reason}). "
            "See in nvidia-smi who uses it; choose another, or device='cpu'."
        ) from error
    return Found("cupy", importlib.import_module("array_api_compat.cupy"), chosen)


def _torch(family: str, device: str, index: str) -> Found:
    torch = import_library(
        "torch",
        "backend 'torch': PyTorch is not installed. "
        'Install it with: pip install "xpnet[torch]"; or leave backend out.',
    )
    if family == "auto":
        family = device = "cuda" if torch.cuda.is_available() else "cpu"
    if family == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps': PyTorch finds no Apple GPU here. Use device='cpu'.")
    if family == "cuda":
        count = torch.cuda.device_count()
        if int(index or 0) >= count:
            raise InputError(f"device {device!r}: with PyTorch, {_found(count)}. {_choose(count)}")
    return Found("torch", importlib.import_module("array_api_compat.torch"), torch.device(device))


def _jax(family: str, device: str, index: str) -> Found:
    jax = import_library(
        "jax",
        "backend 'jax': JAX is not installed. Install it with: pip install \"xpnet[jax]\"; or leave backend out.",
    )
    if family == "mps":
        raise InputError("device 'mps': JAX is supported on cpu and cuda. Use backend='torch', or device='cpu'.")
    if family == "auto":
        family = "cuda" if jax.default_backend() == "gpu" else "cpu"
    try:
        devices = jax.devices("cpu" if family == "cpu" else "gpu")
    except RuntimeError:
        devices = []
    number = int(index or 0)
    if number >= len(devices):
        raise InputError(f"device {device!r}: with JAX, {_found(len(devices))}. {_choose(len(devices))}")
    return Found("jax", importlib.import_module("jax.numpy"), devices[number])


_FINDERS = {"numpy": _numpy, "cupy": _cupy, "torch": _torch, "jax": _jax}


def _found(count: int) -> str:
    return f"{count or 'no'} CUDA device{'s' if count != 1 else ''} found"


def _choose(count: int) -> str:
    if count == 0:
        return "Use device='cpu'."
    return "Use device='cuda:0'" + (f" to cuda:{count - 1}." if count > 1 else ".")
