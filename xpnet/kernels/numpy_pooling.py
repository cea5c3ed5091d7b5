"""Max-pooling on NumPy arrays where windows lie side by side, in bands of rows that the cache holds.

NumPy is slow where a stride leaves short stretches of memory, as every second column of a few images does. Such taps
are therefore copied first, all images of a column as one item, and computed with side by side. Threads would lose more
by waiting for one another between these short steps than they gain.

Memory order is that of ``unrolled``, (H, C, W, N).
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from xpnet.kernels.pooling import Winners, running_maximum, share_out
from xpnet.kernels.sharing import even_slices
from xpnet.kernels.windows import to_logical, to_memory
from xpnet.shapes import Pair, Window

_CACHED = 2**18  # values of a band that a core's own cache holds


def serves(operation: str, x: np.ndarray, window: Window) -> bool:
    """Whether windows lie side by side, without padding."""
    return window.stride == window.kernel and window.padding == ((0, 0), (0, 0))


def max_pool2d(x: np.ndarray, window: Window) -> np.ndarray:
    """Maximum of each window of images (N, H, W, C)."""
    x = np.ascontiguousarray(to_memory(x))
    y = _output(x, window)
    for rows in _bands(y, x):
        maximum = reduce(np.maximum, _row_taps(_under(x, rows, window), window))
        y[rows] = reduce(np.maximum, _column_taps(maximum, window))
    return to_logical(y)


def max_pool2d_with_winners(x: np.ndarray, window: Window) -> tuple[np.ndarray, list[Winners]]:
    """The same maximum, and for each band what ``max_pool2d_input_gradient`` needs to know about it."""
    x = np.ascontiguousarray(to_memory(x))
    y, winners = _output(x, window), []
    for rows in _bands(y, x):
        maximum, by_column = running_maximum(_column_taps(_under(x, rows, window), window))
        y[rows], by_row = running_maximum(_row_taps(maximum, window))
        winners.append((by_row, by_column))
    return to_logical(y), winners


def max_pool2d_input_gradient(dy: np.ndarray, winners: list[Winners], window: Window, image_size: Pair) -> np.ndarray:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W): each dy goes to its window's winner."""
    dy = to_memory(dy)
    (down, across), (rows, channels, columns, batch) = window.kernel, dy.shape
    dx = np.empty((image_size[0], channels, image_size[1], batch), dy.dtype)
    dx[rows * down :] = dx[:, :, columns * across :] = 0  # no window reaches there
    for band, (by_row, by_column) in zip(_bands(dy, dx), winners, strict=True):
        maximum = np.stack(share_out(dy[band], by_row), axis=1).reshape(-1, channels, columns, batch)
        items = _as_items(_under(dx, band, window))
        for tap, part in enumerate(share_out(maximum, by_column)):
            items[:, :, tap : columns * across : across] = _as_items(np.ascontiguousarray(part))
    return to_logical(dx)


def _output(x: np.ndarray, window: Window) -> np.ndarray:
    rows, columns = window.output_size(x.shape[0], x.shape[2])
    return np.empty((rows, x.shape[1], columns, x.shape[3]), dtype=x.dtype)


def _bands(y: np.ndarray, x: np.ndarray) -> list[slice]:
    """Output rows that are computed together."""
    return even_slices(len(y), max(1, _CACHED * len(y) // x.size))


def _under(x: np.ndarray, rows: slice, window: Window) -> np.ndarray:
    """Image rows under the windows of output rows."""
    return x[rows.start * window.kernel[0] : rows.stop * window.kernel[0]]


def _row_taps(x: np.ndarray, window: Window) -> list[np.ndarray]:
    return [x[tap :: window.kernel[0]] for tap in range(window.kernel[0])]


def _column_taps(x: np.ndarray, window: Window) -> list[np.ndarray]:
    """Values under each column of the windows, copied side by side."""
    kernel, count = window.kernel[1], x.shape[2] // window.kernel[1]
    items = _as_items(x)
    copies = [np.ascontiguousarray(items[:, :, tap : count * kernel : kernel]) for tap in range(kernel)]
    return [copy.view(x.dtype).reshape(*copy.shape, x.shape[3]) for copy in copies]


def _as_items(x: np.ndarray) -> np.ndarray:
    """A view in which the images of one column and channel are one item, (H, C, W)."""
    return x.view(f"V{x.shape[3] * x.itemsize}")[..., 0]
