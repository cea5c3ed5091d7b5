"""Pooling along one axis at a time: a maximum or mean over a rectangle is that of its rows' maxima or means."""

from __future__ import annotations

from functools import reduce

from array_api_compat import array_namespace

from xpnet.backend import Array
from xpnet.kernels.windows import add_taps, pad, sum_arrays, taps
from xpnet.shapes import Pair, Window

Winners = tuple[list[Array], list[Array]]  # for rows and for columns


def max_pool2d(x: Array, window: Window, axes: Pair) -> Array:
    """Maximum of each window over two axes (rows, columns).

    Rows come first: they are long stretches of memory, and halve what is left for the columns.
    """
    xp, counts = array_namespace(x), window.output_size(x.shape[axes[0]], x.shape[axes[1]])
    for number, (axis, count) in enumerate(zip(axes, counts, strict=True)):
        x = reduce(xp.maximum, _padded_taps(x, axis, window, number, count))
    return x


def max_pool2d_with_winners(x: Array, window: Window, axes: Pair) -> tuple[Array, Winners]:
    """The same maximum, and what ``max_pool2d_input_gradient`` needs to know about it.

    Columns come first, then rows, so that of equal values the first in row-major order wins, as in PyTorch.
    """
    rows, columns = axes
    count = window.output_size(x.shape[rows], x.shape[columns])
    y, by_column = running_maximum(_padded_taps(x, columns, window, 1, count[1]))
    y, by_row = running_maximum(_padded_taps(y, rows, window, 0, count[0]))
    return y, (by_row, by_column)


def max_pool2d_input_gradient(dy: Array, winners: Winners, window: Window, image_size: Pair, axes: Pair) -> Array:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W): each dy goes to its window's winner."""
    for greater, axis, stride, (before, after), length in zip(
        winners, axes, window.stride, window.padding, image_size, strict=True
    ):
        dy = add_taps(share_out(dy, greater), axis, stride, length + before + after)
        dy = pad(dy, axis, -before, -after)
    return dy


def average_pool2d(x: Array, window: Window, axes: Pair) -> Array:
    """Mean of each window over two axes (rows, columns), zeros of the padding included."""
    counts = window.output_size(x.shape[axes[0]], x.shape[axes[1]])
    for axis, kernel, stride, padding, count in zip(
        axes, window.kernel, window.stride, window.padding, counts, strict=True
    ):
        x = sum_arrays(taps(pad(x, axis, *padding), axis, kernel, stride, 1, count)) * (1 / kernel)
    return x


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair, axes: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W): each dy in equal shares."""
    for axis, kernel, stride, (before, after), length in zip(
        axes, window.kernel, window.stride, window.padding, image_size, strict=True
    ):
        dy = add_taps([dy * (1 / kernel)] * kernel, axis, stride, length + before + after)
        dy = pad(dy, axis, -before, -after)
    return dy


def running_maximum(taps: list[Array]) -> tuple[Array, list[Array]]:
    """Maximum of arrays, and for each but the first whether it beat all before it."""
    xp = array_namespace(taps[0])
    maximum, *others = taps
    greater = []
    for tap in others:
        greater.append(tap > maximum)
        maximum = xp.maximum(maximum, tap)
    return maximum, greater


def share_out(dy: Array, greater: list[Array]) -> list[Array]:
    """Each tap's part of dy: the last tap that beat all before it takes it, the first tap where none did."""
    xp = array_namespace(dy)
    parts = []
    for won in reversed(greater):
        part = dy * xp.astype(won, dy.dtype)
        parts.append(part)
        dy = dy - part
    return [dy, *reversed(parts)]


def _padded_taps(x: Array, axis: int, window: Window, number: int, count: int) -> list[Array]:
    """The taps along one axis, the window's first or second, with padding that is smaller than anything."""
    x = pad(x, axis, *window.padding[number], value=-array_namespace(x).inf)
    return taps(x, axis, window.kernel[number], window.stride[number], 1, count)
