"""What a program changes about its own process so that training is fast: threads, kernels, the allocator."""

from __future__ import annotations

import ctypes
import os
import platform

from xpnet import kernels
from xpnet.kernels import sharing
from xpnet.shapes import check_positive


def tune(
    threads: int | None = None,
    choice: str = "fastest",
    no_malloc_tuning: bool = False,
    precision: str = "float32",
) -> None:
    """Let so many threads (None: one for each core) share convolutions, choose kernels, and keep freed memory.

    It changes the process, so programs do it, never the library on import.

    Raises InputError unless there is at least one thread, and for kernels or a precision that there are not.
    """
    count = check_positive("--threads", "the number", threads) if threads is not None else cores()
    sharing.set_threads(count)
    kernels.use(choice, precision)
    if not no_malloc_tuning:
        _tune_malloc()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tune_malloc() -> None:
    """Let glibc keep freed memory instead of giving it back to the system after every array, for all threads alike.

    Page faults of fresh arrays otherwise cost up to half of a training step on the CPU. Elsewhere than on glibc nothing
    happens.  Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # the parameters' numbers in malloc.h
    for parameter, value in ((mmap_max, 0), (trim_threshold, -1), (top_pad, 64 * 1024 * 1024), (arena_max, 1)):
        libc.mallopt(parameter, value)
