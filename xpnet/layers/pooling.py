"""Pooling layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from xpnet import kernels
from xpnet.backend import Array
from xpnet.errors import InputError
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, keep_shape
from xpnet.shapes import Pair, Shape, Window, make_window


@dataclass(frozen=True)
class MaxPool2D(Layer):
    """Maximum over windows of images (N, H, W, C).

        y[n,i,j,c] = max_{u,v} x_pad[n, s*i + u, s*j + v, c],  padded with -inf

    Backward: each dL/dy goes to the winner of its window (the first in row-major order among equals, as in PyTorch) and
    adds up where windows overlap.

    Shapes: x (N, H, W, C) -> y (N, H', W', C), H' = floor((H + 2p - k)/s) + 1. The stride defaults to the window.

    Raises InputError if a setting is out of range, the padding exceeds half the window (a window could then lie wholly
    in the padding), or the input is no image batch or smaller than the window.
    """

    window_size: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0
    prefix: ClassVar[str] = "pool"

    def __post_init__(self) -> None:
        if any(2 * before > size for (before, _), size in zip(self.window.padding, self.window.kernel, strict=True)):
            raise InputError(
                f"MaxPool2D: expected padding of at most half the window {self.window_size}, got {self.padding}. "
                "Use less padding or a larger window."
            )

    @cached_property
    def window(self) -> Window:
        """Window size, stride and padding as pairs."""
        stride = self.window_size if self.stride is None else self.stride
        return make_window("MaxPool2D", self.window_size, stride, self.padding)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        return (*self.check_fits(self.window, height, width), channels)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        self.output_shape(x.shape[1:])
        y, comparisons = kernels.max_pool2d(x, self.window)
        return Forward(y, {"comparisons": comparisons, "x_shape": keep_shape(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache | None, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        cache = self.saved(cache)
        image_size = cache["x_shape"].shape[1:3]
        return Backward(kernels.max_pool2d_input_gradient(dy, cache["comparisons"], self.window, image_size), {})
