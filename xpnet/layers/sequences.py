"""What sequences begin with: vectors for the members of a vocabulary, and marks of where each place is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from array_api_compat import device

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.initializers import Initializer, Normal
from xpnet.kernels.windows import join, pad
from xpnet.layers.base import Backward, Cache, Forward, Layer, Params, State, Variables, shape_holder
from xpnet.shapes import Shape, check_positive

_UNIT, _SMALL = Normal(1.0), Normal(0.02)
_ONE_HOT = 2**22  # values of a one-hot matrix that are in memory at once


@dataclass(frozen=True)
class Embedding(Layer):
    r"""A learned vector for each member of a vocabulary.

    Like all inputs, the indices come as floating point numbers of the parameters' dtype, which holds them exactly up to
    2^24 (float32); others are rounded. One that is not in 0 .. count - 1 gives NaN, on every library, so that it shows
    in the loss: to look at values here would make the device wait. A network that begins with an Embedding refuses such
    an index in an array on the host.

    Parameters
    ----------
    count, units
        Members of the vocabulary, and length of the vectors.
    weight_init
        Distribution of the initial vectors.

    Raises
    ------
    InputError
        If count or units are not integers of at least 1.

    Notes
    -----
    .. math:: y_{n \dots} = \mathrm{weight}_{x_{n \dots}}

    Backward, with g = dL/dy, as the product of a one-hot matrix and g, a part of the vocabulary at a time:

    .. math:: d\mathrm{weight}_i = \sum_{x = i} g, \quad dx = 0

    Shapes: x (N, ...) -> y (N, ..., units).  Params: weight (count, units).

    References
    ----------
    Bengio et al., JMLR 3, 2003; Mikolov et al., arXiv:1301.3781.
    """

    count: int
    units: int
    weight_init: Initializer = _UNIT
    prefix: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        check_positive("Embedding", "count", self.count)
        check_positive("Embedding", "units", self.units)

    @property
    def index_count(self) -> int:
        return self.count

    def output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape, self.units)

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        weight = self.draw(self.weight_init, rng, (self.count, self.units))
        return Variables({"weight": weight}, {}, self.output_shape(input_shape))

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        xp = array_namespace(x)
        nearest = xp.round(x)
        index = xp.astype(xp.where((nearest >= 0) & (nearest < self.count), nearest, self.count), xp.int32)
        weight = pad(params["weight"], 0, 0, 1, value=xp.nan)
        y = xp.reshape(xp.take(weight, xp.reshape(index, (-1,)), axis=0), (*x.shape, self.units))
        return Forward(y, {"index": index} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        xp, index = array_namespace(dy), cache["index"]
        rows, places = xp.reshape(dy, (-1, self.units)), xp.reshape(index, (1, -1))
        step = max(1, _ONE_HOT // places.shape[1])
        parts = []
        for start in range(0, self.count, step):
            members = xp.arange(start, min(start + step, self.count), dtype=index.dtype, device=device(index))
            parts.append(kernels.matmul(xp.astype(members[:, None] == places, dy.dtype), rows))
        dx = xp.zeros(index.shape, dtype=dy.dtype, device=device(dy)) if need_dx else None
        return Backward(dx, {"weight": join(parts, 0)})


@dataclass(frozen=True)
class LearnedPositions(Layer):
    r"""A learned vector for each place, added to what is there.

    Parameters
    ----------
    weight_init
        Distribution of the initial vectors.

    Raises
    ------
    InputError
        If the input is not a batch of sequences, or is longer or of other channels than at init.

    Notes
    -----
    .. math:: y_{nt} = x_{nt} + \mathrm{weight}_t

    Backward, with g = dL/dy; dweight is 0 for places beyond the sequences' end:

    .. math:: dx = g, \quad d\mathrm{weight}_t = \sum_n g_{nt}

    Shapes: x (N, T, C) -> y (N, T, C).  Params: weight (T at init, C).

    References
    ----------
    Gehring et al., "Convolutional sequence to sequence learning", ICML 2017, section 3.1.
    """

    weight_init: Initializer = _SMALL
    prefix: ClassVar[str] = "positions"

    def output_shape(self, input_shape: Shape) -> Shape:
        self.check_sequences(input_shape)
        return input_shape

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[1]

    def check_input(
        self, params: Params, state: State, shape: Shape, like: Array, *, train: bool = False, key: Array | None = None
    ) -> None:
        super().check_input(params, state, shape, like, train=train, key=key)
        longest = params["weight"].shape[0]
        if shape[1] > longest:
            raise self.error(f"expected sequences of at most {longest} places, got {shape[1]}. Cut them.")

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        return Variables({"weight": self.draw(self.weight_init, rng, input_shape)}, {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return Forward(x + params["weight"][: x.shape[1], :], {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        missing = params["weight"].shape[0] - dy.shape[1]
        dweight = pad(array_namespace(dy).sum(dy, axis=0), 0, 0, missing)
        return Backward(dy if need_dx else None, {"weight": dweight})


@dataclass(frozen=True)
class SinusoidalPositions(Layer):
    r"""Waves of C/2 lengths, each as sine and cosine of the place, added to what is there.

    Raises
    ------
    InputError
        If the input is not a batch of sequences of an even number of channels.

    Notes
    -----
    .. math::

        y_{n,t,2i} = x_{n,t,2i} + \sin \frac{t}{10000^{2i/C}}, \quad
        y_{n,t,2i+1} = x_{n,t,2i+1} + \cos \frac{t}{10000^{2i/C}}

    Backward, with g = dL/dy: dx = g.

    Shapes: x (N, T, C) -> y (N, T, C), C even.

    References
    ----------
    Vaswani et al., NIPS 2017, section 3.5.
    """

    prefix: ClassVar[str] = "positions"

    def output_shape(self, input_shape: Shape) -> Shape:
        _, channels = self.check_sequences(input_shape)
        if channels % 2:
            raise self.error(f"expected an even number of channels, got {channels}. Add one.")
        return input_shape

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        xp, (_, length, channels) = array_namespace(x), x.shape
        place = xp.arange(length, dtype=x.dtype, device=device(x))
        wave = xp.arange(channels // 2, dtype=x.dtype, device=device(x))
        angle = place[:, None] * xp.exp(wave * (-2 * math.log(10000) / channels))
        waves = xp.reshape(xp.stack([xp.sin(angle), xp.cos(angle)], axis=2), (length, channels))
        return Forward(x + waves, {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(dy if need_dx else None, {})


@dataclass(frozen=True)
class ClassToken(Layer):
    r"""A learned vector in front of each sequence, in which a transformer gathers what it finds out about the whole.

    Parameters
    ----------
    weight_init
        Distribution of the initial vector.

    Raises
    ------
    InputError
        If the input is not a batch of sequences, or of other channels than at init.

    Notes
    -----
    .. math:: y_{n,0} = \mathrm{weight}, \quad y_{n,t+1} = x_{nt}

    Backward, with g = dL/dy:

    .. math:: d\mathrm{weight} = \sum_n g_{n,0}, \quad dx_{nt} = g_{n,t+1}

    Shapes: x (N, T, C) -> y (N, T + 1, C).  Params: weight (C,).

    References
    ----------
    Devlin et al., NAACL 2019, section 3; of images: Dosovitskiy et al., ICLR 2021, equation 1.
    """

    weight_init: Initializer = _SMALL
    prefix: ClassVar[str] = "token"

    def output_shape(self, input_shape: Shape) -> Shape:
        length, channels = self.check_sequences(input_shape)
        return length + 1, channels

    def input_features(self, params: Params, state: State) -> int:
        return params["weight"].shape[0]

    def init(self, rng: np.random.Generator, input_shape: Shape) -> Variables:
        output_shape = self.output_shape(input_shape)
        return Variables({"weight": self.draw(self.weight_init, rng, (input_shape[1],))}, {}, output_shape)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        token = array_namespace(x).broadcast_to(params["weight"], (x.shape[0], 1, x.shape[2]))
        return Forward(join([token, x], 1), {} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        dweight = array_namespace(dy).sum(dy[:, 0, :], axis=0)
        return Backward(dy[:, 1:, :] if need_dx else None, {"weight": dweight})


@dataclass(frozen=True)
class FirstPlace(Layer):
    r"""The vector at the first place of each sequence: what has become of a ``ClassToken``.

    Raises
    ------
    InputError
        If the input is not a batch of sequences.

    Notes
    -----
    .. math:: y_n = x_{n,0}

    Backward, with g = dL/dy:

    .. math:: dx_{n,0} = g_n, \quad dx_{nt} = 0 \text{ for } t > 0

    Shapes: x (N, T, C) -> y (N, C).

    References
    ----------
    As for ``ClassToken``.
    """

    prefix: ClassVar[str] = "first"

    def output_shape(self, input_shape: Shape) -> Shape:
        return (self.check_sequences(input_shape)[1],)

    def forward(
        self, params: Params, state: State, x: Array, *, train: bool = False, key: Array | None = None
    ) -> Forward:
        return Forward(x[:, 0, :], {"x_shape": shape_holder(x)} if train else None, state)

    def backward(self, params: Params, cache: Cache, dy: Array, *, need_dx: bool = True) -> Backward:
        return Backward(pad(dy[:, None, :], 1, 0, cache["x_shape"].shape[1] - 1) if need_dx else None, {})
