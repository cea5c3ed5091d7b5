"""Convolution for CPUs: one image dimension unrolled, one GEMM per output row.

Images are held in memory as (H, C, W, N) and handed out as a permuted view in the logical order (N, H, W, C). Column
shifts of the input are stacked once (kw copies, where im2col makes kh*kw); the rows under the kernel are then a
contiguous block of that stack and need no copy.

Source: Cho and Brand, "MEC: memory-efficient convolution for deep neural network", ICML 2017, arXiv:1706.06873.
"""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, array_namespace
from xpnet.kernels.groups import gradients_groupwise, groupwise
from xpnet.kernels.windows import (
    as_transposed_convolution,
    narrow,
    pad,
    sum_arrays,
    taps,
    to_logical,
    to_memory,
)
from xpnet.shapes import Pair, Window


def serves(operation: str, *arguments: Any) -> bool:
    """Always."""
    return True


@groupwise
def conv2d(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C), plus a bias (O,) if there is one."""
    y = to_logical(_conv2d(to_memory(x), weight, window))
    return y if bias is None else y + bias


@gradients_groupwise
def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Gradients of ``conv2d`` with respect to its images (if needed) and weight."""
    dx = conv2d_input_gradient(dy, weight, window, x.shape[1:3]) if need_dx else None
    return dx, conv2d_weight_gradient(x, dy, window)


def conv2d_input_gradient(dy: Array, weight: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``conv2d`` with respect to images of size (H, W)."""
    dy, weight, window = as_transposed_convolution(to_memory(dy), weight, window, image_size, axes=(0, 2))
    return to_logical(_conv2d(dy, weight, window))


def conv2d_weight_gradient(x: Array, dy: Array, window: Window) -> Array:
    """Gradient of ``conv2d`` with respect to its weight: the sum over rows of U_row @ dy_row^T."""
    xp = array_namespace(x)
    x, dy = to_memory(x), to_memory(dy)
    rows, outputs, columns, batch = dy.shape
    channels, (kh, kw) = x.shape[1], window.kernel
    unrolled = _unroll(x, window, columns)
    products = [
        _rows_under(unrolled, window, row) @ xp.reshape(dy[row, ...], (outputs, columns * batch)).T
        for row in range(rows)
    ]
    weight = xp.reshape(sum_arrays(products), (kh, channels, kw, outputs))
    return xp.permute_dims(weight, (3, 0, 2, 1))


def _conv2d(x: Array, weight: Array, window: Window) -> Array:
    """Convolve images in memory order (H, C, W, N) to images (H', O, W', N)."""
    xp = array_namespace(x)
    outputs, batch = weight.shape[0], x.shape[3]
    rows, columns = window.output_size(x.shape[0], x.shape[2])
    matrix = xp.reshape(xp.permute_dims(weight, (0, 1, 3, 2)), (outputs, -1))
    unrolled = _unroll(x, window, columns)
    if window.kernel[0] == 1:  # each output row lies over one row of the stack: no Python loop, no copy of the result
        step = window.stride[0]
        y = matrix @ narrow(unrolled, 0, 0, step * (rows - 1) + 1, step)
    else:
        y = xp.stack([matrix @ _rows_under(unrolled, window, row) for row in range(rows)])
    return xp.reshape(y, (rows, outputs, columns, batch))


def _unroll(x: Array, window: Window, columns: int) -> Array:
    """Stack the kernel's column shifts of the padded images: (H_pad, C*kw, W'*N)."""
    xp = array_namespace(x)
    x = pad(pad(x, 0, *window.padding[0]), 2, *window.padding[1])
    height, channels, _, batch = x.shape
    shifts = taps(x, 2, window.kernel[1], window.stride[1], window.dilation[1], columns)
    stack = shifts[0] if len(shifts) == 1 else xp.stack(shifts, axis=2)
    return xp.reshape(stack, (height, channels * window.kernel[1], columns * batch))


def _rows_under(unrolled: Array, window: Window, row: int) -> Array:
    """The rows of the stack that lie under the kernel at one output row: (kh*C*kw, W'*N)."""
    start = row * window.stride[0]
    block = narrow(unrolled, 0, start, start + window.extent[0], window.dilation[0])
    return array_namespace(unrolled).reshape(block, (-1, unrolled.shape[2]))
