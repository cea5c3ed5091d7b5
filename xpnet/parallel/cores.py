"""The cores of a machine, which its ranks share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress


def available() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def share(cores: Sequence[int], rank: int, size: int) -> list[int]:
    """The cores of one of so many ranks; of more ranks than cores several have the same one."""
    if size > len(cores):
        return [cores[rank % len(cores)]]
    return list(cores[len(cores) * rank // size : len(cores) * (rank + 1) // size])


def bind(cores: Sequence[int]) -> None:
    """Keep all threads of this process, and those that they start, on these cores; only Linux can."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # one that has ended meanwhile
            os.sched_setaffinity(int(thread), cores)
