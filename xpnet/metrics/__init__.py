"""Metrics of classes and of real numbers. They run on the host: NumPy arrays in, NumPy arrays or floats out."""

from xpnet.metrics.classes import (
    accuracy,
    confusion_matrix,
    f1,
    iou,
    log_softmax,
    precision,
    recall,
    top_k_accuracy,
)
from xpnet.metrics.confidence import Calibration, calibration
from xpnet.metrics.regression import mean_absolute_error, r2_score, root_mean_squared_error

__all__ = [
    "Calibration",
    "accuracy",
    "calibration",
    "confusion_matrix",
    "f1",
    "iou",
    "log_softmax",
    "mean_absolute_error",
    "precision",
    "r2_score",
    "recall",
    "root_mean_squared_error",
    "top_k_accuracy",
]
