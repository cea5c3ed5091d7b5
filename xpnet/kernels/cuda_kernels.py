"""Pooling, loss, sums of channels and batch normalisation as one CUDA kernel or a few each, for CuPy arrays of float32.

The sources are in ``cuda/``, one family per file, and are compiled by NVRTC when first called. Memory is (N, H, W, C)
without gaps. Every sum has one order, so that a step repeated gives the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import cupy
import numpy as np

from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.kernels.cuda_sources import source
from xpnet.shapes import Pair, Window

Arrays = Mapping[str, Array]
THREADS = 256  # of a block, 8 warps of 32
LANES = 32
MOST_THREADS = 1024  # of a block
LOSS_STRANDS = 32  # rows of a block at a time
_LOGITS_OF_A_BLOCK = 2**16  # so many one block goes through before more of them, and a sum of theirs, would be faster
_ROWS_OF_A_BLOCK = 1024  # so many are summed by one block for each of its channels, which saves a launch
MOST_ELEMENTS = 2**30  # so that no sum of two indices leaves 32 bits
NO_ADDRESS = np.intp(0)  # CuPy passes None as an argument without a value
_OPTIONS = ("-std=c++17", "--fmad=false")  # products are rounded before they are added, as in array operations


def serves(operation: str, *arguments: Any) -> bool:
    """Whether the kernels can read the arrays, and know the window or the optimizer."""
    return _SERVES[operation](*arguments)


def reads(*arrays: Array) -> bool:
    """float32 without gaps, neither empty nor too large."""
    return all(
        array.dtype == np.float32 and array.flags.c_contiguous and 0 < array.size <= MOST_ELEMENTS for array in arrays
    )


def _serves_pooling(x: Array, window: Window) -> bool:
    """Taps are numbered in a byte, and no window may lie wholly in the padding."""
    inside = all(2 * max(padding) <= size for padding, size in zip(window.padding, window.kernel, strict=True))
    fits = math.prod(window.kernel) < 256 and math.prod(_pooled_shape(x, window)) <= MOST_ELEMENTS
    return reads(x) and inside and fits


def _serves_loss(logits: Array, labels: Array, label_smoothing: float) -> bool:
    return reads(logits)


def _serves_accuracy(logits: Array, labels: Array, dtype: Any) -> bool:
    return reads(logits) and dtype == np.float32


def _serves_batch_norm(x: Array, params: Arrays, state: Arrays, *numbers: float) -> bool:
    return reads(x, *params.values(), *state.values())


def _serves_channel_sum(x: Array) -> bool:
    return x.ndim > 1 and reads(x)


_SERVES: Mapping[str, Callable[..., bool]] = {
    "max_pool2d": _serves_pooling,
    "max_pool2d_with_winners": _serves_pooling,
    "rectified_max_pool2d": _serves_pooling,
    "softmax_cross_entropy": _serves_loss,
    "accuracy": _serves_accuracy,
    "channel_sum": _serves_channel_sum,
    "batch_norm": _serves_batch_norm,
    "batch_norm_by_running_statistics": _serves_batch_norm,
}


def max_pool2d(x: Array, window: Window) -> Array:
    """Maximum of each window of images (N, H, W, C)."""
    return _max_pool2d(x, window, NO_ADDRESS, relu=False)


def max_pool2d_with_winners(x: Array, window: Window) -> tuple[Array, Array]:
    """The same maximum, and the number of the tap that won each window."""
    winners = cupy.empty(_pooled_shape(x, window), dtype=np.uint8)
    return _max_pool2d(x, window, winners, relu=False), winners


def rectified_max_pool2d(x: Array, window: Window) -> tuple[Array, Array]:
    """max(y, 0) of the maximum y, and the winners of those windows whose maximum is above 0."""
    winners = cupy.empty(_pooled_shape(x, window), dtype=np.uint8)
    return _max_pool2d(x, window, winners, relu=True), winners


def max_pool2d_input_gradient(dy: Array, winners: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W).

    Raises InputError if dy has another shape than the winners: the kernel would read beyond their end.
    """
    if dy.shape != winners.shape:
        raise InputError(f"Max-pooling: expected dy in the shape of y, {winners.shape}, got {dy.shape}. Change dy.")
    batch, rows, columns, channels = dy.shape
    dx = cupy.empty((batch, *image_size, channels), dtype=dy.dtype)
    sizes = (*image_size, channels, rows, columns, *_taps(window))
    arrays = (cupy.ascontiguousarray(dy), winners, dx)
    _over_lines("max_pool/max_pool2d_input_gradient", dx, *arrays, *integers(*sizes))
    return dx


