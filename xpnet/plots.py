"""Figures for a report: learning curves, filters, mistakes, the confusion matrix, and how long a step takes.

Each function returns a matplotlib Figure and `save` writes it. There is no pyplot here: no display is needed,
no figure outlives its last reference, and the caller's matplotlib settings stay as they are.

Line colours: Okabe and Ito, "Color Universal Design", 2008. Lines differ in dashes and markers too, and the
confusion matrix in lightness, so that they can be read in a grey print.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray

from xpnet.datasets.base import Images
from xpnet.errors import InputError
from xpnet.metrics import check_class_indices, check_confusion, check_same_length

__all__ = [
    "accuracy_curves",
    "confusion_matrix",
    "filters",
    "loss_curves",
    "misclassified",
    "relative_times",
    "save",
    "scaling_curves",
]

History = Mapping[str, Sequence[float]]
Integers = NDArray[np.integer]
Floats = NDArray[np.floating]

PAGE_WIDTH = 6.5  # inches, of the text on a printed page
TITLE_WIDTH = 4.2  # inches, that the longest title needs
SMALLEST_TEXT = 5.0  # points, that can still be read in print
DIGIT_WIDTH = 0.64  # of the font size, in DejaVu Sans

BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
BAR_COLOURS = (BLUE, "#56B4E9", GREEN, VERMILLION, "#E69F00", "#F0E442", "#CC79A7", "#999999")
HATCHES = ("", "//", "..", "", "\\\\", "xx", "--", "")
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
    "axes.prop_cycle": cycler(color=[BLUE, VERMILLION, GREEN], linestyle=["-", "--", "-."], marker=["o", "s", "^"]),
    "image.interpolation": "nearest",
}


@rc_context(STYLE)
def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to `path`; the suffix (.png, .pdf, .svg) gives the format."""
    figure.savefig(path)


@rc_context(STYLE)
def loss_curves(history: History) -> Figure:
    """Draw the total loss, the classification loss and the weight-decay loss against the iteration.

    Reads the columns iteration, total_loss, classification_loss and weight_decay_loss; values that are not
    finite leave a gap. Raises InputError for columns of unequal length, a missing one included.
    """
    labels = {
        "total_loss": "Total",
        "classification_loss": "Classification",
        "weight_decay_loss": "Weight decay",
    }
    figure = _figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    _draw_curves(axes, "loss_curves", history, labels)
    axes.set(title="Training loss", ylabel="Loss (nats)", ylim=(0, None))
    return figure


@rc_context(STYLE)
def accuracy_curves(history: History) -> Figure:
    """Draw the training and validation accuracy, in percent, against the iteration.

    Reads the columns iteration, train_accuracy and validation_accuracy, fractions in [0, 1]; values that are
    not finite leave a gap. Raises InputError for columns of unequal length, a missing one included.
    """
    labels = {"train_accuracy": "Training (moving average)", "validation_accuracy": "Validation"}
    figure = _figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    _draw_curves(axes, "accuracy_curves", history, labels, scale=100)
    # The usual margin above a perfect score would show percentages that cannot be.
    axes.set(title="Accuracy", ylabel="Accuracy (%)", ylim=(None, min(axes.get_ylim()[1], 101)))
    return figure


@rc_context(STYLE)
def filters(weight: Floats) -> Figure:
    """Draw the kernels of the first convolution as tiles.

    Three channels are shown as red, green and blue, (w - min w) / (max w - min w) over all filters together;
    one channel in colours symmetric about 0. With any other number of channels the rows are filters and the
    columns input channels, the first 16 of each. Weights that are not finite stay white.

    Shapes: weight (O, kh, kw, C). Raises InputError for other shapes and for an empty weight.
    """
    if weight.ndim != 4 or weight.size == 0:
        raise InputError(
            f"filters: expected a convolution weight (O, kh, kw, C), got shape {weight.shape}. "
            "Give the weight of a Conv2D layer."
        )
    count, height, width, channels = weight.shape
    title = f"Filters of the first convolution ({count} × {height} × {width} × {channels})"
    if channels in (1, 3):
        columns = math.ceil(math.sqrt(count))
        column_names = [f"+{column}" for column in range(columns)]
        row_names = [str(first) for first in range(0, count, columns)]
        return _tile_figure(weight, column_names, row_names, title=title, xlabel="Filter number = row + column")

    kernels = np.moveaxis(weight[:16, :, :, :16], 3, 1)
    rows, columns = kernels.shape[:2]
    return _tile_figure(
        kernels.reshape(rows * columns, height, width, 1),
        [str(channel) for channel in range(columns)],
        [str(number) for number in range(rows)],
        title=title,
        xlabel=f"Input channel ({columns} of {channels})",
        ylabel=f"Filter ({rows} of {count})",
    )


