"""What a network is made from and given, with errors that say more than Python's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from xpnet.backend import Array, is_readable, to_numpy
from xpnet.errors import InputError, short
from xpnet.layers.base import Layer
from xpnet.layers.containers import Sequential
from xpnet.layers.normalization import Normalize
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


def check_indices(count: int | None, x: Array) -> None:
    """Raise InputError for indices outside an ``Embedding`` of ``count`` vectors, where reading x makes no device wait.

    None: the network takes no indices.
    """
    if count is None or not is_readable(x):
        return
    values = to_numpy(x)
    least, most = values.min(), values.max()
    if not (np.round(least) >= 0 and np.round(most) < count):
        raise InputError(
            f"Network: expected indices from 0 to {count - 1}, got {least:g} to {most:g}. "
            "Change them, or the count of the Embedding."
        )
