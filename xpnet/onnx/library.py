"""The package onnx, an extra, imported when it is first needed."""

from __future__ import annotations

from typing import Any

from xpnet.checks import import_library


def load_onnx() -> Any:
    """The package onnx. Raises InputError, saying how to install it, where it is missing."""
    return import_library(
        "onnx", 'ONNX: the package onnx is not installed. Install it with: pip install "xpnet[onnx]".'
    )
