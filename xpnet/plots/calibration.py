"""How far predictions are as right as they are sure."""

from __future__ import annotations

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from xpnet.metrics import Calibration
from xpnet.plots.style import BLUE, STYLE, VERMILLION, make_figure

_SIDE = 3.6  # inches


@rc_context(STYLE)
def calibration(bins: Calibration) -> Figure:
    """Draw a reliability diagram: the accuracy of each bin of confidences, above how many examples it has.

    The bars of perfectly calibrated predictions reach the diagonal; shorter ones say that a network is too sure of
    itself. The number of examples is on a logarithmic scale.

    References
    ----------
    Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, figure 4.
    """
    figure = make_figure(_SIDE, _SIDE + 1.2)
    axes, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    width = 1 / len(bins.counts)
    centres = (np.arange(len(bins.counts)) + 0.5) * width
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", marker="", linewidth=1.0, label="Perfectly calibrated")
    axes.bar(centres, np.nan_to_num(bins.accuracy), 0.9 * width, color=BLUE)
    dots = {"color": VERMILLION, "linestyle": "", "marker": "o", "label": "Mean confidence"}
    axes.plot(bins.confidence, bins.accuracy, **dots)
    axes.set(title=f"Calibration (expected error {bins.error:.2%})", ylabel="Accuracy", xlim=(0, 1), ylim=(0, 1.02))
    below.bar(centres, bins.counts, 0.9 * width, color="0.6")
    below.set(xlabel="Confidence: probability of the predicted class", ylabel="Examples", yscale="symlog")
    below.yaxis.set_major_formatter("{x:,g}")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