def softmax_cross_entropy(logits: Array, labels: Array, label_smoothing: float) -> tuple[Array, Array]:
    """Mean loss of logits (N, K) and its gradient."""
    rows, classes = logits.shape
    count = 1 if rows * classes <= _LOGITS_OF_A_BLOCK else blocks(rows, LOSS_STRANDS)
    losses, gradient = cupy.empty(count, dtype=logits.dtype), cupy.empty_like(logits)
    arrays = (logits, cupy.ascontiguousarray(labels, dtype=np.int32), losses, gradient)
    numbers = (*floats(1 - label_smoothing, label_smoothing / classes), *integers(rows, classes))
    _launch("cross_entropy/softmax_cross_entropy", (count,), (LANES, LOSS_STRANDS), *arrays, *numbers)
    return losses[0] if count == 1 else losses.sum(), gradient


def accuracy(logits: Array, labels: Array, dtype: Any) -> Array:
    """The share of rows of logits (N, K) whose largest is that of their label."""
    (rows, classes), share = logits.shape, cupy.empty((), dtype=dtype)
    arrays = (logits, cupy.ascontiguousarray(labels, dtype=np.int32), share)
    _launch("cross_entropy/accuracy", (1,), (THREADS,), *arrays, *integers(rows, classes))
    return share


def channel_sum(x: Array) -> Array:
    """Sum over all axes but the last."""
    rows, channels = _rows_and_channels(x)
    if rows <= _ROWS_OF_A_BLOCK:
        return _channel_sums(x, rows, channels, *over_slabs(channels), rows)[0]
    grid, block, slab_rows = slabs(rows, channels)
    parts = _channel_sums(x, rows, channels, grid, block, slab_rows)
    return _channel_sums(parts, len(parts), channels, *over_slabs(channels), len(parts))[0]


def batch_norm(
    x: Array, params: Arrays, state: Arrays, momentum: float, eps: float, *, relu: bool
) -> tuple[Array, Arrays, Arrays]:
    """Normalise x by its own mean and variance: the result, what the gradients need, and new running statistics."""
    rows, channels = _rows_and_channels(x)
    grid, block, slab_rows = slabs(rows, channels)
    parts, sizes = empty(2, (grid[1], channels)), integers(rows, channels, slab_rows)
    _launch("batch_norm/slab_moments", grid, block, x, *parts, *sizes)
    mean, inverse_std, running_mean, running_var = empty(4, (channels,))
    arrays = (*parts, state["running_mean"], state["running_var"], mean, inverse_std, running_mean, running_var)
    numbers = floats(eps, 1 - momentum, momentum, momentum * rows / (rows - 1))
    _launch("batch_norm/moments", *over_slabs(channels), *arrays, *numbers, *sizes, *integers(grid[1]))
    (y,) = empty(1, x.shape)
    arrays = (x, mean, inverse_std, params["weight"], params["bias"], y)
    _launch("batch_norm/normalize", grid, block, *arrays, *integers(relu), *sizes)
    saved = {"batch": x, "mean": mean, "inverse_std": inverse_std}
    return y, saved, {"running_mean": running_mean, "running_var": running_var}


def batch_norm_by_running_statistics(
    x: Array, params: Arrays, state: Arrays, eps: float, *, relu: bool
) -> tuple[Array, Arrays]:
    """Normalise x by the running mean and variance: the result, and what the gradients need."""
    rows, channels = _rows_and_channels(x)
    grid, block, slab_rows = slabs(rows, channels)
    (y,), (inverse_std,) = empty(1, x.shape), empty(1, (channels,))
    mean, variance = state["running_mean"], state["running_var"]
    arrays = (x, mean, variance, params["weight"], params["bias"], y, inverse_std)
    sizes = integers(relu, rows, channels, slab_rows)
    _launch("batch_norm/normalize_by_variance", grid, block, *arrays, *floats(eps), *sizes)
    return y, {"batch": x, "mean": mean, "inverse_std": inverse_std}


