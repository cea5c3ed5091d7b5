"""Convolution by XLA's own kernels, for JAX arrays."""

from __future__ import annotations

import jax
from jax import lax

from xpnet.backend import Array
from xpnet.shapes import Window


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
