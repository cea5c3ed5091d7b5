"""Layers that only rearrange values, or put zeros beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array, array_namespace
from xpnet.errors import InputError, short
from xpnet.kernels.windows import narrow, pad
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, shape_holder
from xpnet.shapes import Pair, Shape, as_pair, check_positive, is_whole


@dataclass(frozen=True)
class Identity(Layer):
    r"""The input as it is: a branch that hands it on.

    Notes
    -----
    .. math:: y = x, \quad dx = g = dL/dy

    Shapes: any.

    References
    ----------
    He et al., ECCV 2016 (identity shortcuts).
    """

    prefix: ClassVar[str] = "identity"

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return Forward(x, {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(dy if need_dx else None, {})


@dataclass(frozen=True)
class Flatten(Layer):
    r"""Each example as one vector, in the order (H, W, C).

    Notes
    -----
    .. math:: y_{n, (iW + j)C + c} = x_{nijc}

    Backward, with g = dL/dy:

    .. math:: dx_{nijc} = g_{n, (iW + j)C + c}

    Shapes: x (N, ...) -> y (N, product of the rest).

    References
    ----------
    ``reshape`` of the Array API standard.
    """

    prefix: ClassVar[str] = "flatten"

    def output_shape(self, input_shape: Shape) -> Shape:
        return (math.prod(input_shape),)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        y = array_namespace(x).reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        return Forward(y, {"x_shape": shape_holder(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        x_shape = (dy.shape[0], *cache["x_shape"].shape[1:])
        return Backward(array_namespace(dy).reshape(dy, x_shape) if need_dx else None, {})


@dataclass(frozen=True)
class ImageToSequence(Layer):
    """The pixels of an image one behind the other, row by row.

    Raises
    ------
    InputError
        If the input is not a batch of images.

    Notes
    -----
    .. math:: y_{n, iW + j} = x_{nij}

    Backward: dx is dL/dy in the shape of x.

    Shapes: x (N, H, W, C) -> y (N, H*W, C).

    References
    ----------
    Dosovitskiy et al., ICLR 2021, section 3.1.
    """

    prefix: ClassVar[str] = "to_sequence"

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        return height * width, channels

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        batch, height, width, channels = x.shape
        y = array_namespace(x).reshape(x, (batch, height * width, channels))
        return Forward(y, {"x_shape": shape_holder(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        x_shape = (dy.shape[0], *cache["x_shape"].shape[1:])
        return Backward(array_namespace(dy).reshape(dy, x_shape) if need_dx else None, {})


@dataclass(frozen=True)
class PadChannels(Layer):
    r"""Channels of zeros before and behind those of the input.

    Parameters
    ----------
    before, after
        How many.

    Raises
    ------
    InputError
        Unless before and after are integers of at least 0.

    Notes
    -----
    .. math:: y_{n, \dots, \mathrm{before} + c} = x_{n \dots c}, \quad 0 \text{ elsewhere}

    Backward, with g = dL/dy:

    .. math:: dx_{n \dots c} = g_{n, \dots, \mathrm{before} + c}

    Shapes: x (N, ..., C) -> y (N, ..., before + C + after).

    References
    ----------
    He et al., CVPR 2016, section 3.3 (shortcuts A).
    """

    before: int
    after: int
    prefix: ClassVar[str] = "pad_channels"

    def __post_init__(self) -> None:
        for name in ("before", "after"):
            value = getattr(self, name)
            if not is_whole(value) or value < 0:
                raise InputError(
                    f"PadChannels: expected {name} to be an integer of at least 0, got {value!r}. Change {name}."
                )

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], self.before + input_shape[-1] + self.after)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return Forward(pad(x, x.ndim - 1, self.before, self.after), {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        dx = narrow(dy, dy.ndim - 1, self.before, dy.shape[-1] - self.after)
        return Backward(dx if need_dx else None, {})


@dataclass(frozen=True)
class ZeroPad2D(Layer):
    r"""Images (N, H, W, C) with zeros around them, where a convolution's own padding is not the same on both sides.

    Parameters
    ----------
    padding
        ((top, bottom), (left, right)).

    Raises
    ------
    InputError
        If padding is not two pairs of integers of at least 0, or the input not a batch of images.

    Notes
    -----
    .. math:: y_{nijc} = x_{n, \, i - \mathrm{top}, \, j - \mathrm{left}, \, c}, \quad 0 \text{ outside of } x

    Backward: dx is the part of dL/dy that lies over x.

    Shapes: x (N, H, W, C) -> y (N, top + H + bottom, left + W + right, C).

    References
    ----------
    PyTorch's ``ZeroPad2d``.
    """

    padding: tuple[Pair, Pair]
    prefix: ClassVar[str] = "pad"

    def __post_init__(self) -> None:
        pairs = self.padding if isinstance(self.padding, list | tuple) else ()
        if len(pairs) != 2 or not all(isinstance(pair, list | tuple) for pair in pairs):
            raise InputError(
                f"ZeroPad2D: expected padding ((top, bottom), (left, right)), got {short(self.padding)}. Change it."
            )
        for pair in pairs:
            as_pair("ZeroPad2D", "padding", pair, minimum=0)

    def output_shape(self, input_shape: Shape) -> Shape:
        height, width, channels = self.check_images(input_shape)
        return height + sum(self.padding[0]), width + sum(self.padding[1]), channels

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        for axis, (before, after) in enumerate(self.padding, start=1):
            x = pad(x, axis, before, after)
        return Forward(x, {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        if not need_dx:
            return Backward(None, {})
        for axis, (before, after) in enumerate(self.padding, start=1):
            dy = pad(dy, axis, -before, -after)
        return Backward(dy, {})


@dataclass(frozen=True)
class ChannelShuffle(Layer):
    r"""The channels of each group dealt out to all groups, so that convolutions in groups see one another's.

    Parameters
    ----------
    groups
        G, into how many equal parts the channels are cut.

    Raises
    ------
    InputError
        If groups is not an integer of at least 1, or the channels cannot be cut into the groups.

    Notes
    -----
    .. math:: y_{\dots, jG + i} = x_{\dots, iC/G + j}

    Backward, with g = dL/dy:

    .. math:: dx_{\dots, iC/G + j} = g_{\dots, jG + i}

    Shapes: x (N, ..., C) -> y (N, ..., C).

    References
    ----------
    Zhang et al., "ShuffleNet", CVPR 2018, section 3.1.
    """

    groups: int
    prefix: ClassVar[str] = "shuffle"

    def __post_init__(self) -> None:
        check_positive("ChannelShuffle", "groups", self.groups)

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_groups(input_shape[-1], self.groups)
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return Forward(_deal(x, self.groups), {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(_deal(dy, dy.shape[-1] // self.groups) if need_dx else None, {})


def _deal(x: Array, groups: int) -> Array:
    """The channels as a matrix with a row for each group, read column by column."""
    xp, (*places, channels) = array_namespace(x), x.shape
    rows = xp.reshape(x, (*places, groups, channels // groups))
    return xp.reshape(xp.matrix_transpose(rows), (*places, channels))
