"""What all plots share: sizes, colours, saving, and axes with plain digits.

Line colours: Okabe and Ito, "Color Universal Design", 2008. Lines differ in dashes and markers too, and the confusion
matrix in lightness, so that they can be read in a grey print.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from xpnet.errors import InputError
from xpnet.files import check_held

Columns = Mapping[str, Sequence[float | None] | NDArray[np.float64]]
Integers = NDArray[np.integer]
Floats = NDArray[np.floating]

PAGE_WIDTH = 6.5  # inches, of the text on a printed page
TITLE_WIDTH = 4.2  # inches, that the longest title needs
SMALLEST_TEXT = 5.0  # points, that can still be read in print
DIGIT_WIDTH = 0.64  # of the font size, in DejaVu Sans

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
BAR_COLOURS = (
    *(BLUE, "#56B4E9", GREEN, VERMILLION, "#E69F00", "#F0E442"),
    *("#CC79A7", "#999999", "#332288", "#AA4499", "#882255"),
)
RUN_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, "#E69F00", "#56B4E9", "#332288", "#999999")
HATCHES = ("", "//", "..", "", "\\\\", "xx", "--", "", "++", "||", "oo")
STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": "figure",
    "font.family": "DejaVu Sans",  # the one that comes with matplotlib
    "font.size": 9,
    "text.parse_math": False,  # a dollar sign in a class name is a dollar sign
    "figure.titlesize": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "axes.prop_cycle": cycler(
        color=[BLUE, VERMILLION, GREEN, PURPLE], linestyle=["-", "--", "-.", ":"], marker=["o", "s", "^", "D"]
    ),
    "image.interpolation": "nearest",
}
ACCURACIES = {"train_accuracy": "Training", "validation_accuracy": "Validation"}


@rc_context(STYLE)
def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to ``path``, whose suffix (.png, .pdf, .svg) gives the format; its folder is made if need be.

    Raises
    ------
    InputError
        If it is not written: an unknown format, a folder that cannot be made.
    """
    check_suffix(path)
    check_held(Path(path))
    folder = Path(path).parent
    if folder.exists() and not folder.is_dir():
        raise InputError(
            f"Plot {path}: expected {folder} to be a folder, found a file. Move it, or choose another place."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"Plot {path}: cannot be written ({reason}). Choose another path, or .png.") from error


def check_suffix(path: str | PathLike[str]) -> None:
    """Raise InputError unless the suffix of a file says in which format a figure is to be written.

    Without one matplotlib would write another file, with .png behind the name.
    """
    suffix = Path(path).suffix
    if suffix[1:].lower() not in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"Plot {path}: expected a name that ends in .png, .pdf or .svg, got {suffix!r}. Change it.")


def make_figure(width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def label_powers(axis: Axis, most: int = 6) -> None:
    """Label a logarithmic axis in plain digits: the usual exponents would need mathematical text.

    There are at most so many labels, at round numbers, unless the powers of ten alone are more.
    """
    low, high = axis.get_view_interval()
    locators: list[Locator] = [LogLocator(subs=subs) for subs in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))]
    if high < 3 * low:  # where powers of ten are too far apart
        locators = [MaxNLocator(most, steps=[1, 2, 5, 10])]
    places = [[tick for tick in locator.tick_values(low, high) if low <= tick <= high] for locator in locators]
    chosen = next((index for index, ticks in enumerate(places) if len(ticks) <= most), -1)
    axis.set_major_locator(locators[chosen])
    is_small = min(places[chosen], default=1.0) < 9e-5
    axis.set_major_formatter(lambda tick, place: f"{tick:.0e}".replace("e-0", "e-") if is_small else f"{tick:g}")
    axis.set_minor_locator(NullLocator())


def write_instead(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    axes.set_axis_off()


def shorten(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"
