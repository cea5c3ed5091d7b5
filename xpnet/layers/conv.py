"""Convolution layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.checks import check_bool
from xpnet.errors import InputError
from xpnet.initializers import Initializer, constant, he_normal
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.shapes import Pair, Shape, Window, check_positive, is_whole, make_window


@dataclass(frozen=True)
class Conv2D(Layer):
    r"""2-D convolution (cross-correlation) of images (N, H, W, C).

    Parameters
    ----------
    filters
        Number of output channels.
    kernel_size, stride, padding, dilation
        k, s, p and d: numbers or pairs (vertical, horizontal); padding may be "same" (stride 1 only, as in PyTorch) or
        "valid".
    groups
        Channels and filters are cut into as many equal parts; each part of the filters sees its part of the channels.
    bias
        Whether there is a b.
    weight_init
        Distribution of the initial weight.

    Raises
    ------
    InputError
        If a setting is out of range, channels or filters cannot be cut into the groups, the input is not a batch of
        images, has other channels than at init, or is smaller than the kernel.

    Notes
    -----
    .. math:: y_{nijo} = b_o + \sum_{u,v,c} w_{ouvc} \, \bar x_{n, si+du, sj+dv, c}, \quad \bar x = x \text{ padded}

    Backward, with g = dL/dy; dx is the middle of the last, a full correlation of g (spread by the stride) with the
    flipped w:

    .. math:: db_o = \sum_{n,i,j} g_{nijo}, \quad dw_{ouvc} = \sum_{n,i,j} g_{nijo} \, \bar x_{n, si+du, sj+dv, c}

    .. math:: d\bar x_{nabc} = \sum_{si+du=a, \, sj+dv=b, \, o} g_{nijo} \, w_{ouvc}

    Shapes: x (N, H, W, C) -> y (N, H', W', filters), H' = floor((H + 2p - d*(k-1) - 1)/s) + 1.
    Params: weight (filters, kh, kw, C / groups), bias (filters,).

    References
    ----------
    LeCun et al., Proc. IEEE 86(11), 1998; groups: Krizhevsky et al., NIPS 2012.
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
        check_bool("Conv2D", "bias", self.bias)
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
        weight = self.draw(self.weight_init, rng, (self.filters, *self.window.kernel, input_shape[2] // self.groups))
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
    r"""1-D convolution (cross-correlation) of sequences (N, T, C): that of images of height 1.

    Parameters
    ----------
    filters
        Number of output channels.
    kernel_size, stride, padding, dilation
        k, s, p and d; padding may be "same" (stride 1 only, as in PyTorch) or "valid".
    groups, bias, weight_init
        As in ``Conv2D``.

    Raises
    ------
    InputError
        If a setting is out of range, channels or filters cannot be cut into the groups, the input is not a batch of
        sequences, has other channels than at init, or is shorter than the kernel.

    Notes
    -----
    .. math:: y_{nto} = b_o + \sum_{u,c} w_{ouc} \, \bar x_{n, st+du, c}, \quad \bar x = x \text{ padded}

    Backward, with g = dL/dy; dx is the middle of the last, a full correlation of g (spread by the stride) with the
    flipped w:

    .. math::

        db_o = \sum_{n,t} g_{nto}, \quad dw_{ouc} = \sum_{n,t} g_{nto} \, \bar x_{n, st+du, c}, \quad
        d\bar x_{nac} = \sum_{st+du=a, \, o} g_{nto} \, w_{ouc}

    Shapes: x (N, T, C) -> y (N, T', filters), T' = floor((T + 2p - d*(k-1) - 1)/s) + 1.
    Params: weight (filters, k, C / groups), bias (filters,).

    References
    ----------
    Waibel et al., IEEE Transactions on Acoustics, Speech and Signal Processing 37(3), 1989.
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
        check_bool("Conv1D", "bias", self.bias)
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
        weight = self.draw(self.weight_init, rng, (self.filters, self.kernel_size, input_shape[1] // self.groups))
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


def _check_filters(where: str, filters: int, groups: int) -> None:
    if filters % groups:
        raise InputError(f"{where}: expected filters to be a multiple of {groups} groups, got {filters}. Change one.")


def with_bias(weight: np.ndarray, filters: int, bias: bool) -> Params:
    """Initial parameters: the weight, and zeros where there is a bias."""
    return {"weight": weight, "bias": constant(0.0, filters)} if bias else {"weight": weight}


def with_gradient(dw: Array, db: Array | None) -> Params:
    """Gradients like the parameters of ``with_bias``."""
    return {"weight": dw} if db is None else {"weight": dw, "bias": db}
