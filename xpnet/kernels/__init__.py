"""The few array kernels whose best form depends on the library and device; which one runs is decided here.

``unrolled`` and ``im2col`` are pure Array API, for any library, and each other's reference. A delegate serves one
library; ``use_delegates(False)`` leaves everything to the pure ones. Pooling is one function in either memory order.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from array_api_compat import array_namespace, is_jax_array, is_numpy_array, is_torch_array

from xpnet.backend import Array, on_accelerator
from xpnet.kernels import im2col, numpy_kernels, pooling, unrolled
from xpnet.kernels.windows import join, split, to_logical, to_memory
from xpnet.shapes import Pair, Window

__all__ = [
    "average_pool2d",
    "average_pool2d_input_gradient",
    "channel_sum",
    "conv2d",
    "conv2d_backward",
    "in_use",
    "max_pool2d",
    "max_pool2d_input_gradient",
    "max_pool2d_with_winners",
    "use_delegates",
]

_delegating = True


def use_delegates(allowed: bool) -> None:
    """Whether kernels written for one library may take the place of the pure ones, in this whole process."""
    global _delegating
    _delegating = allowed


def in_use() -> dict[str, str]:
    """What rounding depends on beside library and device: which kernels may serve, and NumPy's number of threads."""
    return {"kernels": "fastest" if _delegating else "pure", "threads": str(numpy_kernels.threads())}


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups), plus a bias (O,).

    The result is images (N, H', W', O).
    """
    kernel = _convolution(x).conv2d
    biases = [None] * groups if bias is None else split(bias, 0, groups)
    parts = zip(split(x, 3, groups), split(weight, 0, groups), biases, strict=True)
    return join([kernel(*part, window) for part in parts], 3)


def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, groups: int = 1, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Gradients of ``conv2d`` with respect to its images (None unless needed) and weight."""
    kernel = _convolution(x).conv2d_backward
    parts = zip(split(x, 3, groups), split(dy, 3, groups), split(weight, 0, groups), strict=True)
    dx, weight_gradient = zip(*(kernel(*part, window, need_dx=need_dx) for part in parts), strict=True)
    return join(list(dx), 3) if need_dx else None, join(list(weight_gradient), 0)


def channel_sum(x: Array) -> Array:
    """Sum over all axes but the last: of images (N, H, W, C) or rows (N, C) for each channel, (C,)."""
    if _delegating and is_numpy_array(x):
        return numpy_kernels.channel_sum(x)
    return array_namespace(x).sum(x, axis=tuple(range(x.ndim - 1)))


def max_pool2d(x: Array, window: Window) -> Array:
    """Maximum of each window of images (N, H, W, C)."""
    delegate = _pooling_delegate(x, window)
    if delegate:
        return delegate.max_pool2d(x, window)
    if _batch_is_innermost(x):
        return to_logical(pooling.max_pool2d(to_memory(x), window, axes=(0, 2)))
    return pooling.max_pool2d(x, window, axes=(1, 2))


def max_pool2d_with_winners(x: Array, window: Window) -> tuple[Array, Any]:
    """The same maximum, and what ``max_pool2d_input_gradient`` needs to know about who won."""
    delegate = _pooling_delegate(x, window)
    if delegate:
        return delegate.max_pool2d_with_winners(x, window)
    if not _batch_is_innermost(x):
        return pooling.max_pool2d_with_winners(x, window, axes=(1, 2))
    y, winners = pooling.max_pool2d_with_winners(to_memory(x), window, axes=(0, 2))
    return to_logical(y), winners


def max_pool2d_input_gradient(dy: Array, winners: Any, window: Window, image_size: Pair) -> Array:
    """Gradient of ``max_pool2d`` with respect to images of size (H, W)."""
    delegate = _pooling_delegate(dy, window)
    if delegate:
        return delegate.max_pool2d_input_gradient(dy, winners, window)
    if not _batch_is_innermost(dy):
        return pooling.max_pool2d_input_gradient(dy, winners, window, image_size, axes=(1, 2))
    dx = pooling.max_pool2d_input_gradient(to_memory(dy), winners, window, image_size, axes=(0, 2))
    return to_logical(dx)


def average_pool2d(x: Array, window: Window) -> Array:
    """Mean of each window of images (N, H, W, C), zeros of the padding included."""
    if _batch_is_innermost(x):
        return to_logical(pooling.average_pool2d(to_memory(x), window, axes=(0, 2)))
    return pooling.average_pool2d(x, window, axes=(1, 2))


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W)."""
    if _batch_is_innermost(dy):
        return to_logical(pooling.average_pool2d_input_gradient(to_memory(dy), window, image_size, axes=(0, 2)))
    return pooling.average_pool2d_input_gradient(dy, window, image_size, axes=(1, 2))


def _convolution(x: Array) -> ModuleType:
    """The module whose convolution serves an array."""
    if _delegating and is_numpy_array(x):
        return numpy_kernels
    if _delegating and is_torch_array(x):
        return import_module("xpnet.kernels.torch_kernels")
    if _delegating and is_jax_array(x):
        return import_module("xpnet.kernels.jax_kernels")
    return im2col if on_accelerator(x) else unrolled


def _batch_is_innermost(x: Array) -> bool:
    """Whether the convolution that serves an array leaves images as (H, C, W, N) in memory."""
    return _convolution(x) in (numpy_kernels, unrolled)


def _pooling_delegate(x: Array, window: Window) -> ModuleType | None:
    """PyTorch's kernels for its arrays, where they know the window: its padding is the same at both sides."""
    symmetric = all(before == after for before, after in window.padding)
    return _convolution(x) if _delegating and symmetric and is_torch_array(x) else None
