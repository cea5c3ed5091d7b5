"""ONNX's operators on arrays of any library: one table, from an operator's name to its function."""

from collections.abc import Mapping

from xpnet.onnx.operators import (
    attention,
    elementwise,
    indexing,
    products,
    reductions,
    resizing,
    shaping,
    training,
    windows,
)
from xpnet.onnx.operators.call import Call, Operator

__all__ = ["DOMAINS", "OPERATORS", "Call", "Operator"]

OPERATORS: Mapping[str, Operator] = {
    **attention.OPERATORS,
    **elementwise.OPERATORS,
    **indexing.OPERATORS,
    **products.OPERATORS,
    **reductions.OPERATORS,
    **resizing.OPERATORS,
    **shaping.OPERATORS,
    **training.OPERATORS,
    **windows.OPERATORS,
}
DOMAINS: Mapping[str, Mapping[str, Operator]] = {
    "": OPERATORS,
    "ai.onnx": OPERATORS,
    "ai.onnx.preview.training": training.TRAINING,
}
"""The operators of each domain that is known."""
