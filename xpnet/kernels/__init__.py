"""The few array kernels whose best form depends on the device; which one runs is decided here.

Both convolutions are pure Array API and each other's reference. Max-pooling is one function in either memory order.
"""

from __future__ import annotations

from types import ModuleType

from xpnet.backend import Array, on_accelerator
from xpnet.kernels import im2col, pooling, unrolled
from xpnet.kernels.pooling import Comparisons
from xpnet.kernels.windows import join, split, to_logical, to_memory
from xpnet.shapes import Pair, Window

__all__ = [
    "average_pool2d",
    "average_pool2d_input_gradient",
    "conv2d",
    "conv2d_input_gradient",
    "conv2d_weight_gradient",
    "max_pool2d",
    "max_pool2d_input_gradient",
]


def conv2d(x: Array, weight: Array, window: Window, groups: int = 1) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups) to images (N, H', W', O)."""
    kernel = _convolution(x).conv2d
    parts = zip(split(x, 3, groups), split(weight, 0, groups), strict=True)
    return join([kernel(*part, window) for part in parts], 3)


def conv2d_input_gradient(dy: Array, weight: Array, window: Window, image_size: Pair, groups: int = 1) -> Array:
    """Gradient of ``conv2d`` with respect to images of size (H, W)."""
    kernel = _convolution(dy).conv2d_input_gradient
    parts = zip(split(dy, 3, groups), split(weight, 0, groups), strict=True)
    return join([kernel(*part, window, image_size) for part in parts], 3)


def conv2d_weight_gradient(x: Array, dy: Array, window: Window, groups: int = 1) -> Array:
    """Gradient of ``conv2d`` with respect to its weight."""
    kernel = _convolution(x).conv2d_weight_gradient
    parts = zip(split(x, 3, groups), split(dy, 3, groups), strict=True)
    return join([kernel(*part, window) for part in parts], 0)


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


def average_pool2d(x: Array, window: Window) -> Array:
    """Mean of each window of images (N, H, W, C), zeros of the padding included."""
    if on_accelerator(x):
        return pooling.average_pool2d(x, window, axes=(1, 2))
    return to_logical(pooling.average_pool2d(to_memory(x), window, axes=(0, 2)))


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W)."""
    if on_accelerator(dy):
        return pooling.average_pool2d_input_gradient(dy, window, image_size, axes=(1, 2))
    return to_logical(pooling.average_pool2d_input_gradient(to_memory(dy), window, image_size, axes=(0, 2)))


def _convolution(x: Array) -> ModuleType:
    return im2col if on_accelerator(x) else unrolled