@rc_context(STYLE)
def misclassified(
    images: Images,
    labels: Integers,
    predictions: Integers,
    class_names: Sequence[str],
    probabilities: Floats | None = None,
    limit: int = 25,
) -> Figure:
    """Draw wrongly classified images, each titled "true → predicted (probability of the predicted class)".

    At most `limit` of them: with probabilities those the network was most sure of, otherwise the first ones.

    Shapes: images (N, H, W, 1 or 3) of uint8, labels (N,), predictions (N,), probabilities (N, classes).
    Raises InputError for other shapes, for class indices without a name and for a limit below 1.
    """
    where = "misclassified"
    _check_examples(where, images, labels, predictions, class_names, probabilities)
    if limit < 1:
        raise InputError(f"{where}: expected a limit of at least 1, got {limit}. Say how many images to draw.")
    wrong = np.flatnonzero(labels != predictions)
    if wrong.size == 0:
        figure = _figure(TITLE_WIDTH, 1.2)
        axes = figure.subplots()
        axes.set_title("Misclassified images")
        _write_instead(axes, f"None of {len(images)} images was misclassified.")
        return figure

    explanation = "true → predicted"
    order = ""
    if probabilities is not None:
        sureness = probabilities[wrong, predictions[wrong]]
        wrong = wrong[np.argsort(-sureness, stable=True)]
        explanation = "true → predicted (probability)"
        order = ", most confident first"
    drawn = wrong[:limit]
    titles = _verdicts(labels[drawn], predictions[drawn], class_names)
    if probabilities is not None:
        titles = [f"{title} ({probabilities[n, predictions[n]]:.2f})" for title, n in zip(titles, drawn, strict=True)]

    columns = math.ceil(math.sqrt(drawn.size))
    rows = math.ceil(drawn.size / columns)
    figure = _figure(max(TITLE_WIDTH, columns * PAGE_WIDTH / 5), 1.5 * rows + 0.6)
    figure.suptitle(f"Misclassified images: {drawn.size} of {wrong.size}{order}\n{explanation}")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, title, image in zip(grid.flat, titles, images[drawn], strict=False):
        axes.set_title(title, fontsize=8)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    return figure


@rc_context(STYLE)
def confusion_matrix(matrix: Integers, class_names: Sequence[str]) -> Figure:
    """Draw a confusion matrix: the counts, on a colour for each count's share of its row, the true class.

    The colour grows with the square root of the share, so that the few mistakes of a good classifier show.
    Counts that would be too small to read are left out, and of many classes not every name is written.

    Shapes: matrix (classes, classes), rows true, columns predicted.
    Raises InputError for a matrix that is not square and for another number of names.
    """
    where = "confusion_matrix"
    check_confusion(where, matrix)
    classes = len(matrix)
    if len(class_names) != classes:
        raise InputError(f"{where}: expected {classes} class names, got {len(class_names)}. Name every class once.")
    # A class without examples has a row of zeros, whatever it is divided by.
    percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

    side = min(PAGE_WIDTH - 1.3, 2.2 + 0.3 * classes)
    figure = _figure(side + 1.3, side + 0.4, "compressed")
    axes = figure.subplots()
    axes.set(title="Confusion matrix", xlabel="Predicted class", ylabel="True class")
    image = axes.imshow(percent, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    figure.colorbar(image, ax=axes, label="Share of the true class (%)", ticks=[0, 1, 5, 10, 25, 50, 75, 100])
    _name_ticks(axes, class_names, side)

    figure.draw_without_rendering()  # the layout decides how large a cell is
    cell_width = axes.get_window_extent().width / classes * 72 / figure.dpi
    font_size = min(9.0, 0.85 * cell_width / (DIGIT_WIDTH * len(str(matrix.max()))))
    if font_size >= SMALLEST_TEXT:
        _write_counts(axes, matrix, image.to_rgba(percent), font_size)
    return figure


@rc_context(STYLE)
def relative_times(groups: Sequence[str], panels: Mapping[str, Mapping[str, Floats]], reference: str) -> Figure:
    """Draw how long each implementation takes by the reference's time, one panel for each mode.

    A thin line goes from the 10th to the 90th percentile.

    Shapes: each implementation's array (groups, 3) of median, 10th and 90th percentile, NaN where it was not measured.
    """
    implementations = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = dict(zip(implementations, itertools.cycle(zip(BAR_COLOURS, HATCHES, strict=True)), strict=False))
    thickness = 0.85 / len(implementations)
    figure = _figure(PAGE_WIDTH, 1.6 + len(groups) * (0.15 + 0.14 * len(implementations)))
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)
    for axes, (title, panel) in zip(grid.flat, panels.items(), strict=True):
        for name, times in panel.items():
            place = np.arange(len(groups)) + thickness * (implementations.index(name) + 0.5) - 0.425
            median, spread = times[:, 0], np.abs(times[:, 1:] - times[:, :1]).T
            style = {"color": colours[name][0], "hatch": colours[name][1], "edgecolor": "white", "linewidth": 0}
            line = {"elinewidth": 0.6, "ecolor": "0.3"}
            axes.barh(place, median, thickness, xerr=spread, error_kw=line, label=name, **style)
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
    figure = _figure(PAGE_WIDTH, 5.6)
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


