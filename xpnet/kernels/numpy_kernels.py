"""Convolution on NumPy arrays: the method of ``unrolled``, with what only NumPy can do.

One GEMM per output row runs inside a single ``matmul`` over overlapping views of the unrolled images, which the
standard cannot express. The images are unrolled in tiles, a few output columns at a time, which the cache still holds
when they are multiplied; both gradients share the unrolled ``dy``; and tiles go to threads, since BLAS cannot divide
GEMMs as small as these among cores with profit.

Memory order is that of ``unrolled``, (H, C, W, N).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import gcd
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.kernels.groups import gradients_groupwise, groupwise
from xpnet.kernels.sharing import even_slices, parallel_map
from xpnet.kernels.windows import sum_arrays, to_logical, to_memory
from xpnet.shapes import Pair, Window, extent

T = TypeVar("T")

_CACHED = 2**18  # values of unrolled images that a core's own cache holds, with room for the other operands
_NARROWEST = 128  # positions in a tile, below which a GEMM loses more than the cache gains
_FEWEST_ROWS = 256  # of a tile, times channels
_LARGEST = 2**25  # multiplications in a tile, so that there are enough of them to share


def serves(operation: str, *arguments: Any) -> bool:
    """Always."""
    return True


@groupwise
def conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window) -> np.ndarray:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C), plus a bias (O,) if there is one."""
    x, matrix = to_memory(x), _as_matrix(weight)
    y = _output(x, weight.shape[0], window)

    def fill(tile: _Tile) -> None:
        part = _in_rows(y, tile)
        np.matmul(matrix, _blocks(x, window, tile), out=part)
        if bias is not None:
            part += bias[:, None]

    _in_tiles(fill, y, matrix.shape[1], window)
    return to_logical(y)


@gradients_groupwise
def conv2d_backward(
    x: np.ndarray, dy: np.ndarray, weight: np.ndarray, window: Window, *, need_dx: bool = True
) -> tuple[np.ndarray | None, np.ndarray]:
    """Gradients of ``conv2d`` with respect to its images (if needed) and weight."""
    x, dy = to_memory(x), to_memory(dy)
    if not need_dx:
        return None, _weight_gradient(x, dy, window)
    if window.stride == (1, 1):
        (rows,), (columns,) = (_phases(window, axis, x.shape[2 * axis]) for axis in (0, 1))
        dx, dw = _phase_gradients(x, dy, weight, rows, columns)
        return to_logical(dx), dw
    dx, dw = np.zeros(x.shape, x.dtype), np.zeros(weight.shape, weight.dtype)
    for rows in _phases(window, 0, x.shape[0]):
        for columns in _phases(window, 1, x.shape[2]):
            pixels, taps = np.s_[rows.pixels, :, columns.pixels], np.s_[:, rows.taps, columns.taps]
            dx[pixels], dw[taps] = _phase_gradients(x[pixels], dy, weight[taps], rows, columns)
    return to_logical(dx), dw


class _Phase(NamedTuple):
    """Along one axis, every stride-th pixel of the images: they met the same taps of the kernel.

    Pixel p met tap u at output position (p + padding - dilation*u) / stride, where that is an integer. The gradient
    of these pixels is therefore a convolution of dy, with stride 1, by those taps in reverse.
    """

    pixels: slice
    taps: slice
    before: int  # padding of dy; negative where it is cropped
    dilation: int


