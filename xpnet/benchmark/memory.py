"""How much memory an implementation took at most, above what it had: of the process, or of a GPU.

Each class is a context that the first calls of a mode run in: that forgets the peak of the mode before.
"""

from __future__ import annotations

import ctypes
import gc
import platform
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

_PROCESS = Path("/proc/self")


class Memory(Protocol):
    """A watch on the memory that is taken in its context and after."""

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> object: ...

    def megabytes(self) -> float | None:
        """The peak above what there was at the time of construction, in units of 10^6 bytes; None if nobody knows."""
        ...


def watch(library: str, device: str) -> Memory:
    """The memory of a library's arrays on a device."""
    if device == "cpu":
        return ProcessMemory()
    kinds = {"torch": TorchMemory, "cupy": CupyMemory}
    return kinds[library](device) if library in kinds else UnknownMemory()


class UnknownMemory:
    """JAX tells the largest memory that a process ever took on a GPU, not that of a part of its work."""

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def megabytes(self) -> None:
        """See ``Memory``."""


class ProcessMemory:
    """The process's resident memory.

    Known on Linux only. Source: proc(5), clear_refs and status.
    """

    def __init__(self) -> None:
        gc.collect()
        if platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)  # memory that was freed before would hide what is taken after
        self._start = _read("VmRSS")

    def __enter__(self) -> None:
        if self._start is not None:
            (_PROCESS / "clear_refs").write_text("5")

    def __exit__(self, *error: object) -> None: ...

    def megabytes(self) -> float | None:
        """See ``Memory``."""
        peak = _read("VmHWM")
        return None if peak is None or self._start is None else (peak - self._start) / 1e6


class TorchMemory:
    """What PyTorch's allocator has handed out on a GPU."""

    def __init__(self, device: str) -> None:
        self._cuda, self._device = import_module("torch").cuda, device
        self._start = self._cuda.memory_allocated(device)

    def __enter__(self) -> None:
        self._cuda.reset_peak_memory_stats(self._device)

    def __exit__(self, *error: object) -> None: ...

    def megabytes(self) -> float:
        """See ``Memory``."""
        return (self._cuda.max_memory_allocated(self._device) - self._start) / 1e6


class CupyMemory:
    """What CuPy's pools, those of graphs included, have handed out on a GPU in the context.

    Not after it: a hook would cost time in every allocation. Source: CuPy, ``cupy.cuda.MemoryHook``.
    """

    def __init__(self, device: str) -> None:
        cupy: Any = import_module("cupy")
        self._pool = cupy.get_default_memory_pool()
        self._start, self._used, self._peak = self._pool.used_bytes(), 0, 0
        methods = {
            "name": "xpnet.benchmark",
            "malloc_postprocess": lambda _, **call: self._take(call["mem_size"]),
            "free_postprocess": lambda _, **call: self._take(-call["mem_size"]),
        }
        self._hook = type("Hook", (cupy.cuda.MemoryHook,), methods)()

    def __enter__(self) -> None:
        self._used = self._peak = self._pool.used_bytes() - self._start
        self._hook.__enter__()

    def __exit__(self, *error: object) -> None:
        self._hook.__exit__(*error)

    def megabytes(self) -> float:
        """See ``Memory``."""
        return self._peak / 1e6

    def _take(self, size: int) -> None:
        self._used += size
        self._peak = max(self._peak, self._used)


def _read(field: str) -> int | None:
    """A line of the process's status in bytes."""
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
