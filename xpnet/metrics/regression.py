"""Metrics of real numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import InputError
from xpnet.metrics.classes import Reals


def r2_score(targets: Reals, predictions: Reals) -> float:
    r"""Coefficient of determination R²: 1 if all predictions are right, 0 for predicting the mean of the targets.

    Of several outputs it is the mean. For an output whose targets are all equal it is 1 if all predictions are right,
    else 0.

    Raises
    ------
    InputError
        For other shapes, no example, or anything but real numbers.

    Notes
    -----
    .. math:: R^2 = 1 - \frac{\sum_n (t_n - y_n)^2}{\sum_n (t_n - \bar t)^2}

    Shapes: targets (N,), (N, 1) or (N, K), predictions of the same shape -> a float of at most 1.

    References
    ----------
    Draper and Smith, "Applied Regression Analysis", 3rd edition, 1998, section 1.3.
    """
    t, y = _real_pair("r2_score", targets, predictions)
    residual, total = np.sum((t - y) ** 2, axis=0), np.sum((t - t.mean(axis=0)) ** 2, axis=0)
    is_constant = np.ptp(t, axis=0) == 0  # rounding may leave its total a little above 0
    score = 1 - residual / np.where(is_constant, 1, total)
    return float(np.mean(np.where(is_constant, residual == 0, score)))


def mean_absolute_error(targets: Reals, predictions: Reals) -> float:
    r"""Mean absolute difference of predictions and targets, over all outputs, in the unit of the targets.

    Notes
    -----
    .. math:: \mathrm{MAE} = \frac{1}{N K} \sum_{n,k} |t_{nk} - y_{nk}|

    Shapes and errors as ``r2_score``.
    """
    t, y = _real_pair("mean_absolute_error", targets, predictions)
    return float(np.mean(np.abs(t - y)))


def root_mean_squared_error(targets: Reals, predictions: Reals) -> float:
    r"""Root of the mean squared difference of each output, averaged over them, in the unit of the targets.

    Notes
    -----
    .. math:: \mathrm{RMSE} = \frac{1}{K} \sum_k \sqrt{\frac{1}{N} \sum_n (t_{nk} - y_{nk})^2}

    Shapes and errors as ``r2_score``.
    """
    t, y = _real_pair("root_mean_squared_error", targets, predictions)
    return float(np.mean(np.sqrt(np.mean((t - y) ** 2, axis=0))))


def _real_pair(where: str, targets: Reals, predictions: Reals) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as (N, K) of float64, in which integers do not wrap around."""
    for name, values in (("targets", targets), ("predictions", predictions)):
        if not np.issubdtype(values.dtype, np.integer) and not np.issubdtype(values.dtype, np.floating):
            raise InputError(f"{where}: expected {name} to be real numbers, got {values.dtype}. Convert them.")
    t, y = (values[:, None] if values.ndim == 1 else values for values in (targets, predictions))
    if t.ndim != 2 or t.shape != y.shape or t.size == 0:
        raise InputError(
            f"{where}: expected targets (N,) or (N, K) with N >= 1 and predictions of the same shape, got shapes "
            f"{targets.shape} and {predictions.shape}. Pass one prediction for each target."
        )
    return t.astype(np.float64), y.astype(np.float64)
