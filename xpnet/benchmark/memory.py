"""How much memory this process took at most, above what it had."""

from __future__ import annotations

import ctypes
import gc
import platform
from pathlib import Path

_PROCESS = Path("/proc/self")


class PeakMemory:
    """The process's largest resident memory since ``restart``, less that at the time of construction.

    Known on Linux only. Source: proc(5), clear_refs and status.
    """

    def __init__(self) -> None:
        gc.collect()
        if platform.libc_ver()[0] == "glibc":
            ctypes.CDLL(None).malloc_trim(0)  # memory that was freed before would hide what is taken after
        self._start = _read("VmRSS")
        self.restart()

    def restart(self) -> None:
        """Forget earlier peaks."""
        if self._start is not None:
            (_PROCESS / "clear_refs").write_text("5")

    def megabytes(self) -> float | None:
        """The peak in units of 10^6 bytes, or None where the system does not say."""
        peak = _read("VmHWM")
        return None if peak is None or self._start is None else (peak - self._start) / 1e6


def _read(field: str) -> int | None:
    """A line of the process's status in bytes."""
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
