"""Images beside the class of each of their pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from xpnet.datasets.base import Images
from xpnet.errors import InputError
from xpnet.plots.style import BAR_COLOURS, BLUE, GREEN, PAGE_WIDTH, STYLE, VERMILLION, Integers, make_figure

_MOST_IMAGES = 8
_BACKGROUND = "#DDDDDD"
_COLOURS = (BLUE, VERMILLION, GREEN, *(colour for colour in BAR_COLOURS if colour not in (BLUE, VERMILLION, GREEN)))


@rc_context(STYLE)
def segmentation(images: Images, targets: Integers, predictions: Integers, class_names: Sequence[str]) -> Figure:
    """Draw the first images, at most 8, each above the true classes of its pixels, the predicted ones, and mistakes.

    The first class is grey; of more than 11 classes colours repeat.

    Shapes: images (N, H, W, 1 or 3) of uint8, targets and predictions (N, H, W).

    Raises
    ------
    InputError
        For other shapes.
    """
    shapes = images.shape[:-1], targets.shape, predictions.shape
    if len(targets.shape) != 3 or len(set(shapes)) > 1:
        raise InputError(
            f"segmentation: expected images (N, H, W, C), targets and predictions (N, H, W), got shapes "
            f"{tuple(images.shape)}, {targets.shape} and {predictions.shape}. Pass the class of each pixel."
        )
    count, classes = min(len(targets), _MOST_IMAGES), len(class_names)
    colours = [_BACKGROUND, *(_COLOURS[number % len(_COLOURS)] for number in range(classes - 1))]
    scale = {"cmap": ListedColormap(colours), "vmin": -0.5, "vmax": classes - 0.5}
    wrong = predictions[:count] != targets[:count]
    rows = {
        "Image": (images[:count], {"cmap": "gray", "vmin": 0, "vmax": 255}),
        "True": (targets[:count], scale),
        "Predicted": (predictions[:count], scale),
        "Mistakes": (wrong, {"cmap": "gray_r", "vmin": 0, "vmax": 1}),
    }
    figure = make_figure(PAGE_WIDTH, 4 * PAGE_WIDTH / _MOST_IMAGES + 0.9)
    grid = figure.subplots(len(rows), _MOST_IMAGES, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for line, (name, (pictures, look)) in zip(grid, rows.items(), strict=True):
        line[0].set_ylabel(name)
        for axes, picture in zip(line, pictures, strict=False):
            axes.imshow(picture, **look)
    share = np.mean(wrong)
    figure.suptitle(f"The classes of pixels: {share:.1%} of those shown are mistakes")
    patches = [Patch(color=colour, label=name) for colour, name in zip(colours, class_names, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(classes, 6))
    return figure
