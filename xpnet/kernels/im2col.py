"""Convolution for accelerators: every patch copied to a row of one matrix, then a single GEMM.

Few large operations, at the price of kh*kw copies of the input. Memory order is (N, H, W, C), the logical one.

Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

from __future__ import annotations

from typing import Any

from xpnet.backend import Array, array_namespace, on_accelerator
from xpnet.kernels.groups import gradients_groupwise, groupwise
from xpnet.kernels.windows import as_transposed_convolution, join, pad, taps
from xpnet.shapes import Pair, Window


def serves(operation: str, x: Array, *arguments: Any) -> bool:
    """Where each operation is a launch, so that few large ones win."""
    return on_accelerator(x)


@groupwise
def conv2d(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C), plus a bias (O,) if there is one."""
    xp = array_namespace(x)
    batch, outputs = x.shape[0], weight.shape[0]
    rows, columns = window.output_size(x.shape[1], x.shape[2])
    y = _patches(x, window) @ xp.reshape(weight, (outputs, -1)).T
    if bias is not None:
        y = y + bias
    return xp.reshape(y, (batch, rows, columns, outputs))


@gradients_groupwise
def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Gradients of ``conv2d`` with respect to its images (if needed) and weight."""
    dx = conv2d_input_gradient(dy, weight, window, x.shape[1:3]) if need_dx else None
    return dx, conv2d_weight_gradient(x, dy, window)


def conv2d_input_gradient(dy: Array, weight: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``conv2d`` with respect to images of size (H, W)."""
    dy, weight, window = as_transposed_convolution(dy, weight, window, image_size, axes=(1, 2))
    return conv2d(dy, weight, None, window)


def conv2d_weight_gradient(x: Array, dy: Array, window: Window) -> Array:
    """Gradient of ``conv2d`` with respect to its weight: dy^T @ patches."""
    xp = array_namespace(x)
    outputs = dy.shape[3]
    weight = xp.reshape(dy, (-1, outputs)).T @ _patches(x, window)
    return xp.reshape(weight, (outputs, *window.kernel, x.shape[3]))


def _patches(x: Array, window: Window) -> Array:
    """One row per output pixel with the kh*kw*C values under the kernel: (N*H'*W', kh*kw*C)."""
    xp = array_namespace(x)
    rows, columns = window.output_size(x.shape[1], x.shape[2])
    (kh, kw), (sh, sw), (dh, dw) = window.kernel, window.stride, window.dilation
    x = pad(pad(x, 1, *window.padding[0]), 2, *window.padding[1])
    values = [tap for band in taps(x, 1, kh, sh, dh, rows) for tap in taps(band, 2, kw, sw, dw, columns)]
    return xp.reshape(join(values, 3), (x.shape[0] * rows * columns, kh * kw * x.shape[3]))
