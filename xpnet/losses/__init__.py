"""Losses: a number to minimise and its gradient."""

from collections.abc import Mapping

from xpnet.losses.base import Loss, LossForward, checked_loss
from xpnet.losses.binary import BinaryCrossEntropy
from xpnet.losses.classification import Focal, SoftmaxCrossEntropy
from xpnet.losses.regression import Huber, MeanAbsoluteError, MeanSquaredError

__all__ = [
    "CLASS_LOSSES",
    "LOSSES",
    "BinaryCrossEntropy",
    "Focal",
    "Huber",
    "Loss",
    "LossForward",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SoftmaxCrossEntropy",
    "checked_loss",
]

LOSSES: Mapping[str, type[Loss]] = {
    "cross-entropy": SoftmaxCrossEntropy,
    "binary-cross-entropy": BinaryCrossEntropy,
    "focal": Focal,
    "mean-squared-error": MeanSquaredError,
    "mean-absolute-error": MeanAbsoluteError,
    "huber": Huber,
}
"""Their classes by name."""

CLASS_LOSSES: Mapping[str, type[Loss]] = {
    name: kind for name, kind in LOSSES.items() if kind.target == "classes" or kind is MeanSquaredError
}
"""Those that take class numbers, one output for each class."""
