"""Figures for a report: learning curves, filters, mistakes, the confusion matrix, and how long a step takes.

Each function returns a matplotlib Figure and `save` writes it. There is no pyplot here: no display is needed,
no figure outlives its last reference, and the caller's matplotlib settings stay as they are.

Line colours: Okabe and Ito, "Color Universal Design", 2008. Lines differ in dashes and markers too, and the
confusion matrix in lightness, so that they can be read in a grey print.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import Locator, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from xpnet.datasets.base import Images
from xpnet.errors import InputError
from xpnet.files import check_held
from xpnet.metrics import check_class_indices, check_confusion, check_same_length
from xpnet.training.history import History

__all__ = [
    "accuracy_comparison",
    "accuracy_curves",
    "check_suffix",
    "confusion_matrix",
    "cost_comparison",
    "error_rate_curves",
    "feature_maps",
    "filters",
    "history",
    "loss_curves",
    "misclassified",
    "range_test",
    "regularization",
    "relative_times",
    "save",
    "scaling_curves",
    "search_trials",
]

Columns = Mapping[str, Sequence[float | None] | NDArray[np.float64]]
Integers = NDArray[np.integer]
Floats = NDArray[np.floating]

PAGE_WIDTH = 6.5  # inches, of the text on a printed page
TITLE_WIDTH = 4.2  # inches, that the longest title needs
SMALLEST_TEXT = 5.0  # points, that can still be read in print
_MOST_CHANNELS = 64
_SMALLEST_RATE = 0.1  # percent; below it error rates are on a linear scale, which has a 0
DIGIT_WIDTH = 0.64  # of the font size, in DejaVu Sans

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
BAR_COLOURS = (BLUE, "#56B4E9", GREEN, VERMILLION, "#E69F00", "#F0E442", "#CC79A7", "#999999", "#332288", "#AA4499")
HATCHES = ("", "//", "..", "", "\\\\", "xx", "--", "", "++", "||")
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
    """Write a figure to `path`, whose suffix (.png, .pdf, .svg) gives the format; its folder is made if there is none.

    Raises InputError if it is not written: an unknown format, a folder that cannot be made.
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
        raise InputError(f"Plot {path}: cannot be written ({reason}). Choose another place, or .png.") from error


def check_suffix(path: str | PathLike[str]) -> None:
    """Raise InputError unless the suffix of a file says in which format a figure is to be written.

    Without one matplotlib would write another file, with .png behind the name.
    """
    suffix = Path(path).suffix
    if suffix[1:].lower() not in FigureCanvasAgg.get_supported_filetypes():
        raise InputError(f"Plot {path}: expected a name that ends in .png, .pdf or .svg, got {suffix!r}. Change it.")


@rc_context(STYLE)
def history(training: History) -> Figure:
    """Draw the loss and the score (accuracy or R²) of a training, and those of validation where there are any.

    The axis counts epochs, or iterations where it is not known how many make an epoch.
    """
    columns, metric = training.to_dict(), training.metric
    figure = _figure(PAGE_WIDTH, 3.2)
    losses, scores = figure.subplots(1, 2)
    kinds = {"train": "Training", "validation": "Validation"}
    titles = {"loss": kinds["train"], "validation_loss": kinds["validation"]}
    _draw_curves(losses, "history", columns, titles, batches_per_epoch=training.batches_per_epoch)
    losses.set(title="Loss", ylabel="Loss")
    titles = {f"{kind}_{metric}": title for kind, title in kinds.items()}
    is_share = metric == "accuracy"
    scale = 100 if is_share else 1
    _draw_curves(scores, "history", columns, titles, scale, batches_per_epoch=training.batches_per_epoch)
    scores.set(title="Accuracy" if is_share else "R²", ylabel="Accuracy (%)" if is_share else "R²")
    return figure


@rc_context(STYLE)
def loss_curves(history: Columns, batches_per_epoch: int | None = None) -> Figure:
    """Draw the total loss, the classification loss and the weight-decay loss against the iteration.

    With ``batches_per_epoch`` the axis counts epochs instead.
    Reads the columns iteration, total_loss, loss and weight_decay_loss; values that are not
    finite leave a gap. Raises InputError for columns of unequal length, a missing one included.
    """
    labels = {
        "total_loss": "Total",
        "loss": "Classification",
        "weight_decay_loss": "Weight decay",
    }
    figure = _figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    _draw_curves(axes, "loss_curves", history, labels, batches_per_epoch=batches_per_epoch)
    axes.set(title="Training loss", ylabel="Loss", ylim=(0, None))
    return figure


