"""The trials of a search, a learning-rate range test, and regularisation against none."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xpnet.plots.style import BLUE, GREEN, PAGE_WIDTH, STYLE, VERMILLION, Floats, label_powers, make_figure


@rc_context(STYLE)
def search_trials(
    accuracies: Floats,
    completed: NDArray[np.bool_],
    parameters: Mapping[str, Sequence[Any]],
    logarithmic: Collection[str] = (),
) -> Figure:
    """Draw the validation error of every trial against its number and against each parameter.

    The parameters in ``logarithmic`` are on a logarithmic scale unless one is 0, texts are categories. Pruned trials
    are crosses.

    Shapes: accuracies (T,), fractions in [0, 1]; completed (T,); parameters by label, T values each.
    """
    errors = np.maximum(100 * (1 - accuracies), 0.01)  # the scale has no 0
    panels: dict[str, Sequence[Any]] = {"Trial": range(len(errors)), **parameters}
    columns = 3 if len(panels) > 4 else min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    figure = make_figure(PAGE_WIDTH, 2.4 * rows + 0.3)
    figure.suptitle("Validation error of each trial")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (label, values) in zip(grid.flat, panels.items(), strict=False):
        places = np.asarray(values)
        if places.dtype.kind in "US":
            kinds = sorted(set(values), key=lambda text: (len(text), text))
            axes.set_xticks(range(len(kinds)), kinds, rotation=30)
            axes.set_xlim(-0.5, len(kinds) - 0.5)
            places = np.asarray([kinds.index(text) for text in values])
        elif label in logarithmic and places.min() > 0:
            axes.set_xscale("log")
        axes.plot(places[completed], errors[completed], "o", color=BLUE, label="Completed")
        axes.plot(places[~completed], errors[~completed], "x", color=VERMILLION, label="Given up")
        axes.set(xlabel=label, yscale="log")
        axes.grid(visible=True)
        if axes.get_xscale() == "log":
            label_powers(axes.xaxis, most=4)
    first = grid.flat[0]
    best = np.fmin.accumulate(np.where(completed, errors, np.nan))
    first.plot(best, drawstyle="steps-post", linestyle="-", marker="", color=GREEN, label="Best so far")
    first.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    for axes in grid[:, 0]:
        axes.set_ylabel("Error (%)")
        label_powers(axes.yaxis)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@rc_context(STYLE)
def range_test(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], suggestion: float | None
) -> Figure:
    """Draw the loss of a learning-rate range test against the rate, on a logarithmic scale, and the suggested rate.

    The axis ends at twice the first smoothed loss: what lies above is the divergence.
    """
    figure = make_figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    axes.semilogx(rates, losses, "-", marker="", color="0.75", linewidth=0.8, label="One batch")
    axes.semilogx(rates, smoothed, "-", marker="", color=BLUE, label="Smoothed")
    if suggestion is not None:
        label = f"A tenth of the rate of the lowest: {suggestion:.2g}"
        axes.axvline(suggestion, color=VERMILLION, linestyle="--", label=label)
    label_powers(axes.xaxis)
    axes.set(title="Learning-rate range test", xlabel="Learning rate", ylabel="Loss", ylim=(0, 2 * smoothed[0]))
    axes.grid(visible=True)
    axes.legend()
    return figure


@rc_context(STYLE)
def regularization(epochs: Sequence[float], validation: Mapping[str, Mapping[str, Floats]]) -> Figure:
    """Draw validation accuracies, a panel for each kind of regularisation and a line for each strength.

    A line is the median of the seeds, the band around it goes from the lowest to the highest.

    Shapes: validation by title and label, (seeds, reports), fractions in [0, 1]; epochs (reports,).
    """
    figure = make_figure(PAGE_WIDTH, 3.4)
    grid = figure.subplots(1, len(validation), sharey=True, squeeze=False)
    for axes, (title, lines) in zip(grid.flat, validation.items(), strict=True):
        looks = zip(cycle(["0.3", BLUE, VERMILLION, GREEN]), cycle(["-", "--", ":"]), strict=False)  # 12 different ones
        for (label, accuracies), (colour, style) in zip(lines.items(), looks, strict=False):
            low, middle, high = 100 * np.quantile(accuracies, (0, 0.5, 1), axis=0)
            axes.plot(epochs, middle, style, marker="", color=colour, label=label)
            axes.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(title=title, xlabel="Epoch")
        axes.grid(visible=True)
        axes.legend()
    grid[0, 0].set_ylabel("Validation accuracy (%)")
    best = 100 * max(float(np.median(a, axis=0).max()) for lines in validation.values() for a in lines.values())
    figure.suptitle("Validation accuracy: median of the seeds, and their range")
    grid[0, 0].set_ylim(best - 15, min(best + 3, 101))  # the first reports, far below, would press the rest together
    return figure
