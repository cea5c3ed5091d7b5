"""Whether probabilities say how often predictions are right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xpnet.errors import InputError
from xpnet.metrics.classes import Floats, Integers, check_class_indices, check_same_length, fraction
from xpnet.shapes import check_positive


class Calibration(NamedTuple):
    """Examples in bins of confidence: how many each has, their mean confidence and accuracy (NaN in an empty bin).

    Notes
    -----
    Shapes: each (bins,); bin m holds confidences in (m/bins, (m + 1)/bins].
    """

    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def error(self) -> float:
        r"""Expected calibration error.

        Notes
        -----
        .. math:: \mathrm{ECE} = \sum_m \frac{\mathrm{counts}_m}{N} \, |\mathrm{accuracy}_m - \mathrm{confidence}_m|
        """
        filled = self.counts > 0
        gaps = np.abs(self.accuracy - self.confidence)[filled]
        return float(gaps @ self.counts[filled] / self.counts.sum())


def calibration(probabilities: Floats, labels: Integers, bins: int = 15) -> Calibration:
    """Whether predictions are right as often as their probabilities say.

    The confidence of a prediction is the probability of its class, the largest.

    Raises
    ------
    InputError
        For other shapes and values, labels out of range, or no example.

    Notes
    -----
    Shapes: probabilities (N, classes) in [0, 1], labels (N,), bins >= 1.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
    """
    where = "calibration"
    if probabilities.ndim != 2 or probabilities.size == 0:
        raise InputError(
            f"{where}: expected probabilities (N, classes) with N >= 1, got shape {probabilities.shape}. "
            "Pass one row of probabilities for each example."
        )
    check_positive(where, "number of bins", bins)
    check_class_indices(where, "labels", labels, probabilities.shape[1])
    check_same_length(where, "probabilities", probabilities, labels)
    predictions = probabilities.argmax(axis=1)
    confidence = probabilities[np.arange(len(labels)), predictions].astype(np.float64)
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise InputError(
            f"{where}: expected probabilities in [0, 1], got {confidence.max()}. Pass the softmax of logits."
        )
    places = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(places, minlength=bins)
    return Calibration(
        counts,
        fraction(np.bincount(places, confidence, bins), counts),
        fraction(np.bincount(places, predictions == labels, bins), counts),
    )
