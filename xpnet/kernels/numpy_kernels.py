"""Convolution on NumPy arrays: the method of ``unrolled``, with what only NumPy can do.

One GEMM per output row runs inside a single ``matmul`` over overlapping views of the unrolled images, which the
standard cannot express; images are unrolled in one copy instead of three; both gradients share the unrolled ``dy``;
and bands of output rows go to threads, since BLAS cannot divide GEMMs as small as these among cores with profit.

Memory order is that of ``unrolled``, (H, C, W, N).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from itertools import pairwise
from math import gcd
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided

from xpnet.kernels.windows import sum_arrays, to_logical, to_memory
from xpnet.shapes import Window, extent

T = TypeVar("T")

_CHUNK = 2**22  # values in the products that are summed at a time, so that they take no more memory than images do
_WORTH_SHARING = 2**23  # multiplications that take longer than waking a thread, about 50 us
_threads = 1


def set_threads(count: int) -> None:
    """Share large convolutions among so many threads of this process.

    From the first one shared on, BLAS has one thread: both at once would wait for each other. Weight gradients are then
    sums in another order.
    """
    global _threads
    _threads = count


def threads() -> int:
    """How many threads share large convolutions."""
    return _threads


def conv2d(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, window: Window) -> np.ndarray:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C), plus a bias (O,) if there is one."""
    x = to_memory(x)
    y, matrix = _output(x, weight, window), _as_matrix(weight)

    def band(start: int, stop: int) -> None:
        np.matmul(matrix, _blocks(x, window, start, stop), out=y[start:stop])
        if bias is not None:
            y[start:stop] += bias[:, None]

    _in_bands(len(y), y.size * matrix.shape[1], band)
    return _as_images(y, x.shape[3])


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


