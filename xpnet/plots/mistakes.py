"""The confusion matrix, and the misclassified images that the network is surest of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from xpnet.datasets.base import Images
from xpnet.errors import InputError
from xpnet.metrics.classes import check_class_indices, check_confusion, check_same_length
from xpnet.plots.style import (
    DIGIT_WIDTH,
    PAGE_WIDTH,
    SMALLEST_TEXT,
    STYLE,
    TITLE_WIDTH,
    Floats,
    Integers,
    make_figure,
    shorten,
    write_instead,
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

    Parameters
    ----------
    images
        Of uint8, (N, H, W, 1 or 3).
    labels, predictions
        Class indices (N,).
    class_names
        A name for each class.
    probabilities
        (N, classes); with them those images are drawn that the network was most sure of, otherwise the first ones.
    limit
        How many images at most.

    Raises
    ------
    InputError
        For other shapes, for class indices without a name and for a limit below 1.
    """
    where = "misclassified"
    check_examples(where, images, labels, predictions, class_names, probabilities)
    if limit < 1:
        raise InputError(f"{where}: expected a limit of at least 1, got {limit}. Say how many images to draw.")
    wrong = np.flatnonzero(labels != predictions)
    if wrong.size == 0:
        figure = make_figure(TITLE_WIDTH, 1.2)
        axes = figure.subplots()
        axes.set_title("Misclassified images")
        write_instead(axes, f"None of {len(images)} images was misclassified.")
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
    figure = make_figure(max(TITLE_WIDTH, columns * PAGE_WIDTH / 5), 1.5 * rows + 0.6)
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

    Raises
    ------
    InputError
        For a matrix that is not square and for another number of names.
    """
    where = "confusion_matrix"
    check_confusion(where, matrix)
    classes = len(matrix)
    if len(class_names) != classes:
        raise InputError(f"{where}: expected {classes} class names, got {len(class_names)}. Name every class once.")
    # A class without examples has a row of zeros, whatever it is divided by.
    percent = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

    side = min(PAGE_WIDTH - 1.3, 2.2 + 0.3 * classes)
    figure = make_figure(side + 1.3, side + 0.4, "compressed")
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


def _verdicts(labels: Integers, predictions: Integers, class_names: Sequence[str]) -> list[str]:
    names = [shorten(name) for name in class_names]
    arrow = " → " if max(map(len, names)) <= 5 else " →\n"
    return [names[true] + arrow + names[predicted] for true, predicted in zip(labels, predictions, strict=True)]


def _name_ticks(axes: Axes, class_names: Sequence[str], inches: float) -> None:
    """Write as many class names along both axes, of about that length, as can be read."""
    shown = range(0, len(class_names), math.ceil(len(class_names) / 25))
    names = [shorten(class_names[index]) for index in shown]
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


def check_examples(
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
            "Pass the images as they were before scaling."
        )
    check_class_indices(where, "labels", labels, len(class_names))
    check_class_indices(where, "predictions", predictions, len(class_names))
    check_same_length(where, "images", images, labels)
    check_same_length(where, "predictions", predictions, labels)
    expected = (len(labels), len(class_names))
    if probabilities is not None and probabilities.shape != expected:
        raise InputError(
            f"{where}: expected probabilities of shape {expected}, got {probabilities.shape}. "
            "Pass the softmax of the logits."
        )
