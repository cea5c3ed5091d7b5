"""Convolution of each channel by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.checks import check_bool
from xpnet.initializers import Initializer, he_normal
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.layers.conv import with_bias, with_gradient
from xpnet.shapes import Pair, Shape, Window, check_positive, make_window


@dataclass(frozen=True)
class DepthwiseConv2D(Layer):
    r"""2-D convolution of each channel of images (N, H, W, C) by kernels of its own.

    With ``Conv2D(filters, kernel_size=1)`` after it, it is a separable convolution. It computes what ``Conv2D`` does
    with as many groups as channels.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        As in ``Conv2D``.
    multiplier
        How many kernels each channel has: m.
    bias, weight_init
        As in ``Conv2D``.

    Raises
    ------
    InputError
        If a setting is out of range, or the input is not a batch of images, has other channels than at init, or is
        smaller than the kernel.

    Notes
    -----
    .. math:: y_{n,i,j,mc+l} = b_{mc+l} + \sum_{u,v} w_{mc+l,u,v} \, \bar x_{n, si+du, sj+dv, c}, \quad 0 \le l < m

    Backward, with g = dL/dy: as in ``Conv2D``, channel by channel, where the last is also summed over l.

    .. math::

        db_o = \sum_{n,i,j} g_{nijo}, \quad dw_{ouv} = \sum_{n,i,j} g_{nijo} \, \bar x_{n, si+du, sj+dv, c}, \quad
        d\bar x_{nabc} = \sum_{si+du=a, \, sj+dv=b, \, l} g_{n,i,j,mc+l} \, w_{mc+l,u,v}

    Shapes: x (N, H, W, C) -> y (N, H', W', C * multiplier), H' = floor((H + 2p - d*(k-1) - 1)/s) + 1.
    Params: weight (C * multiplier, kh, kw, 1), bias (C * multiplier,).

    References
    ----------
    Sifre, "Rigid-motion scattering for image classification", thesis, 2014; Howard et al., arXiv:1704.04861.
    """

    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: int | Pair | Literal["same", "valid"] = 0
    dilation: int | Pair = 1
    multiplier: int = 1
    bias: bool = True
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "depthwise"

    def __post_init__(self) -> None:
        check_positive("DepthwiseConv2D", "multiplier", self.multiplier)
        check_bool("DepthwiseConv2D", "bias", self.bias)
        _ = self.window  # checks the other settings

    @cached_property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation as pairs."""
        return make_window("DepthwiseConv2D", self.kernel_size, self.stride, self.padding, self.dilation)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        return (*self.check_fits(self.window, height, width), channels * self.multiplier)

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[0] // self.multiplier

    def multiplications(self, input_shape: Shape) -> int:
        return math.prod(self.output_shape(input_shape)) * math.prod(self.window.kernel)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.draw(self.weight_init, rng, (output_shape[2], *self.window.kernel, 1))
        return Variables(with_bias(weight, output_shape[2], self.bias), {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = kernels.conv2d(x, params["weight"], params.get("bias"), self.window, x.shape[3])
        return Forward(y, {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        x = cache["x"]
        dx, dw, db = kernels.conv2d_backward(
            x, dy, params["weight"], self.window, x.shape[3], need_dx=need_dx, need_db=self.bias
        )
        return Backward(dx, with_gradient(dw, db))
