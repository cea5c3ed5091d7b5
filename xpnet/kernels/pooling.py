"""Pooling along one axis at a time: a maximum or mean over a rectangle is that of its rows' maxima or means.

Images are taken in the order in which they lie in memory, so that what is sliced and joined is long stretches of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

from xpnet.backend import Array, array_namespace
from xpnet.kernels.windows import add_taps, lies_batch_innermost, pad, sum_arrays, taps, to_logical, to_memory
from xpnet.shapes import Pair, Window

Winners = tuple[list[Array], list[Array]]  # for rows and for columns


class _Order(NamedTuple):
    """How to get to the order of memory and back, and where rows and columns are in it."""

    to: Callable[[Array], Array]
    back: Callable[[Array], Array]
    axes: Pair


_BATCH_INNERMOST = _Order(to_memory, to_logical, (0, 2))
_CHANNELS_INNERMOST = _Order(lambda x: x, lambda x: x, (1, 2))


def serves(operation: str, *arguments: Any) -> bool:
    """Always."""
    return True


def max_pool2d(x: Array, window: Window) -> Array:
    """Maximum of each window of images (N, H, W, C).

    Rows come first: they are long stretches of memory, and halve what is left for the columns.
    """
    xp, counts, order = array_namespace(x), window.output_size(*x.shape[1:3]), _order(x)
    y = order.to(x)
    for number, (axis, count) in enumerate(zip(order.axes, counts, strict=True)):
        y = reduce(xp.maximum, _padded_taps(y, axis, window, number, count))
    return order.back(y)


def max_pool2d_with_winners(x: Array, window: Window) -> tuple[Array, Winners]:
    """The same maximum, and what ``max_pool2d_input_gradient`` needs to know about it.

    Columns come first, then rows, so that of equal values the first in row-major order wins, as in PyTorch.
    """
    (rows, columns), order = window.output_size(*x.shape[1:3]), _order(x)
    y, by_column = running_maximum(_padded_taps(order.to(x), order.axes[1], window, 1, columns))
    y, by_row = running_maximum(_padded_taps(y, order.axes[0], window, 0, rows))
    return order.back(y), ([order.back(won) for won in by_row], [order.back(won) for won in by_column])


def max_pool2d_input_gradient(dy: Array, winners: Winners, window: Window, image_size: Pair) -> Array:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W): each dy goes to its window's winner."""
    order = _order(next((won for by_axis in winners for won in by_axis), dy))
    dx = order.to(dy)
    for greater, axis, stride, (before, after), length in zip(
        winners, order.axes, window.stride, window.padding, image_size, strict=True
    ):
        parts = share_out(dx, [order.to(won) for won in greater])
        dx = pad(add_taps(parts, axis, stride, length + before + after), axis, -before, -after)
    return order.back(dx)


def average_pool2d(x: Array, window: Window) -> Array:
    """Mean of each window of images (N, H, W, C), zeros of the padding included."""
    counts, order = window.output_size(*x.shape[1:3]), _order(x)
    y = order.to(x)
    for axis, kernel, stride, padding, count in zip(
        order.axes, window.kernel, window.stride, window.padding, counts, strict=True
    ):
        y = sum_arrays(taps(pad(y, axis, *padding), axis, kernel, stride, 1, count)) * (1 / kernel)
    return order.back(y)


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W): each dy in equal shares."""
    order = _order(dy)
    dx = order.to(dy)
    for axis, kernel, stride, (before, after), length in zip(
        order.axes, window.kernel, window.stride, window.padding, image_size, strict=True
    ):
        dx = add_taps([dx * (1 / kernel)] * kernel, axis, stride, length + before + after)
        dx = pad(dx, axis, -before, -after)
    return order.back(dx)


def _order(x: Array) -> _Order:
    return _BATCH_INNERMOST if lies_batch_innermost(x) else _CHANNELS_INNERMOST


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
