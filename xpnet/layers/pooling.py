"""Pooling by windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.checks import check_bool
from xpnet.errors import InputError
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, shape_holder
from xpnet.shapes import Pair, Shape, Window, as_pair, make_window


@dataclass(frozen=True)
class _Pool2D(Layer):
    """Settings of a layer that slides a window over images and keeps the channels."""

    kernel_size: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0
    ceil: bool = False

    def __post_init__(self) -> None:
        as_pair(type(self).__name__, "kernel_size", self.kernel_size, minimum=1)
        check_bool(type(self).__name__, "ceil", self.ceil)
        if any(2 * before > size for (before, _), size in zip(self.window.padding, self.window.kernel, strict=True)):
            raise InputError(
                f"{type(self).__name__}: expected padding of at most half the window {self.kernel_size}, "
                f"got {self.padding}. Use less padding or a larger window."
            )

    @cached_property
    def window(self) -> Window:
        """Window size, stride and padding as pairs."""
        stride = self.kernel_size if self.stride is None else self.stride
        return make_window(type(self).__name__, self.kernel_size, stride, self.padding)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        return (*self.check_fits(self.window_over((height, width)), height, width), channels)

    def window_over(self, image_size: Pair) -> Window:
        """The window for images of size (H, W): with ``ceil`` the padding goes on to the end of the last window."""
        if not self.ceil:
            return self.window
        (top, bottom), (left, right) = self.window.padding
        below, beside = (self._overhang(axis, length) for axis, length in enumerate(image_size))
        return replace(self.window, padding=((top, bottom + below), (left, right + beside)))

    def _overhang(self, axis: int, length: int) -> int:
        """How far the last window reaches beyond the padded image along an axis."""
        if not self.ceil:
            return 0
        kernel, stride, (before, after) = self.window.kernel[axis], self.window.stride[axis], self.window.padding[axis]
        padded = before + length + after
        last = -(-(padded - kernel) // stride) * stride  # where the last window begins, if that is not in the padding
        return last + kernel - padded if last < before + length and last + kernel > padded else 0


@dataclass(frozen=True)
class MaxPool2D(_Pool2D):
    r"""Maximum over windows of images (N, H, W, C).

    Parameters
    ----------
    kernel_size, stride, padding
        k, s and p: numbers or pairs (vertical, horizontal). The stride defaults to the window.
    ceil
        Whether the division below is rounded up, unless the last window would begin in the padding after the image.

    Raises
    ------
    InputError
        If a setting is out of range, the padding exceeds half the window (a window could then lie wholly in the
        padding), or the input is not a non-empty batch of floating-point images, or smaller than the window.

    Notes
    -----
    .. math:: y_{nijc} = \max_{u,v} \bar x_{n, si+u, sj+v, c}, \quad \bar x = x \text{ padded with } -\infty

    Backward: each dL/dy goes to the winner of its window (the first in row-major order among equals, as in PyTorch) and
    adds up where windows overlap. The maximum of a window with NaN is NaN, and which of its values then takes dL/dy
    depends on the array library, as it does where a window holds nothing but -inf and padding.

    .. math::

        d\bar x_{nabc} = \sum_{i,j} g_{nijc} \, [(a, b) \text{ wins window } (i, j)], \quad g = \partial L / \partial y

    Shapes: x (N, H, W, C) -> y (N, H', W', C), H' = floor((H + 2p - k)/s) + 1.

    References
    ----------
    Scherer, Müller and Behnke, ICANN 2010.
    """

    prefix: ClassVar[str] = "pool"

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        window = self.window_over(x.shape[1:3])
        if not train:
            return Forward(kernels.max_pool2d(x, window), None, state)
        y, winners = kernels.max_pool2d_with_winners(x, window)
        return Forward(y, {"winners": winners, "x_shape": shape_holder(x)}, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        image_size = cache["x_shape"].shape[1:3]
        window = self.window_over(image_size)
        return Backward(kernels.max_pool2d_input_gradient(dy, cache["winners"], window, image_size), {})


@dataclass(frozen=True)
class AvgPool2D(_Pool2D):
    r"""Mean over windows of images (N, H, W, C).

    Parameters
    ----------
    kernel_size, stride, padding, ceil
        As in ``MaxPool2D``.
    count_padding
        Whether the zeros of the padding count, as in PyTorch; else the sum is divided by how many values of the image
        are under the window. What a last window has beyond the padding, with ``ceil``, never counts.

    Raises
    ------
    InputError
        If a setting is out of range, the padding exceeds half the window, or the input is not a non-empty batch of
        floating-point images, or smaller than the window.

    Notes
    -----
    .. math:: y_{nijc} = \frac{1}{k_h k_w} \sum_{u,v} \bar x_{n, si+u, sj+v, c}, \quad \bar x = x \text{ padded with } 0

    Backward: each dL/dy is shared out equally over its window and adds up where windows overlap.

    .. math:: d\bar x_{nabc} = \frac{1}{k_h k_w} \sum_{si+u=a, \, sj+v=b} g_{nijc}, \quad g = \partial L / \partial y

    Shapes: x (N, H, W, C) -> y (N, H', W', C), H' = floor((H + 2p - k)/s) + 1.

    References
    ----------
    LeCun et al., Proc. IEEE 86(11), 1998, section II.B.
    """

    count_padding: bool = True
    prefix: ClassVar[str] = "avg_pool"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bool("AvgPool2D", "count_padding", self.count_padding)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = self._share(kernels.average_pool2d(x, self.window_over(x.shape[1:3])), x.shape[1:3])
        return Forward(y, {"x_shape": shape_holder(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        image_size = cache["x_shape"].shape[1:3]
        window = self.window_over(image_size)
        return Backward(kernels.average_pool2d_input_gradient(self._share(dy, image_size), window, image_size), {})

    def shares(self, axis: int, length: int) -> tuple[float, ...]:
        """Along an axis, kernel size by values that count under the window, at each of its places."""
        kernel, stride, (before, after) = self.window.kernel[axis], self.window.stride[axis], self.window.padding[axis]
        places = (before + length + after + self._overhang(axis, length) - kernel) // stride + 1
        first, last = (-before, length + after) if self.count_padding else (0, length)
        starts = [place * stride - before for place in range(places)]
        return tuple(kernel / (min(start + kernel, last) - max(start, first)) for start in starts)

    def _share(self, y: Array, image_size: Pair) -> Array:
        """Means, or their gradients, as shares of what counts."""
        for axis, length in enumerate(image_size):
            shares = self.shares(axis, length)
            if any(share != 1 for share in shares):
                y = y * array_namespace(y).reshape(kernels.vector(shares, like=y), (-1, *(1,) * (2 - axis)))
        return y
