"""What a network is made from and given, with errors that say more than Python's own."""

from __future__ import annotations

import functools
from collections.abc import Callable, Container
from dataclasses import replace
from typing import Any, ParamSpec

import numpy as np

from xpnet.backend import Array, is_readable, to_numpy
from xpnet.errors import InputError, short
from xpnet.layers.base import Layer
from xpnet.layers.containers import Sequential, map_leaves
from xpnet.layers.errors import inside
from xpnet.layers.normalization import BatchNorm, Normalize
from xpnet.shapes import Shape, check_positive

P = ParamSpec("P")
NORMALIZE = "normalize"  # the name of a Normalize that training puts in front


def in_one_list(init: Callable[P, None]) -> Callable[P, None]:
    """A constructor that refuses, instead of Python, layers that are not in one list and a missing input_shape."""

    @functools.wraps(init)
    def checked(*args: P.args, **settings: P.kwargs) -> None:
        if sum(isinstance(value, Layer) for value in args) > 1:
            raise InputError("Network: expected one list of layers, got several arguments. Pass a list.")
        if len(args) < 3 and "input_shape" not in settings:
            raise InputError(
                "Network: expected input_shape, got none. Pass the shape of one example, such as (28, 28, 1)."
            )
        init(*args, **settings)

    return checked


def listed(layers: Any) -> Any:
    """One layer as a list."""
    return [layers] if isinstance(layers, Layer) else layers


def checked_input_shape(input_shape: Any) -> Shape:
    """The shape as a tuple. Raises InputError if it is not one of integers of at least 1."""
    if not isinstance(input_shape, list | tuple):
        raise InputError(
            f"Network: expected input_shape to be a tuple, got {short(input_shape)}. Pass one such as (28, 28, 1)."
        )
    return tuple(check_positive("Network", "each length of input_shape", n) for n in input_shape)


def with_normalize(layer: Layer) -> Sequential:
    """The layers with a Normalize in front."""
    named = layer.layers if isinstance(layer, Sequential) else [("layer", layer)]
    return Sequential([(NORMALIZE, Normalize()), *named])


def check_indices(layer: Layer, input_shape: Shape, x: Array) -> None:
    """Raise InputError for indices outside the ``Embedding`` that layers begin with.

    Nothing is checked where they begin with none, or where reading x makes a device wait.
    """
    count = layer.index_count
    if count is None or not is_readable(x):
        return
    values = to_numpy(x)
    least, most = values.min(), values.max()
    if not (np.round(least) >= 0 and np.round(most) < count):
        taker = next(part for part in layer.leaves(input_shape) if part.layer.index_count is not None)
        with inside(taker.name):
            raise taker.layer.error(
                f"expected indices from 0 to {count - 1}, got {least:g} to {most:g}. Change them, or its count."
            )


def per_channel(what: str, value: Any, channels: int, dtype: str) -> np.ndarray:
    """One number, or one for each channel, as a number for each. Raises InputError unless they are finite."""
    value = np.asarray(value)
    if value.shape not in ((), (1,), (channels,)):
        raise InputError(
            f"Network: expected {what} to be one number or {channels}, got shape {value.shape}. "
            "Pass one for each channel."
        )
    with np.errstate(over="ignore"):  # float64 beyond the range of float32 becomes infinite
        is_finite = value.dtype.kind in "iuf" and np.isfinite(value.astype(dtype)).all()
    if not is_finite:
        got = short(value.tolist())
        raise InputError(f"Network: expected {what} to be finite {dtype} numbers, got {got}. Change {what}.")
    return np.full(channels, value)


def with_frozen_statistics(layer: Layer, learning: Container[str]) -> Layer:
    """Layers whose BatchNorms are frozen, but for those with a name in ``learning``."""

    def settled(name: str, part: Layer) -> Layer:
        return replace(part, frozen=True) if isinstance(part, BatchNorm) and name not in learning else part

    return map_leaves(settled, layer)
