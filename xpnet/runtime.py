"""What a program changes about its own process so that training is fast: threads, kernels, the allocator."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform

from xpnet import kernels
from xpnet.errors import InputError
from xpnet.kernels import sharing
from xpnet.shapes import check_positive

_MOST_THREADS = 1024  # not this machine's cores: a run that is resumed may have begun on a larger one


def configure(
    threads: int | None = None,
    choice: str = "fastest",
    no_malloc_tuning: bool = False,
    precision: str = "float32",
    *,
    graph: bool = False,
    deterministic: bool = False,
    backend: str | None = None,
) -> None:
    """Let so many threads (None: one for each core) share convolutions, choose kernels, and keep freed memory.

    With ``graph`` the kernels are those that a CUDA graph can hold. With ``deterministic`` libraries are told to give
    the same bits each time, on a GPU too (PyTorch only if it is the ``backend``). It may not hold for one that has
    computed something already.

    It changes the process, so programs do it, never the library on import.

    Raises InputError unless there are 1 to 1024 threads (or as many as cores), and for unknown kernels or precision.
    """
    count = cores() if threads is None else _checked_threads(threads)
    sharing.set_threads(count)
    kernels.use(choice, precision, recordable=graph, deterministic=deterministic)
    if deterministic:
        _be_deterministic(backend)
    if not no_malloc_tuning:
        keep_freed_memory()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked_threads(threads: int) -> int:
    most = max(_MOST_THREADS, cores())
    if check_positive("--threads", "the number", threads) > most:
        raise InputError(f"--threads: expected at most {most}, got {threads}. Give one for each core.")
    return threads


def _be_deterministic(backend: str | None) -> None:
    """Tell cuBLAS and XLA through what they read when they start, and PyTorch by a call.

    Source: PyTorch, "Reproducibility"; XLA, "Determinism"; cuBLAS, section "Results reproducibility".
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if backend == "torch":
        torch = importlib.import_module("torch")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # what is read is written first


def keep_freed_memory() -> None:
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
