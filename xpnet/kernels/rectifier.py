"""The rectifier max(x, 0), which other kernels take in."""

from array_api_compat import device, is_cupy_array, is_numpy_array

from xpnet.backend import Array, array_namespace


def rectify(x: Array) -> Array:
    """max(x, 0)."""
    xp = array_namespace(x)
    if is_numpy_array(x) or is_cupy_array(x):  # zeros would be an array to read, or a launch of their own
        return xp.maximum(x, 0)
    # Beside as many zeros as x has elements PyTorch's maximum is slow; beside a number the standard has none.
    return xp.maximum(x, xp.zeros(x.shape[-1:], dtype=x.dtype, device=device(x)))


def rectify_gradient(dy: Array, is_positive: Array) -> Array:
    """Input gradient: dy where the output was above 0, else 0."""
    if is_cupy_array(dy):
        return dy * is_positive
    return dy * array_namespace(dy).astype(is_positive, dy.dtype)