def _figure(width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _write_instead(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    axes.set_axis_off()


def _draw_curves(axes: Axes, where: str, history: History, labels: Mapping[str, str], scale: float = 1) -> None:
    columns = {name: np.asarray(history.get(name, ()), np.float64) for name in ("iteration", *labels)}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{where}: expected columns of one length, got {lengths}. Record all of them each time.")
    iteration = columns.pop("iteration")
    for name, values in columns.items():
        if np.isfinite(values).any():
            axes.plot(iteration, scale * values, label=labels[name], markevery=math.ceil(len(iteration) / 15))
    axes.set_xlabel("Iteration")
    if axes.lines:
        axes.legend()
        axes.grid(visible=True)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True))
    else:
        _write_instead(axes, "No values were recorded.")


def _tile_figure(tiles: Floats, column_names: list[str], row_names: list[str], **labels: str) -> Figure:
    """Draw tiles (T, height, width, 1 or 3) row by row: three channels as RGB, one on a scale about 0."""
    _, height, width, channels = tiles.shape
    columns, rows = len(column_names), len(row_names)
    margin = 0.5 if channels == 3 else 1.5  # inches, for row names and colour bar
    size = min(1.0, (PAGE_WIDTH - margin) / columns)
    figure = _figure(max(TITLE_WIDTH, columns * size + margin), rows * size * height / width + 0.7, "compressed")
    axes = figure.subplots()
    axes.set(**labels)

    finite = np.isfinite(tiles)
    if channels == 3:
        low, high = tiles.min(initial=np.inf, where=finite), tiles.max(initial=-np.inf, where=finite)
        rgb = (_mosaic(tiles, rows, columns) - low) / (high - low if high > low else 1.0)
        axes.imshow(np.clip(np.where(np.isfinite(rgb), rgb, 1.0), 0, 1))  # rounding may leave [0, 1]
    else:
        limit = np.abs(tiles).max(initial=0, where=finite)
        image = axes.imshow(_mosaic(tiles, rows, columns), cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.colorbar(image, ax=axes, label="Weight")

    for index in range(len(tiles)):
        row, column = divmod(index, columns)
        corner = (column * (width + 1) - 0.5, row * (height + 1) - 0.5)
        frame = Rectangle(corner, width, height, fill=False, edgecolor="0.6", linewidth=0.5, clip_on=False)
        axes.add_patch(frame)
    axes.set_xticks((width + 1) * np.arange(columns) + (width - 1) / 2, column_names)
    axes.set_yticks((height + 1) * np.arange(rows) + (height - 1) / 2, row_names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _mosaic(tiles: Floats, rows: int, columns: int) -> NDArray[np.float64]:
    """Lay tiles (T, height, width, channels) out row by row in one image, one pixel of NaN between them."""
    count, height, width, channels = tiles.shape
    cells = np.full((rows * columns, height + 1, width + 1, channels), np.nan)
    cells[:count, :height, :width] = tiles
    grid = cells.reshape(rows, columns, height + 1, width + 1, channels).swapaxes(1, 2)
    return grid.reshape(rows * (height + 1), columns * (width + 1), channels)[:-1, :-1]


def _verdicts(labels: Integers, predictions: Integers, class_names: Sequence[str]) -> list[str]:
    names = [_shorten(name) for name in class_names]
    arrow = " → " if max(map(len, names)) <= 5 else " →\n"
    return [names[true] + arrow + names[predicted] for true, predicted in zip(labels, predictions, strict=True)]


def _shorten(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"


def _name_ticks(axes: Axes, class_names: Sequence[str], inches: float) -> None:
    """Write as many class names along both axes, of about that length, as can be read."""
    shown = range(0, len(class_names), math.ceil(len(class_names) / 25))
    names = [_shorten(class_names[index]) for index in shown]
    axes.set_yticks(shown, names)
    name_width = 3 + DIGIT_WIDTH * 8 * max(map(len, names))
    if len(names) * name_width < inches * 72:
        axes.set_xticks(shown, names)
    else:
        axes.set_xticks(shown, names, rotation=45, ha="right", rotation_mode="anchor")


def _write_counts(axes: Axes, matrix: Integers, colours: Floats, font_size: float) -> None:
    # Black and white stand out equally from a cell of luminance 0.18 (WCAG 2.1, contrast ratio).
    luminance = colours[..., :3] ** 2.2 @ [0.2126, 0.7152, 0.0722]
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if luminance[row, column] < 0.18 else "black"
        axes.text(column, row, str(count), size=font_size, color=colour, ha="center", va="center")


def _check_examples(
    where: str,
    images: Images,
    labels: Integers,
    predictions: Integers,
    class_names: Sequence[str],
    probabilities: Floats | None,
) -> None:
    if images.ndim != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise InputError(
            f"{where}: expected images (N, H, W, 1 or 3) of uint8, got {images.shape} of {images.dtype}. "
            "Give the images as they were before scaling."
        )
    check_class_indices(where, "labels", labels, len(class_names))
    check_class_indices(where, "predictions", predictions, len(class_names))
    check_same_length(where, "images", images, labels)
    check_same_length(where, "predictions", predictions, labels)
    expected = (len(labels), len(class_names))
    if probabilities is not None and probabilities.shape != expected:
        raise InputError(
            f"{where}: expected probabilities of shape {expected}, got {probabilities.shape}. "
            "Give the softmax of the logits."
        )
