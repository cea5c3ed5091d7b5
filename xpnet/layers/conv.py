"""Convolution layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.initializers import Initializer, constant, he_normal
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Pair, Shape, Window, check_positive, is_whole, make_window


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
        _check_filters("Conv2D", self.filters, self.groups)
        _ = self.window  # checks the other settings

    @cached_property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation as pairs."""
        return make_window("Conv2D", self.kernel_size, self.stride, self.padding, self.dilation)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        self.check_groups(channels, self.groups)
        return (*self.check_fits(self.window, height, width), self.filters)

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[3] * self.groups

    def multiplications(self, input_shape: Shape) -> int:
        taps = math.prod(self.window.kernel) * input_shape[2] // self.groups
        return math.prod(self.output_shape(input_shape)) * taps

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.weight_init(rng, (self.filters, *self.window.kernel, input_shape[2] // self.groups))
        return Variables(with_bias(weight, self.filters, self.bias), {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = kernels.conv2d(x, params["weight"], params.get("bias"), self.window, self.groups)
        return Forward(y, {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        dx, dw, db = kernels.conv2d_backward(
            *(cache["x"], dy, params["weight"], self.window, self.groups), need_dx=need_dx, need_db=self.bias
        )
        return Backward(dx, with_gradient(dw, db))


@dataclass(frozen=True)
class Conv1D(Layer):
    """1-D convolution (cross-correlation) of sequences (N, T, C): that of images of height 1.

        y[n,t,o] = b[o] + sum_{u,c} w[o,u,c] * x_pad[n, s*t + d*u, c]

    Backward, with g = dL/dy:  db = sum_{n,t} g;  dw = correlation of x_pad with g;
    dx = full correlation of g (spread by the stride) with the flipped w.

    Shapes: x (N, T, C) -> y (N, T', filters), T' = floor((T + 2p - d*(k-1) - 1)/s) + 1.
    Params: weight (filters, k, C / groups), bias (filters,).

    ``padding`` is a number, "same" (stride 1 only, as in PyTorch) or "valid"; ``groups`` and ``bias`` are as in
    ``Conv2D``.

    Raises InputError if a setting is out of range, channels or filters cannot be cut into the groups, the input is
    not a batch of sequences, has other channels than at init, or is shorter than the kernel.
    Source: Waibel et al., IEEE Transactions on Acoustics, Speech and Signal Processing 37(3), 1989.
    """

    filters: int
    kernel_size: int
    stride: int = 1
    padding: int | Literal["same", "valid"] = 0
    dilation: int = 1
    groups: int = 1
    bias: bool = True
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "conv"

    def __post_init__(self) -> None:
        for name in ("filters", "kernel_size", "stride", "dilation", "groups"):
            check_positive("Conv1D", name, getattr(self, name))
        if not isinstance(self.padding, str) and not (is_whole(self.padding) and self.padding >= 0):
            raise InputError(
                f"Conv1D: expected padding to be an integer of at least 0, 'same' or 'valid', got {self.padding!r}. "
                "Change padding."
            )
        _check_filters("Conv1D", self.filters, self.groups)
        _ = self.window

    @cached_property
    def window(self) -> Window:
        """Kernel, stride, padding and dilation along the width of images of height 1."""
        padding = self.padding if isinstance(self.padding, str) else (0, self.padding)
        return make_window("Conv1D", (1, self.kernel_size), (1, self.stride), padding, (1, self.dilation))

    def output_shape(self, input_shape: Shape) -> Shape:
        length, channels = self.check_sequences(input_shape)
        self.check_groups(channels, self.groups)
        return self.check_fits(self.window, 1, length)[1], self.filters

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[2] * self.groups

    def multiplications(self, input_shape: Shape) -> int:
        taps = self.kernel_size * input_shape[1] // self.groups
        return math.prod(self.output_shape(input_shape)) * taps

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.weight_init(rng, (self.filters, self.kernel_size, input_shape[1] // self.groups))
        return Variables(with_bias(weight, self.filters, self.bias), {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        weight = params["weight"][:, None, ...]
        y = kernels.conv2d(x[:, None, ...], weight, params.get("bias"), self.window, self.groups)
        return Forward(y[:, 0, ...], {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        x, dy, weight = (array[:, None, ...] for array in (cache["x"], dy, params["weight"]))
        dx, dw, db = kernels.conv2d_backward(
            x, dy, weight, self.window, self.groups, need_dx=need_dx, need_db=self.bias
        )
        return Backward(None if dx is None else dx[:, 0, ...], with_gradient(dw[:, 0, ...], db))


@dataclass(frozen=True)
class DepthwiseConv2D(Layer):
    """2-D convolution of each channel of images (N, H, W, C) by kernels of its own.

        y[n,i,j,m*c+l] = b[m*c+l] + sum_{u,v} w[m*c+l,u,v] * x_pad[n, s*i + d*u, s*j + d*v, c],  l < m = multiplier

    With ``Conv2D(filters, kernel_size=1)`` after it, it is a separable convolution. It computes what ``Conv2D`` does
    with as many groups as channels.

    Backward, with g = dL/dy:  db = sum_{n,i,j} g;  dw = correlation of x_pad with g, channel by channel;
    dx = full correlation of g (spread by the stride) with the flipped w, likewise, summed over l.

    Shapes: x (N, H, W, C) -> y (N, H', W', C * multiplier), H' = floor((H + 2p - d*(k-1) - 1)/s) + 1.
    Params: weight (C * multiplier, kh, kw, 1), bias (C * multiplier,).

    Raises InputError if a setting is out of range, or the input is not a batch of images, has other channels than at
    init, or is smaller than the kernel.
    Source: Sifre, "Rigid-motion scattering for image classification", thesis, 2014; Howard et al., arXiv:1704.04861.
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
        weight = self.weight_init(rng, (output_shape[2], *self.window.kernel, 1))
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


def _check_filters(where: str, filters: int, groups: int) -> None:
    if filters % groups:
        raise InputError(f"{where}: expected filters to be a multiple of {groups} groups, got {filters}. Change one.")


def with_bias(weight: np.ndarray, filters: int, bias: bool) -> Params:
    """Initial parameters: the weight, and zeros where there is a bias."""
    return {"weight": weight, "bias": constant(0.0, filters)} if bias else {"weight": weight}


def with_gradient(dw: Array, db: Array | None) -> Params:
    """Gradients like the parameters of ``with_bias``."""
    return {"weight": dw} if db is None else {"weight": dw, "bias": db}