@rc_context(STYLE)
def accuracy_curves(history: Columns, averaged: bool = True, batches_per_epoch: int | None = None) -> Figure:
    """Draw the training and validation accuracy, in percent, against the iteration.

    ``averaged`` says that the training accuracy is the moving average over batches, which lags behind.
    With ``batches_per_epoch`` the axis counts epochs instead.
    Reads the columns iteration, train_accuracy and validation_accuracy, fractions in [0, 1]; values that are
    not finite leave a gap. Raises InputError for columns of unequal length, a missing one included.
    """
    figure = _figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    labels = {**ACCURACIES, "train_accuracy": "Training (moving average)"} if averaged else ACCURACIES
    _draw_curves(axes, "accuracy_curves", history, labels, scale=100, batches_per_epoch=batches_per_epoch)
    # The usual margin above a perfect score would show percentages that cannot be.
    axes.set(title="Accuracy", ylabel="Accuracy (%)", ylim=(None, min(axes.get_ylim()[1], 101)))
    return figure


@rc_context(STYLE)
def error_rate_curves(history: Columns, batches_per_epoch: int) -> Figure:
    """Draw the training and validation error rate, 100·(1 - accuracy) in percent, against epochs.

    The scale is logarithmic, so that the first fall and the last mistakes both show; where a rate falls below 0.1 % it
    is linear from there to 0. Reads the columns iteration, train_accuracy and validation_accuracy; values that are not
    finite leave a gap. Raises InputError for columns of unequal length, a missing one included.
    """
    rates = {name: 1 - np.asarray(history.get(name, ()), np.float64) for name in ACCURACIES}
    rates["iteration"] = np.asarray(history.get("iteration", ()))
    figure = _figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    _draw_curves(axes, "error_rate_curves", rates, ACCURACIES, scale=100, batches_per_epoch=batches_per_epoch)
    if any(np.nanmin(line.get_ydata()) < _SMALLEST_RATE for line in axes.lines):
        axes.set_yscale("symlog", linthresh=_SMALLEST_RATE)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, 100)
    else:
        axes.set_yscale("log")
        axes.set_ylim(None, min(axes.get_ylim()[1], 100))
        _label_powers(axes.yaxis)
    axes.set(title="Error rate", ylabel="Error rate (%)")
    return figure


@rc_context(STYLE)
def cost_comparison(histories: Mapping[str, Columns], batches_per_epoch: int) -> Figure:
    """Draw the total training loss of several runs, by their names, against epochs; on a logarithmic scale.

    Reads the columns iteration, which must be the same in all runs, and total_loss.
    Raises InputError for columns of unequal length, a missing one included.
    """
    figure, axes = _comparison("cost_comparison", histories, "total_loss", batches_per_epoch)
    axes.set(title="Training cost", ylabel="Total loss", yscale="log")
    _label_powers(axes.yaxis)
    return figure


