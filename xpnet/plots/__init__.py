"""Plots for a report: learning curves, filters, mistakes, the confusion matrix, and how long a step takes.

Each function returns a matplotlib Figure and ``save`` writes it. There is no pyplot here: no display is needed, no
figure outlives its last reference, and the caller's matplotlib settings stay as they are.
"""

from xpnet.plots.calibration import calibration
from xpnet.plots.curves import (
    accuracy_comparison,
    accuracy_curves,
    cost_comparison,
    error_rate_curves,
    history,
    loss_curves,
    run_comparison,
)
from xpnet.plots.images import feature_maps, filters
from xpnet.plots.mistakes import confusion_matrix, misclassified
from xpnet.plots.pixels import segmentation
from xpnet.plots.search import range_test, regularization, search_trials
from xpnet.plots.speed import efficiency_curves, relative_times, scaling_curves
from xpnet.plots.style import check_suffix, save

__all__ = [
    "accuracy_comparison",
    "accuracy_curves",
    "calibration",
    "check_suffix",
    "confusion_matrix",
    "cost_comparison",
    "efficiency_curves",
    "error_rate_curves",
    "feature_maps",
    "filters",
    "history",
    "loss_curves",
    "misclassified",
    "range_test",
    "regularization",
    "relative_times",
    "run_comparison",
    "save",
    "scaling_curves",
    "search_trials",
    "segmentation",
]