def channel_sum(x: np.ndarray) -> np.ndarray:
    """Sum over all axes but the last, as a product with ones: NumPy's own sum is up to 17 times slower here."""
    if x.ndim != 4:
        return np.ones(x.size // x.shape[-1], dtype=x.dtype) @ x.reshape(-1, x.shape[-1])
    height, channels = x.shape[1], x.shape[3]
    rows = to_memory(x).reshape(height * channels, -1)
    return (rows @ np.ones(rows.shape[1], dtype=x.dtype)).reshape(height, channels).sum(axis=0)


class _Phase(NamedTuple):
    """Along one axis, every stride-th pixel of the images: they met the same taps of the kernel.

    Pixel p met tap u at output position (p + padding - dilation*u) / stride, where that is a whole number. The gradient
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
    dx, matrix = _output(dy, flipped, window), _as_matrix(flipped)

    def band(start: int, stop: int) -> np.ndarray:
        blocks = _blocks(dy, window, start, stop)
        np.matmul(matrix, blocks, out=dx[start:stop])
        return _products(blocks, x[start:stop])

    by_tap = sum_arrays(_in_bands(height, dx.size * matrix.shape[1], band)).reshape(kernel[0], -1, kernel[1], channels)
    return dx.reshape(x.shape), np.flip(by_tap, axis=(0, 2)).transpose(1, 0, 2, 3)


def _weight_gradient(x: np.ndarray, dy: np.ndarray, window: Window) -> np.ndarray:
    work = dy.size * x.shape[1] * window.kernel[0] * window.kernel[1]
    sums = _in_bands(len(dy), work, lambda start, stop: _products(_blocks(x, window, start, stop), dy[start:stop]))
    return np.reshape(sum_arrays(sums), (window.kernel[0], -1, window.kernel[1], dy.shape[1])).transpose(3, 0, 2, 1)


def _in_bands(rows: int, multiplications: int, function: Callable[[int, int], T]) -> list[T]:
    """Results of ``function(start, stop)`` for bands that cover all rows, one for each thread where that pays."""
    bands = min(_threads, rows)
    if bands == 1 or multiplications < _WORTH_SHARING:
        return [function(0, rows)]
    first, *others = pairwise(rows * band // bands for band in range(bands + 1))
    # Each in a copy of this context, which holds what np.errstate was told.
    promises = [_helpers(_threads - 1).submit(copy_context().run, function, *other) for other in others]
    return [function(*first), *(promise.result() for promise in promises)]


@cache
def _helpers(count: int) -> ThreadPoolExecutor:
    import threadpoolctl  # here: most programs never share

    threadpoolctl.threadpool_limits(limits=1, user_api="blas")
    return ThreadPoolExecutor(count)


def _products(blocks: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Sum over rows of block @ row^T, with images (rows, C, W', N): (kh*C*kw, C)."""
    rows, channels = images.shape[:2]
    transposed = images.reshape(rows, channels, -1).transpose(0, 2, 1)
    step = max(1, _CHUNK // (blocks.shape[1] * channels))
    chunks = [slice(row, row + step) for row in range(0, rows, step)]
    return sum_arrays([np.matmul(blocks[chunk], transposed[chunk]).sum(axis=0) for chunk in chunks])


def _output(x: np.ndarray, weight: np.ndarray, window: Window) -> np.ndarray:
    """Room for the result of convolving images in memory order: (H', O, W'*N)."""
    rows, columns = window.output_size(x.shape[0], x.shape[2])
    return np.empty((rows, weight.shape[0], columns * x.shape[3]), dtype=x.dtype)


def _as_images(y: np.ndarray, batch: int) -> np.ndarray:
    return to_logical(y.reshape(*y.shape[:2], -1, batch))


def _as_matrix(weight: np.ndarray) -> np.ndarray:
    """Weight (O, kh, kw, C) as the matrix that is multiplied by blocks: (O, kh*C*kw)."""
    return weight.transpose(0, 1, 3, 2).reshape(weight.shape[0], -1)


def _blocks(x: np.ndarray, window: Window, start: int, stop: int) -> np.ndarray:
    """The unrolled images under the kernel at output rows from start to stop: (rows, kh*C*kw, W'*N), overlapping views.

    With vertical dilation the rows under the kernel are no neighbours, and ``reshape`` makes the copy then needed.
    """
    (stride, _), (dilation, _) = window.stride, window.dilation
    top, height = window.padding[0][0] - start * stride, (stop - start - 1) * stride + window.extent[0]
    unrolled = _unroll(x, window, top, height)
    by_row, by_value, by_column = unrolled.strides
    blocks = as_strided(
        unrolled,
        (stop - start, window.kernel[0], *unrolled.shape[1:]),
        (by_row * stride, by_row * dilation, by_value, by_column),
        writeable=False,
    )
    return blocks.reshape(stop - start, -1, unrolled.shape[2])


def _unroll(x: np.ndarray, window: Window, top: int, height: int) -> np.ndarray:
    """Stack the kernel's column shifts of images with ``top`` rows of padding: (height, C*kw, W'*N).

    Negative padding crops.
    """
    (rows, channels, width, batch), columns = x.shape, window.output_size(x.shape[0], x.shape[2])[1]
    taps, stride = window.kernel[1], window.stride[1]
    stack = np.zeros((height, channels, taps, columns, batch), dtype=x.dtype)
    source = slice(max(0, -top), min(rows, height - top))
    target = slice(source.start + top, source.stop + top)
    for tap in range(taps):
        # Output column j lies over column j*stride + offset; only those inside the image are copied.
        offset = tap * window.dilation[1] - window.padding[1][0]
        first, stop = max(0, -(offset // stride)), min(columns, (width - 1 - offset) // stride + 1)
        if first < stop and source.start < source.stop:
            under = slice(first * stride + offset, (stop - 1) * stride + offset + 1, stride)
            stack[target, :, tap, first:stop] = x[source, :, under]
    return stack.reshape(height, channels * taps, columns * batch)
