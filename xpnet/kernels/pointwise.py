"""Steps that are the same for every element, in array operations."""

from typing import Any

from array_api_compat import device, is_numpy_array

from xpnet.backend import Array, array_namespace


def serves(operation: str, *arguments: Any) -> bool:
    """Always."""
    return True


def rectify(x: Array) -> Array:
    """max(x, 0)."""
    xp = array_namespace(x)
    if is_numpy_array(x):  # zeros would be an array to read
        return xp.maximum(x, 0)
    # Beside as many zeros as x has elements PyTorch's maximum is slow; beside a number the standard has none.
    return xp.maximum(x, xp.zeros(x.shape[-1:], dtype=x.dtype, device=device(x)))


def rectify_gradient(dy: Array, y: Array) -> Array:
    """Input gradient of the rectifier: dy where its output y was above 0, else 0."""
    return dy * array_namespace(dy).astype(y > 0, dy.dtype)


def normalize(x: Array, mean: Array, scale: Array) -> Array:
    """(x - mean) * scale."""
    return (x - mean) * scale


def lerp(start: Array, end: Array, share: float | Array) -> Array:
    """Linear interpolation: start + share (end - start)."""
    return start + share * (end - start)
