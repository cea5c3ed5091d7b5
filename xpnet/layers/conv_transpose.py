"""Transposed convolution layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from xpnet import kernels
from xpnet.backend import Array
from xpnet.checks import check_bool
from xpnet.errors import InputError
from xpnet.initializers import Initializer, he_normal
from xpnet.kernels.windows import as_transposed_convolution
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables
from xpnet.layers.conv import with_bias, with_gradient
from xpnet.shapes import Pair, Shape, Window, as_pair, check_positive, make_window


@dataclass(frozen=True)
class ConvTranspose2D(Layer):
    r"""Transposed 2-D convolution of images (N, H, W, C): forward is the gradient of ``Conv2D`` by its input.

    Parameters
    ----------
    filters
        Number of output channels.
    kernel_size, stride, padding
        k, s and p of the convolution whose gradient this is: numbers or pairs (vertical, horizontal).
    output_padding
        Rows and columns more at the bottom and right, of which a stride leaves the number open.
    dilation, bias, weight_init
        As in ``Conv2D``.

    Raises
    ------
    InputError
        If a setting is out of range, the padding reaches beyond the kernel, output_padding is not below the stride, or
        the input is not a batch of images or has other channels than at init.

    Notes
    -----
    .. math:: y_{nklo} = b_o + \sum_{si+du-p=k, \, sj+dv-p=l, \, c} w_{cuvo} \, x_{nijc}

    Backward, with g = dL/dy, is what forward is for ``Conv2D``:

    .. math::

        db_o = \sum_{n,k,l} g_{nklo}, \quad dw_{cuvo} = \sum_{n,i,j} x_{nijc} \, g_{n, si+du-p, sj+dv-p, o}, \quad
        dx_{nijc} = \sum_{u,v,o} w_{cuvo} \, g_{n, si+du-p, sj+dv-p, o}

    Shapes: x (N, H, W, C) -> y (N, H', W', filters), H' = s*(H - 1) - 2p + d*(k-1) + output_padding + 1.
    Params: weight (C, kh, kw, filters), bias (filters,).

    References
    ----------
    Zeiler et al., CVPR 2010; Dumoulin and Visin, arXiv:1603.07285, chapter 4.
    """

    filters: int
    kernel_size: int | Pair
    stride: int | Pair = 1
    padding: int | Pair = 0
    output_padding: int | Pair = 0
    dilation: int | Pair = 1
    bias: bool = True
    weight_init: Initializer = he_normal
    prefix: ClassVar[str] = "conv_transpose"

    def __post_init__(self) -> None:
        check_positive("ConvTranspose2D", "filters", self.filters)
        check_bool("ConvTranspose2D", "bias", self.bias)
        as_pair("ConvTranspose2D", "padding", self.padding, minimum=0)
        added = as_pair("ConvTranspose2D", "output_padding", self.output_padding, minimum=0)
        if any(more >= stride for more, stride in zip(added, self.window.stride, strict=True)):
            raise InputError(
                f"ConvTranspose2D: expected output_padding below the stride {self.stride}, got {self.output_padding}. "
                "Use less."
            )
        if any(before >= extent for (before, _), extent in zip(self.window.padding, self.window.extent, strict=True)):
            raise InputError(
                f"ConvTranspose2D: expected padding below the kernel's extent {self.window.extent}, "
                f"got {self.padding}. Use less."
            )

    @cached_property
    def window(self) -> Window:
        """That of the convolution whose gradient this is."""
        return make_window("ConvTranspose2D", self.kernel_size, self.stride, self.padding, self.dilation)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, _ = self.check_images(input_shape)
        rows, columns = self._image_size(height, width)
        if rows < 1 or columns < 1:
            raise self.error(f"expected an output of at least 1x1, got {rows}x{columns}. Use less padding.")
        return rows, columns, self.filters

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[0]

    def multiplications(self, input_shape: Shape) -> int:
        return math.prod(input_shape) * math.prod(self.window.kernel) * self.filters

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        weight = self.draw(self.weight_init, rng, (self.filters, *self.window.kernel, input_shape[2]))
        return Variables(with_bias(np.swapaxes(weight, 0, 3), self.filters, self.bias), {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        size = self._image_size(x.shape[1], x.shape[2])
        spread, flipped, window = as_transposed_convolution(x, params["weight"], self.window, size, axes=(1, 2))
        return Forward(kernels.conv2d(spread, flipped, params.get("bias"), window), {"x": x} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        weight = params["weight"]
        dx = kernels.conv2d(dy, weight, None, self.window) if need_dx else None
        _, dw, _ = kernels.conv2d_backward(dy, cache["x"], weight, self.window, need_dx=False, need_db=False)
        return Backward(dx, with_gradient(dw, kernels.channel_sum(dy) if self.bias else None))

    def _image_size(self, height: int, width: int) -> Pair:
        """Size of the images whose gradient this is."""
        added = as_pair("ConvTranspose2D", "output_padding", self.output_padding, minimum=0)
        rows, columns = (
            stride * (length - 1) - 2 * before + extent + more
            for length, stride, (before, _), extent, more in zip(
                (height, width), self.window.stride, self.window.padding, self.window.extent, added, strict=True
            )
        )
        return rows, columns
