"""What kernels win: a process without one of them, in which those after it in the table compute instead."""

from __future__ import annotations

from collections.abc import Mapping

from xpnet.kernels import table

# Those of NumPy are measured beside a process without oneDNN, which comes before them.
_ONEDNN = [("onednn_kernels", operation) for operation in table.TABLE]
LEFT_OUT: Mapping[str, list[tuple[str, str]]] = {
    "onednn": _ONEDNN,
    "conv2d": [*_ONEDNN, ("numpy_kernels", "conv2d")],
    "conv2d_backward": [*_ONEDNN, ("numpy_kernels", "conv2d_backward")],
    "max_pool2d": [*_ONEDNN, ("numpy_pooling", "max_pool2d"), ("numpy_pooling", "max_pool2d_with_winners")],
    "softmax_cross_entropy": [*_ONEDNN, ("numpy_loss", "softmax_cross_entropy"), ("numpy_loss", "accuracy")],
    "optimizer_update": [("blockwise", "optimizer_update")],
}


def leave_out(kernel: str) -> None:
    """Do without a kernel in this whole process."""
    for module, operation in LEFT_OUT[kernel]:
        table.leave_out(module, operation)