@rc_context(STYLE)
def accuracy_comparison(histories: Mapping[str, Columns], batches_per_epoch: int) -> Figure:
    """Draw the validation accuracy of several runs, by their names, in percent against epochs.

    Reads the columns iteration, which must be the same in all runs, and validation_accuracy.
    Raises InputError for columns of unequal length, a missing one included.
    """
    figure, axes = _comparison("accuracy_comparison", histories, "validation_accuracy", batches_per_epoch, scale=100)
    axes.set(title="Validation accuracy", ylabel="Accuracy (%)")
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
def feature_maps(output: Floats, image: Integers, name: str) -> Figure:
    """Draw what a layer makes of one image: every channel as a tile beside the image, or a vector as bars.

    The channels share one scale of colours; of more than 64 the first 64 are drawn. Values that are not finite stay
    white.

    Shapes: output (H, W, C) or (units,); image uint8 (h, w, 1 or 3). Raises InputError for other shapes.
    """
    if output.ndim not in (1, 3) or output.size == 0:
        raise InputError(
            f"feature_maps: expected the output (H, W, C) or (units,) for one image, got shape {output.shape}. "
            "Give one example's output."
        )
    shape = " × ".join(map(str, output.shape))
    drawn = np.moveaxis(output, -1, 0)[:_MOST_CHANNELS] if output.ndim == 3 else output
    columns = math.ceil(math.sqrt(len(drawn))) if output.ndim == 3 else 6
    rows = math.ceil(len(drawn) / columns) if output.ndim == 3 else 4
    figure = _figure(PAGE_WIDTH, min(0.8 + PAGE_WIDTH * 0.6 * rows / columns, 5.0))
    picture, axes = figure.subplots(1, 2, width_ratios=(1, 3))
    picture.imshow(image, cmap="gray", vmin=0, vmax=255)
    picture.set(title="Image", xticks=[], yticks=[])
    picture.spines[:].set_visible(False)
    if output.ndim == 1:
        axes.bar(range(len(output)), output, width=1.0 if len(output) > 50 else 0.8)
        axes.set(title=f"{name} ({shape})", xlabel="Unit", ylabel="Output")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure
    tiles = axes.imshow(_mosaic(drawn[..., None], rows, columns)[..., 0], cmap="viridis")
    of_all = "" if len(drawn) == output.shape[-1] else f"\nfirst {len(drawn)} of {output.shape[-1]} channels"
    axes.set(title=f"{name} ({shape}){of_all}", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    figure.colorbar(tiles, ax=axes, label="Output", shrink=0.8)
    return figure


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
def search_trials(
    accuracies: Floats,
    completed: NDArray[np.bool_],
    parameters: Mapping[str, Sequence[Any]],
    logarithmic: Collection[str] = (),
) -> Figure:
    """Draw the validation error of every trial against its number and against each parameter.

    The parameters in ``logarithmic`` are on a logarithmic scale unless one is 0, texts are categories. Trials given up
    are crosses.

    Shapes: accuracies (T,), fractions in [0, 1]; completed (T,); parameters by label, T values each.
    """
    errors = np.maximum(100 * (1 - accuracies), 0.01)  # the scale has no 0
    panels: dict[str, Sequence[Any]] = {"Trial": range(len(errors)), **parameters}
    columns = 3 if len(panels) > 4 else min(len(panels), 2)
    rows = math.ceil(len(panels) / columns)
    figure = _figure(PAGE_WIDTH, 2.4 * rows + 0.3)
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
            _label_powers(axes.xaxis, most=4)
    first = grid.flat[0]
    best = np.fmin.accumulate(np.where(completed, errors, np.nan))
    first.plot(best, drawstyle="steps-post", linestyle="-", marker="", color=GREEN, label="Best so far")
    first.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    for axes in grid[:, 0]:
        axes.set_ylabel("Error (%)")
        _label_powers(axes.yaxis)
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
    figure = _figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    axes.semilogx(rates, losses, "-", marker="", color="0.75", linewidth=0.8, label="One batch")
    axes.semilogx(rates, smoothed, "-", marker="", color=BLUE, label="Smoothed")
    if suggestion is not None:
        label = f"A tenth of the rate of the lowest: {suggestion:.2g}"
        axes.axvline(suggestion, color=VERMILLION, linestyle="--", label=label)
    _label_powers(axes.xaxis)
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
    figure = _figure(PAGE_WIDTH, 3.4)
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


@rc_context(STYLE)
def relative_times(groups: Sequence[str], panels: Mapping[str, Mapping[str, Floats]], reference: str) -> Figure:
    """Draw how long each implementation takes by the reference's time, one panel for each mode.

    A thin line goes from the 10th to the 90th percentile.

    Shapes: each implementation's array (groups, 3) of median, 10th and 90th percentile, NaN where it was not measured.
    """
    implementations = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    colours = dict(zip(implementations, cycle(zip(BAR_COLOURS, HATCHES, strict=True)), strict=False))
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


def _label_powers(axis: Axis, most: int = 6) -> None:
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


def _write_instead(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
    axes.set_axis_off()


def _comparison(
    where: str, histories: Mapping[str, Columns], column: str, batches_per_epoch: int, scale: float = 1
) -> tuple[Figure, Axes]:
    """One column of several runs as lines."""
    columns = {name: history.get(column, ()) for name, history in histories.items()}
    figure = _figure(PAGE_WIDTH, 3.6)
    axes = figure.subplots()
    iterations = {"iteration": next(iter(histories.values()), {}).get("iteration", ())}
    _draw_curves(axes, where, {**columns, **iterations}, {name: name for name in columns}, scale, batches_per_epoch)
    return figure, axes


def _draw_curves(
    axes: Axes,
    where: str,
    history: Columns,
    labels: Mapping[str, str],
    scale: float = 1,
    batches_per_epoch: int | None = None,
) -> None:
    columns = {name: np.asarray(history.get(name, ()), np.float64) for name in ("iteration", *labels)}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"{where}: expected columns of one length, got {lengths}. Record all of them each time.")
    places = columns.pop("iteration") / (batches_per_epoch or 1)
    for name, values in columns.items():
        if np.isfinite(values).any():
            axes.plot(places, scale * values, label=labels[name], markevery=math.ceil(len(places) / 15))
    axes.set_xlabel("Epoch" if batches_per_epoch else "Iteration")
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
