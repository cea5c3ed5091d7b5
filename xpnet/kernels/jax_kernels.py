"""Convolution by XLA's own kernels, for JAX arrays, and two of its four poolings.

The others are left to the pure kernels: XLA's gradient of a maximum takes a CPU five to ten times as long, and its mean
is no faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from xpnet.backend import Array
from xpnet.kernels.products import channel_sum
from xpnet.shapes import Pair, Window


def serves(operation: str, x: Array, *arguments: Any) -> bool:
    """Any convolution, and pooling by windows that do not overlap; where they do, the pure kernels compute less."""
    if operation.startswith("conv2d"):
        return True
    window: Window = arguments[0]
    return all(stride >= size for stride, size in zip(window.stride, window.kernel, strict=True))


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups), plus a bias (O,) if any."""
    y = lax.conv_general_dilated(
        x,
        weight,
        window.stride,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "OHWI", "NHWC"),
        feature_group_count=groups,
    )
    return y if bias is None else y + bias


def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, groups: int = 1, *, need_dx: bool = True, need_db: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Gradients of ``conv2d`` with respect to its images, weight and bias; None for what is not needed."""
    _, pull_back = jax.vjp(lambda x, weight: conv2d(x, weight, None, window, groups), x, weight)
    dx, dw = pull_back(dy)  # under jit, what is not needed is not computed
    return dx if need_dx else None, dw, channel_sum(dy) if need_db else None


def max_pool2d(x: Array, window: Window) -> Array:
    """Maximum of each window of images (N, H, W, C)."""
    return _reduce(x, -jnp.inf, lax.max, window)


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W)."""
    images = jax.ShapeDtypeStruct((dy.shape[0], *image_size, dy.shape[3]), dy.dtype)
    (dx,) = jax.linear_transpose(lambda x: _reduce(x, 0.0, lax.add, window), images)(dy)
    return dx * (1 / math.prod(window.kernel))


def _reduce(x: Array, start: float, operation: Callable[..., Array], window: Window) -> Array:
    padding = ((0, 0), *window.padding, (0, 0))
    return lax.reduce_window(x, start, operation, (1, *window.kernel, 1), (1, *window.stride, 1), padding)
