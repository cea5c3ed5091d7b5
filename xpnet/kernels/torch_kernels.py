"""Convolution and pooling by PyTorch's own kernels, for its arrays.

Images (N, H, W, C) are what PyTorch calls channels_last, so the permuted views cost nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from xpnet.backend import Array, on_accelerator
from xpnet.kernels.choice import is_deterministic
from xpnet.kernels.windows import pad
from xpnet.shapes import Pair, Window


def serves(operation: str, x: Array, *arguments: Any) -> bool:
    """Any convolution, and pooling by windows with as much padding at one side as at the other.

    On a GPU PyTorch's gradient of a maximum adds in no fixed order.
    """
    if operation.startswith("conv2d"):
        return True
    return _is_even(arguments[0]) and not (is_deterministic() and on_accelerator(x))


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Cross-correlation of images (N, H, W, C) with a weight (O, kh, kw, C / groups), plus a bias (O,) if any."""
    x, padding = _even_padding(x, window)
    y = functional.conv2d(_nchw(x), _nchw(weight), bias, window.stride, padding, window.dilation, groups)
    return _nhwc(y)


def conv2d_backward(
    x: Array, dy: Array, weight: Array, window: Window, groups: int = 1, *, need_dx: bool = True, need_db: bool = True
) -> tuple[Array | None, Array, Array | None]:
    """Gradients of ``conv2d`` with respect to its images, weight and bias; None for what is not needed."""
    (height, width), (top, left) = x.shape[1:3], (before for before, _ in window.padding)
    x, padding = _even_padding(x, window)
    dx, dw, db = torch.ops.aten.convolution_backward(
        _nchw(dy),
        _nchw(x),
        _nchw(weight),
        [weight.shape[0]] if need_db else None,
        window.stride,
        padding,
        window.dilation,
        False,  # no transposed convolution
        (0, 0),
        groups,
        (need_dx, True, need_db),
    )
    if dx is not None:
        dx = _nhwc(dx)
        if x.shape[1:3] != (height, width):
            dx = dx[:, top : top + height, left : left + width, :]
    return dx, _nhwc(dw), db


def max_pool2d(x: Array, window: Window) -> Array:
    """Maximum of each window of images (N, H, W, C)."""
    return _nhwc(functional.max_pool2d(_nchw(x), window.kernel, window.stride, _padding(window)))


def max_pool2d_with_winners(x: Array, window: Window) -> tuple[Array, dict[str, Array]]:
    """The same maximum, and what ``max_pool2d_input_gradient`` needs; among equals PyTorch's winner is ours."""
    y, winners = functional.max_pool2d(_nchw(x), window.kernel, window.stride, _padding(window), return_indices=True)
    return _nhwc(y), {"x": x, "winners": winners}


def max_pool2d_input_gradient(dy: Array, saved: dict[str, Array], window: Window, image_size: Pair) -> Array:
    """Gradient of ``max_pool2d`` with respect to its images, whose size is that of ``saved``."""
    dx = torch.ops.aten.max_pool2d_with_indices_backward(
        _nchw(dy), _nchw(saved["x"]), window.kernel, window.stride, _padding(window), (1, 1), False, saved["winners"]
    )
    return _nhwc(dx)


def average_pool2d(x: Array, window: Window) -> Array:
    """Mean of each window of images (N, H, W, C), zeros of the padding included."""
    return _nhwc(functional.avg_pool2d(_nchw(x), window.kernel, window.stride, _padding(window)))


def average_pool2d_input_gradient(dy: Array, window: Window, image_size: Pair) -> Array:
    """Gradient of ``average_pool2d`` with respect to images of size (H, W)."""
    images = dy.new_empty((dy.shape[0], *image_size, dy.shape[3]))  # of whose values nothing is read
    dx = torch.ops.aten.avg_pool2d_backward(
        _nchw(dy), _nchw(images), window.kernel, window.stride, _padding(window), False, True, None
    )
    return _nhwc(dx)


def _even_padding(x: Array, window: Window) -> tuple[Array, Pair]:
    """Images and padding that PyTorch takes, which has no more of it at one side than at the other."""
    if _is_even(window):
        return x, _padding(window)
    return pad(pad(x, 1, *window.padding[0]), 2, *window.padding[1]), (0, 0)


def _is_even(window: Window) -> bool:
    return all(before == after for before, after in window.padding)


def _padding(window: Window) -> Pair:
    return window.padding[0][0], window.padding[1][0]


def _nchw(x: Array) -> Array:
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Array) -> Array:
    return x.permute(0, 2, 3, 1)
