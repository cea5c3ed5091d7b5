"""The few array kernels whose best form depends on the device; which one runs is decided here.

Both convolutions are pure Array API and each other's reference. Max-pooling is one function in either memory order.
"""

from __future__ import annotations

from types import ModuleType

from xpnet.backend import Array, on_accelerator
from xpnet.kernels import im2col, pooling, unrolled
from xpnet.kernels.pooling import Comparisons
from xpnet.kernels.windows import to_logical, to_memory
from xpnet.shapes import Pair, Window

__all__ = [
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "max_pool2d",
    "max_pool2d_input_gradient",
]


def conv2d(x: Array, weight: Array, window: Window) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C) to images (N, H', W', O)."""
    return _convolution(x).conv2d(x, weight, window)


def conv2d_input_gradient(dy: Array, weight: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``conv2d`` with respect to images of size (H, W)."""
    return _convolution(dy).conv2d_input_gradient(dy, weight, window, image_size)


def conv2d_weight_gradient(x: Array, dy: Array, window: Window) -> Array:
    """Gradient of ``conv2d`` with respect to its weight."""
    return _convolution(x).conv2d_weight_gradient(x, dy, window)


def max_pool2d(x: Array, window: Window) -> tuple[Array, Comparisons]:
    """Maximum of each window of images (N, H, W, C), and what ``max_pool2d_input_gradient`` needs."""
    if on_accelerator(x):
        return pooling.max_pool2d(x, window, axes=(1, 2))
    y, comparisons = pooling.max_pool2d(to_memory(x), window, axes=(0, 2))
    return to_logical(y), comparisons


def max_pool2d_input_gradient(dy: Array, comparisons: Comparisons, window: Window, image_size: Pair) -> Array:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W)."""
    if on_accelerator(dy):
        return pooling.max_pool2d_input_gradient(dy, comparisons, window, image_size, axes=(1, 2))
    dx = pooling.max_pool2d_input_gradient(to_memory(dy), comparisons, window, image_size, axes=(0, 2))
    return to_logical(dx)


def _convolution(x: Array) -> ModuleType:
    return im2col if on_accelerator(x) else unrolled
