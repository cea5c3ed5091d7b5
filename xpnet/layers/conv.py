"""Convolution layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from array_api_compat import array_namespace

from xpnet import kernels
from xpnet.backend import Array
from xpnet.initializers import Initializer, he_normal
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

    ``padding`` is a number, a pair (vertical, horizontal), "same" (stride 1 only, as in PyTorch) or "valid".

    Raises InputError if a setting is out of range, the input is no image batch, has other channels than at init, or is
    smaller than the kernel.  Source: LeCun et al., Proc. IEEE 86(11), 1998.
    """

    filters: int
    kernel: int | Pair
    stride: int | Pair = 1
    padding: int | Pair | Literal["same", "valid"] = 0
    dilation: int | Pair = 1
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "conv"

    def __post_init__(self) -> None:
        check_positive("Conv2D", "filters", self.filters)
        _ = self.window  # checks the other settings

    @cached_property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation as pairs."""
        return make_window("Conv2D", self.kernel, self.stride, self.padding, self.dilation)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, _ = self.check_images(input_shape)
        return (*self.check_fits(self.window, height, width), self.filters)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.weight_init(rng, (self.filters, *self.window.kernel, input_shape[2]))
        return Variables({"weight": weight, "bias": np.zeros(self.filters)}, {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        *image_size, channels = self.check_images(x.shape[1:])
        self.check_fits(self.window, *image_size)
        expected = params["weight"].shape[3]
        if channels != expected:
            raise self.error(f"expected {expected} channels, got {channels}. Give it the input shape it was built for.")
        y = kernels.conv2d(x, params["weight"], self.window) + params["bias"]
        return Forward(y, {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        x = self.saved(cache)["x"]
        grads = {
            "weight": kernels.conv2d_weight_gradient(x, dy, self.window),
            "bias": array_namespace(dy).sum(dy, axis=(0, 1, 2)),
        }
        if not need_dx:
            return Backward(None, grads)
        return Backward(kernels.conv2d_input_gradient(dy, params["weight"], self.window, x.shape[1:3]), grads)