def _phases(window: Window, axis: int, length: int) -> list[_Phase]:
    """The phases of one image axis (0 vertical, 1 horizontal) that met any tap."""
    kernel, stride, dilation = window.kernel[axis], window.stride[axis], window.dilation[axis]
    common, found = gcd(stride, dilation), []
    for first in range(min(stride, length)):
        shift = first + window.padding[axis][0]
        taps = [tap for tap in range(kernel) if (shift - dilation * tap) % stride == 0]
        if taps:
            before = (dilation * taps[-1] - shift) // stride
            step = slice(taps[0], taps[-1] + 1, stride // common)
            found.append(_Phase(slice(first, None, stride), step, before, dilation // common))
    return found


def _phase_gradients(
    x: np.ndarray, dy: np.ndarray, weight: np.ndarray, rows: _Phase, columns: _Phase
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of one phase's pixels x and taps, from the same unrolled dy.

    dx[i] takes row i + u of dy by the flipped weight; the weight's gradient takes the same pairs of rows.
    """
    height, channels, width, _ = x.shape
    flipped, kernel = np.flip(weight, axis=(1, 2)).transpose(3, 1, 2, 0), weight.shape[1:3]
    window = Window(
        kernel,
        padding=(
            (rows.before, height - 1 + extent(kernel[0], rows.dilation) - rows.before - dy.shape[0]),
            (columns.before, width - 1 + extent(kernel[1], columns.dilation) - columns.before - dy.shape[2]),
        ),
        dilation=(rows.dilation, columns.dilation),
    )
    dx, matrix = _output(dy, channels, window), _as_matrix(flipped)

    def fill(tile: _Tile) -> np.ndarray:
        blocks = _blocks(dy, window, tile)
        np.matmul(matrix, blocks, out=_in_rows(dx, tile))
        return _products(blocks, _in_rows(x, tile))

    by_tap = sum_arrays(_in_tiles(fill, dx, matrix.shape[1], window)).reshape(kernel[0], -1, kernel[1], channels)
    return dx, np.flip(by_tap, axis=(0, 2)).transpose(1, 0, 2, 3)


def _weight_gradient(x: np.ndarray, dy: np.ndarray, window: Window) -> np.ndarray:
    kernel, channels = window.kernel, x.shape[1]

    def products(tile: _Tile) -> np.ndarray:
        return _products(_blocks(x, window, tile), _in_rows(dy, tile))

    sums = _in_tiles(products, dy, kernel[0] * channels * kernel[1], window)
    return np.reshape(sum_arrays(sums), (kernel[0], channels, kernel[1], -1)).transpose(3, 0, 2, 1)


class _Tile(NamedTuple):
    """Output rows, output columns and images of the batch that are computed together."""

    rows: slice
    columns: slice
    images: slice


def _in_tiles(function: Callable[[_Tile], T], y: np.ndarray, taps: int, window: Window) -> list[T]:
    """Results of a function for tiles that cover a convolution's output y (H', O, W', N), sums of ``taps`` products.

    The tiles do not depend on the number of threads, so neither do the results.
    """
    rows, channels, columns, batch = y.shape
    height = (rows - 1) * window.stride[0] + window.extent[0]
    cached = _CACHED // (height * (taps // window.kernel[0]))
    positions = max(cached, _NARROWEST, 8 * channels)  # below 8*O BLAS spends its time on copies of the weight
    across, parts = even_slices(columns, max(1, positions // batch)), even_slices(batch, positions)
    work = min(positions, columns * batch) * channels * taps
    # Tiles of few rows share more of them with their neighbours; with many channels that hardly counts.
    down = even_slices(rows, max(1, _LARGEST // work, _FEWEST_ROWS // channels))
    tiles = [_Tile(*tile) for tile in product(down, across, parts)]
    return parallel_map(function, tiles, y.size * taps)


def _products(blocks: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Sum over rows of block @ row^T, with images (rows, C, positions): (kh*C*kw, C)."""
    return np.matmul(blocks, images.transpose(0, 2, 1)).sum(axis=0)


def _output(x: np.ndarray, channels: int, window: Window) -> np.ndarray:
    """Room for the result of convolving images in memory order: (H', O, W', N)."""
    rows, columns = window.output_size(x.shape[0], x.shape[2])
    return np.empty((rows, channels, columns, x.shape[3]), dtype=x.dtype)


def _in_rows(y: np.ndarray, tile: _Tile) -> np.ndarray:
    """A tile of images in memory order as one matrix for each row: (rows, C, positions); of a result, a view."""
    part = y[tile.rows, :, tile.columns, tile.images]
    return part.reshape(*part.shape[:2], -1)


def _as_matrix(weight: np.ndarray) -> np.ndarray:
    """Weight (O, kh, kw, C) as the matrix that is multiplied by blocks: (O, kh*C*kw)."""
    return weight.transpose(0, 1, 3, 2).reshape(weight.shape[0], -1)


def _blocks(x: np.ndarray, window: Window, tile: _Tile) -> np.ndarray:
    """The unrolled images under the kernel at each row of a tile: (rows, kh*C*kw, positions), overlapping views.

    With vertical dilation the rows under the kernel are not adjacent, and ``reshape`` makes the copy then needed.
    """
    (stride, _), (dilation, _) = window.stride, window.dilation
    unrolled, rows = _unroll(x, window, tile), tile.rows.stop - tile.rows.start
    by_row, by_value, by_position = unrolled.strides
    blocks = as_strided(
        unrolled,
        (rows, window.kernel[0], *unrolled.shape[1:]),
        (by_row * stride, by_row * dilation, by_value, by_position),
        writeable=False,
    )
    return blocks.reshape(rows, -1, unrolled.shape[2])


def _unroll(x: np.ndarray, window: Window, tile: _Tile) -> np.ndarray:
    """Stack the kernel's column shifts of the images under a tile, with their padding: (height, C*kw, positions)."""
    (top, height), (left, width) = (_under(tile, window, axis) for axis in (0, 1))
    cut, count = _cut(x[..., tile.images], top, height, left, width), tile.columns.stop - tile.columns.start
    by_row, by_channel, by_column, by_image = cut.strides
    stack = as_strided(
        cut,
        (height, x.shape[1], window.kernel[1], count, cut.shape[3]),
        (by_row, by_channel, by_column * window.dilation[1], by_column * window.stride[1], by_image),
        writeable=False,
    )
    return stack.reshape(height, x.shape[1] * window.kernel[1], -1)


def _under(tile: _Tile, window: Window, axis: int) -> Pair:
    """Where the pixels under a tile begin along an axis, and how many they are; below 0 lies the padding."""
    positions, stride = tile[axis], window.stride[axis]
    count = (positions.stop - positions.start - 1) * stride + window.extent[axis]
    return positions.start * stride - window.padding[axis][0], count


def _cut(x: np.ndarray, top: int, height: int, left: int, width: int) -> np.ndarray:
    """Rows and columns of images from a place on: a view, or a copy with zeros where that reaches beyond the images."""
    rows, columns = _within(top, height, x.shape[0]), _within(left, width, x.shape[2])
    there = x[rows.start + top : rows.stop + top, :, columns.start + left : columns.stop + left]
    shape = (height, x.shape[1], width, x.shape[3])
    if there.shape == shape:
        return there
    cut = np.empty(shape, dtype=x.dtype)
    cut[: rows.start] = cut[rows.stop :] = 0
    cut[rows, :, : columns.start] = cut[rows, :, columns.stop :] = 0
    cut[rows, :, columns] = there
    return cut


def _within(start: int, count: int, length: int) -> slice:
    """Which of ``count`` places from ``start`` on lie in an axis of a length."""
    first = min(max(0, -start), count)
    return slice(first, max(first, min(count, length - start)))