def batch_norm_gradients(
    dy: Array, params: Arrays, saved: Arrays, *, constant: bool, relu: bool, need_dx: bool
) -> tuple[Array | None, Arrays]:
    """Gradients with respect to x (None unless needed) and the parameters; ``constant``: the statistics were given."""
    inputs = (cupy.ascontiguousarray(dy), saved["batch"], saved["mean"], saved["inverse_std"])
    inputs += tuple(cupy.ascontiguousarray(params[name]) for name in ("weight", "bias"))
    rows, channels = _rows_and_channels(dy)
    grid, block, slab_rows = slabs(rows, channels)
    parts, (dbias, dweight) = empty(2, (grid[1], channels)), empty(2, (channels,))
    sizes = integers(rows, channels, slab_rows)
    _launch("batch_norm/slab_gradients", grid, block, *inputs, *parts, *integers(relu), *sizes)
    arrays = (*parts, dbias, dweight)
    _launch("batch_norm/parameter_gradients", *over_slabs(channels), *arrays, *integers(channels, grid[1]))
    grads = {"weight": dweight, "bias": dbias}
    if not need_dx:
        return None, grads
    (dx,) = empty(1, dy.shape)
    _launch("batch_norm/input_gradient", grid, block, *inputs, dbias, dweight, dx, *integers(relu, constant), *sizes)
    return dx, grads


def blocks(count: int, per_block: int) -> int:
    """Blocks that it takes for so many elements."""
    return -(-count // per_block)


def slabs(rows: int, channels: int) -> tuple[Pair, Pair, int]:
    """Blocks along channels and slabs of rows, the threads (lanes, strands) of each, and the rows of a slab.

    About 1024 blocks fill a large GPU; a strand that takes fewer than eight rows would not be worth its result.
    """
    lanes = _lanes(channels)
    across, strands = blocks(channels, lanes), THREADS // lanes
    slab_rows = blocks(rows, min(blocks(rows, 8 * strands), max(1, 1024 // across)))
    return (across, blocks(rows, slab_rows)), (lanes, strands), slab_rows


def over_slabs(channels: int) -> tuple[Pair, Pair]:
    """Blocks and threads for what the slabs have left: few blocks, so each of many threads."""
    lanes = _lanes(channels)
    return (blocks(channels, lanes), 1), (lanes, MOST_THREADS // lanes)


def _max_pool2d(x: Array, window: Window, winners: Array, *, relu: bool) -> Array:
    y = cupy.empty(_pooled_shape(x, window), dtype=x.dtype)
    sizes = (*x.shape[1:], *y.shape[1:3], *_taps(window))
    _over_lines("max_pool/max_pool2d", y, x, y, winners, *integers(*sizes, relu))
    return y


def _over_lines(kernel: str, images: Array, *arguments: Any) -> None:
    """Launch a kernel with one block for each line of images (N, H, W, C)."""
    batch, height, width, channels = images.shape
    if images.size:
        threads = min(THREADS, LANES * blocks(width * channels, LANES))
        _launch(kernel, (batch * height,), (threads,), *arguments)


def _pooled_shape(x: Array, window: Window) -> tuple[int, ...]:
    batch, height, width, channels = x.shape
    return (batch, *window.output_size(height, width), channels)


def _taps(window: Window) -> tuple[int, ...]:
    return (*window.kernel, *window.stride, window.padding[0][0], window.padding[1][0])


def _channel_sums(x: Array, rows: int, channels: int, grid: Pair, block: Pair, slab_rows: int) -> Array:
    (sums,) = empty(1, (grid[1], channels))
    _launch("channel_sum/channel_sum", grid, block, x, sums, *integers(rows, channels, slab_rows))
    return sums


def _lanes(channels: int) -> int:
    """Threads along the channels: a power of two, so that of few channels a warp reads several rows."""
    return min(LANES, 1 << (channels - 1).bit_length())


def _rows_and_channels(x: Array) -> Pair:
    return math.prod(x.shape[:-1]), x.shape[-1]


def empty(number: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """New arrays of float32."""
    return tuple(cupy.empty(shape, dtype=np.float32) for _ in range(number))


def floats(*numbers: float) -> tuple[np.float32, ...]:
    """Numbers as kernels take them."""
    return tuple(map(np.float32, numbers))


def integers(*numbers: int) -> tuple[np.int32, ...]:
    """Numbers as kernels take them."""
    return tuple(map(np.int32, numbers))


def over_elements(kernel: str, count: int, *arguments: Any) -> None:
    """Launch a kernel with one thread for each of so many elements; their count is its last argument."""
    _launch(kernel, (blocks(count, THREADS),), (THREADS,), *arguments, *integers(count))


def _launch(kernel: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any) -> None:
    try:
        _function(kernel)(grid, block, arguments)
    except cupy.cuda.driver.CUDADriverError as error:
        error.add_note(f"At the launch of {kernel}. With CUDA_LAUNCH_BLOCKING=1 it is the kernel that failed.")
        raise


@cache
def _function(kernel: str) -> Any:
    """A function of a file: ``file/function``."""
    file, name = kernel.split("/")
    return _module(file).get_function(name)


@cache
def _module(file: str) -> Any:
    return cupy.RawModule(code=source(f"{file}.cu"), options=_OPTIONS)
