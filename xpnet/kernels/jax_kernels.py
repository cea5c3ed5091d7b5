"""Convolution by XLA's own kernels, for JAX arrays, and two of its four poolings.

The others are left to the pure kernels: XLA's gradient of a maximum takes a CPU five to ten times as long, and its mean
is no faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp

from xpnet.backend import Array
from xpnet.shapes import Pair, Window


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C), plus a bias (O,) if there is one."""
    y = lax.conv_general_dilated(
        x,
        weight,
        window.stride,
        window.padding,
        rhs_dilation=window.dilation,
        dimension_numbers=("NHWC", "OHWI", "NHWC"),
    )
    return y if bias is None else y + bias


def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Gradients of ``conv2d`` with respect to its images (if needed) and weight."""
    _, pull_back = jax.vjp(lambda x, weight: conv2d(x, weight, None, window), x, weight)
    dx, dw = pull_back(dy)  # under jit, what is not needed is not computed
    return dx if need_dx else None, dw


def pools(window: Window) -> bool:
    """Whether windows do not overlap; where they do, the pure kernels compute less."""
    return all(stride >= size for stride, size in zip(window.stride, window.kernel, strict=True))


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
