"""What each of NumPy's own kernels wins: a process without one of them, which computes by the pure one instead."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from xpnet.kernels import blockwise, numpy_kernels, numpy_pooling, unrolled


def leave_out(kernel: str) -> None:
    """Let the pure kernel serve in this whole process."""
    module, name, replacement = INSTEAD[kernel]
    setattr(module, name, replacement)


def _never(*_: Any) -> bool:
    return False


INSTEAD: Mapping[str, tuple[ModuleType, str, Any]] = {
    "conv2d": (numpy_kernels, "conv2d", unrolled.conv2d),
    "conv2d_backward": (numpy_kernels, "conv2d_backward", unrolled.conv2d_backward),
    "max_pool2d": (numpy_pooling, "pools", _never),
    "optimizer_update": (blockwise, "serves", _never),
}
