"""Settings of Python's numbers, such as the weights of classes or a mask, on an array's device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from array_api_compat import device, is_jax_array

from xpnet.backend import Array, array_namespace, namespace_name

_vectors: dict[Any, Array] = {}


def vector(numbers: Sequence[float] | Sequence[str], like: Array) -> Array:
    """A tuple of Python's numbers as a vector of an array's dtype, on its device. Nothing may write to it.

    Of rows of digits, such as those of a mask, it is a matrix; Python keeps the hash of text.

    They are sent to the device once: each time, it would have to wait, and a CUDA graph would read them again from
    memory of the host that has another use by then. For JAX they are constants of what it compiles.
    """
    place = (numbers, namespace_name(like), str(like.dtype), str(device(like)))
    if place not in _vectors:
        values = [list(map(float, row)) if isinstance(row, str) else row for row in numbers]
        made = array_namespace(like).asarray(values, dtype=like.dtype, device=device(like))
        if is_jax_array(like):
            return made
        _vectors[place] = made
    return _vectors[place]
