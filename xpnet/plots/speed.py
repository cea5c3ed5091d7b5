"""How long steps take beside other libraries, and with more threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from xpnet.plots.style import BAR_COLOURS, HATCHES, PAGE_WIDTH, STYLE, Floats, make_figure


@rc_context(STYLE)
def relative_times(groups: Sequence[str], panels: Mapping[str, Mapping[str, Floats]], reference: str) -> Figure:
    """Draw how long each implementation takes by the reference's time, one panel for each mode.

    A thin line goes from the 10th to the 90th percentile.

    Shapes: each implementation's array (groups, 3) of median, 10th and 90th percentile, NaN where it was not measured.
    """
    implementations = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = dict(zip(implementations, cycle(zip(BAR_COLOURS, HATCHES, strict=True)), strict=False))
    thickness = 0.85 / len(implementations)
    figure = make_figure(PAGE_WIDTH, 1.6 + len(groups) * (0.15 + 0.14 * len(implementations)))
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axes, (title, panel) in zip(grid.flat, panels.items(), strict=True):
        for name, times in panel.items():
            place = np.arange(len(groups)) + thickness * (implementations.index(name) + 0.5) - 0.425
            median, low, high = times.T
            style = {"color": colours[name][0], "hatch": colours[name][1], "edgecolor": "white", "linewidth": 0}
            axes.barh(place, median, thickness, label=name, **style)
            axes.hlines(place, low, high, color="0.3", linewidth=0.6, zorder=2)
        # A few calls that others disturbed must not shrink the bars to nothing.
        widest = max((np.nanmax(times[:, 0]) for times in panel.values() if np.isfinite(times[:, 0]).any()), default=1)
        axes.set(title=title, xlabel=f"Time, {reference} = 1", xlim=(0, 1.2 * widest))
        axes.axvline(1, color="black", linewidth=0.8)
        axes.grid(visible=True, axis="x")
    axes = figure.axes[0]
    axes.set_yticks(range(len(groups)), groups)
    axes.invert_yaxis()
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


@rc_context(STYLE)
def scaling_curves(panels: Mapping[str, Mapping[str, Floats]], guide: str) -> Figure:
    """Draw microseconds per image against what is varied in four panels, both axes logarithmic.

    The curve named ``guide`` is what the others are held against, a thin line.

    Shapes: each curve (points, 2) of what is varied and microseconds.
    """
    figure = make_figure(PAGE_WIDTH, 5.6)
    for axes, (varied, curves) in zip(figure.subplots(2, 2).flat, panels.items(), strict=True):
        for name, points in curves.items():
            style = {"color": "0.5", "linestyle": ":", "marker": "", "linewidth": 1.0} if name == guide else {}
            axes.plot(points[:, 0], points[:, 1], label=name, **style)
        axes.set(xscale="log", yscale="log", xlabel=varied)
        ticks = next(iter(curves.values()))[:, 0]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.minorticks_off()
        axes.grid(visible=True)
    for row in (0, 2):
        figure.axes[row].set_ylabel("Microseconds per image")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    figure.suptitle("A training step")
    return figure


@rc_context(STYLE)
def efficiency_curves(ranks: Floats, curves: Mapping[str, Floats], points: Mapping[str, tuple[int, float]]) -> Figure:
    """Draw the share of many devices' speed that each curve keeps, and published points with their names.

    Shapes: each curve (ranks,), from 0 to 1.
    """
    figure = make_figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    for name, efficiency in curves.items():
        axes.plot(ranks, 100 * np.asarray(efficiency), label=name)
    for number, (name, (count, efficiency)) in enumerate(points.items()):
        axes.plot(count, 100 * efficiency, color="black", marker="x", linestyle="", markersize=6)
        beside = {"xytext": (0, -14 - 10 * (number % 2)), "textcoords": "offset points", "ha": "center"}
        axes.annotate(name, (count, 100 * efficiency), **beside)
    axes.set(xscale="log", xlabel="GPUs", ylabel="Efficiency, %", ylim=(50, 102))
    axes.set_xticks(ranks, [f"{count:,.0f}" for count in ranks])
    axes.minorticks_off()
    axes.grid(visible=True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
