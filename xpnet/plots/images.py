"""What a convolution learned, and what it makes of an image."""

from __future__ import annotations

import math

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xpnet.errors import InputError
from xpnet.plots.style import PAGE_WIDTH, STYLE, TITLE_WIDTH, Floats, Integers, make_figure

_MOST_CHANNELS = 64


@rc_context(STYLE)
def filters(weight: Floats) -> Figure:
    """Draw the kernels of the first convolution as tiles.

    Three channels are shown as red, green and blue, (w - min w) / (max w - min w) over all filters together;
    one channel in colours symmetric about 0. With any other number of channels the rows are filters and the
    columns input channels, the first 16 of each. Weights that are not finite stay white.

    Shapes: weight (O, kh, kw, C).

    Raises
    ------
    InputError
        For other shapes and for an empty weight.
    """
    if weight.ndim != 4 or weight.size == 0:
        raise InputError(
            f"filters: expected a convolution weight (O, kh, kw, C), got shape {weight.shape}. "
            "Pass the weight of a Conv2D layer."
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

    Shapes: output (H, W, C) or (units,); image uint8 (h, w, 1 or 3).

    Raises
    ------
    InputError
        For other shapes.
    """
    if output.ndim not in (1, 3) or output.size == 0:
        raise InputError(
            f"feature_maps: expected the output (H, W, C) or (units,) for one image, got shape {output.shape}. "
            "Pass one example's output."
        )
    shape = " × ".join(map(str, output.shape))
    drawn = np.moveaxis(output, -1, 0)[:_MOST_CHANNELS] if output.ndim == 3 else output
    columns = math.ceil(math.sqrt(len(drawn))) if output.ndim == 3 else 6
    rows = math.ceil(len(drawn) / columns) if output.ndim == 3 else 4
    figure = make_figure(PAGE_WIDTH, min(0.8 + PAGE_WIDTH * 0.6 * rows / columns, 5.0))
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


def _tile_figure(tiles: Floats, column_names: list[str], row_names: list[str], **labels: str) -> Figure:
    """Draw tiles (T, height, width, 1 or 3) row by row: three channels as RGB, one on a scale about 0."""
    _, height, width, channels = tiles.shape
    columns, rows = len(column_names), len(row_names)
    margin = 0.5 if channels == 3 else 1.5  # inches, for row names and colour bar
    size = min(1.0, (PAGE_WIDTH - margin) / columns)
    figure = make_figure(max(TITLE_WIDTH, columns * size + margin), rows * size * height / width + 0.7, "compressed")
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
