"""Convolution layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.initializers import Initializer, constant, he_normal
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Pair, Shape, Window, check_positive, make_window


@dataclass(frozen=True)
class Conv2D(Layer):
    """2-D convolution (cross-correlation) of images (N, H, W, C).

        y[n,i,j,o] = b[o] + sum_{u,v,c} w[o,u,v,c] * x_pad[n, s*i + d*u, s*j + d*v, c]

    Backward, with g = dL/dy:  db = sum_{n,i,j} g;  dw = correlation of x_pad with g;
    dx = full correlation of g (spread by the stride) with the flipped w.

    Shapes: x (N, H, W, C) -> y (N, H', W', filters), H' = floor((H + 2p - d*(k-1) - 1)/s) + 1.
    Params: weight (filters, kh, kw, C), bias (filters,).

    ``padding`` is a number, a pair (vertical, horizontal), "same" (stride 1 only, as in PyTorch) or "valid". With
    ``groups`` > 1 channels and filters are cut into as many equal parts, and each part of the filters sees its part of
    the channels only; the weight is then (filters, kh, kw, C / groups). Without ``bias`` there is no b.

    Raises InputError if a setting is out of range, channels or filters cannot be cut into the groups, the input is
    not a batch of images, has other channels than at init, or is smaller than the kernel.
    Source: LeCun et al., Proc. IEEE 86(11), 1998; groups: Krizhevsky et al., NIPS 2012.
    """

    filters: int
    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: int | Pair | Literal["same", "valid"] = 0
    dilation: int | Pair = 1
    groups: int = 1
    bias: bool = True
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "conv"

    def __post_init__(self) -> None:
        check_positive("Conv2D", "filters", self.filters)
        check_positive("Conv2D", "groups", self.groups)
        if self.filters % self.groups:
            raise InputError(
                f"Conv2D: expected filters to be a multiple of {self.groups} groups, got {self.filters}. Change one."
            )
        _ = self.window  # checks the other settings

    @cached_property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation as pairs."""
        return make_window("Conv2D", self.kernel_size, self.stride, self.padding, self.dilation)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        if channels % self.groups:
            raise self.error(
                f"expected channels to be a multiple of {self.groups} groups, got {channels}. Change groups."
            )
        return (*self.check_fits(self.window, height, width), self.filters)

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[3] * self.groups

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        params = {"weight": self.weight_init(rng, (self.filters, *self.window.kernel, input_shape[2] // self.groups))}
        if self.bias:
            params["bias"] = constant(0.0, self.filters)
        return Variables(params, {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = kernels.conv2d(x, params["weight"], params.get("bias"), self.window, self.groups)
        return Forward(y, {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        dx, dw, db = kernels.conv2d_backward(
            *(cache["x"], dy, params["weight"], self.window, self.groups), need_dx=need_dx, need_db=self.bias
        )
        return Backward(dx, {"weight": dw, "bias": db} if self.bias else {"weight": dw})
