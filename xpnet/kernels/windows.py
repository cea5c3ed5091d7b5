"""Array steps that the kernels share: sums, padding, strided slices, and the adjoints of these two."""

from __future__ import annotations

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.shapes import Pair, Window

_TO_MEMORY, _TO_LOGICAL = (1, 3, 2, 0), (3, 0, 2, 1)


def to_memory(x: Array) -> Array:
    """View images (N, H, W, C) in the order that CPU kernels keep in memory, (H, C, W, N).

    With the batch innermost every slice along H, C or W is long and contiguous.
    """
    return array_namespace(x).permute_dims(x, _TO_MEMORY)


def to_logical(x: Array) -> Array:
    """Inverse of ``to_memory``."""
    return array_namespace(x).permute_dims(x, _TO_LOGICAL)


def lies_batch_innermost(x: Array) -> bool:
    """Whether images (N, H, W, C) lie in the order of ``to_memory``; no for arrays that do not tell.

    Beside an image's own, strides of axes of length 1 mean nothing, and either answer is right.
    """
    strides = x.stride() if hasattr(x, "stride") else getattr(x, "strides", (1, 0, 0, 0))
    return strides[0] < strides[3]


def pad(x: Array, axis: int, before: int, after: int, value: float = 0.0) -> Array:
    """Extend one axis by constant values; a negative width crops it instead."""
    parts = [_filled(x, axis, before, value), x, _filled(x, axis, after, value)]
    x = join([part for part in parts if part is not None], axis)
    # Crop last: a crop at one end may reach into the extension at the other.
    return narrow(x, axis, max(-before, 0), x.shape[axis] - max(-after, 0))


def narrow(x: Array, axis: int, start: int, stop: int, step: int = 1) -> Array:
    """Slice one axis."""
    return x[(*(slice(None),) * axis, slice(start, stop, step), ...)]


def split(x: Array, axis: int, parts: int) -> list[Array]:
    """Equal parts of one axis."""
    if parts == 1:
        return [x]
    length = x.shape[axis] // parts
    return [narrow(x, axis, start, start + length) for start in range(0, x.shape[axis], length)]


def join(parts: list[Array], axis: int) -> Array:
    """Inverse of ``split``."""
    return parts[0] if len(parts) == 1 else array_namespace(parts[0]).concat(parts, axis=axis)


def taps(x: Array, axis: int, kernel: int, stride: int, dilation: int, count: int) -> list[Array]:
    """For each of the kernel's taps, the values under it at all ``count`` positions of the window along one axis."""
    span = stride * (count - 1) + 1
    return [narrow(x, axis, tap * dilation, tap * dilation + span, stride) for tap in range(kernel)]


def add_taps(parts: list[Array], axis: int, stride: int, length: int) -> Array:
    """Adjoint of ``taps`` with dilation 1: add each part back where it was taken from, along an axis of ``length``.

    Position i of tap t lies at i*stride + t, so taps t, t + stride, t + 2*stride, ... fall into one residue class, each
    shifted by one more position; the classes are then interleaved. No write in place, no scatter.
    """
    xp = array_namespace(parts[0])
    shifts = (len(parts) - 1) // stride
    classes = [
        sum_arrays([pad(part, axis, shift, shifts - shift) for shift, part in enumerate(parts[residue::stride])])
        for residue in range(min(stride, len(parts)))
    ]
    classes += [xp.zeros_like(classes[0])] * (stride - len(classes))
    rows = interleave(classes, axis)
    return pad(rows, axis, 0, length - rows.shape[axis])


def interleave(arrays: list[Array], axis: int) -> Array:
    """Place the arrays' entries along one axis in turns: a0, b0, a1, b1, ..."""
    if len(arrays) == 1:
        return arrays[0]
    xp, shape = array_namespace(arrays[0]), arrays[0].shape
    stacked = xp.stack(arrays, axis=axis + 1)
    return xp.reshape(stacked, (*shape[:axis], shape[axis] * len(arrays), *shape[axis + 1 :]))


def sum_arrays(arrays: list[Array]) -> Array:
    """Sum of arrays of one shape; Python's sum would begin with a needless addition to 0."""
    total = arrays[0]
    for array in arrays[1:]:
        total = total + array
    return total


def as_transposed_convolution(
    dy: Array, weight: Array, window: Window, image_size: Pair, axes: Pair
) -> tuple[Array, Array, Window]:
    """Operands that make a stride-1 convolution compute the input gradient of another convolution.

        dx = conv(dy with stride - 1 zeros between entries and a padded border, flipped weight with (O, C) swapped)

    ``axes`` are the two image axes of dy. Source: Dumoulin and Visin, arXiv:1603.07285, sections 4.5 and 4.6.
    """
    xp = array_namespace(dy)
    border = []
    for axis, length, stride, extent, padding in zip(
        axes, image_size, window.stride, window.extent, window.padding, strict=True
    ):
        dy = spread(dy, axis, stride)
        before = extent - 1 - padding[0]
        border.append((before, length + extent - 1 - before - dy.shape[axis]))
    flipped = xp.permute_dims(xp.flip(weight, axis=(1, 2)), (3, 1, 2, 0))
    return dy, flipped, Window(window.kernel, (1, 1), (border[0], border[1]), window.dilation)


def spread(x: Array, axis: int, stride: int) -> Array:
    """Put stride - 1 zeros between the entries of one axis (none after the last)."""
    if stride == 1:
        return x
    zeros = array_namespace(x).zeros_like(x)
    return narrow(interleave([x] + [zeros] * (stride - 1), axis), axis, 0, stride * (x.shape[axis] - 1) + 1)


def _filled(x: Array, axis: int, width: int, value: float) -> Array | None:
    if width <= 0:
        return None
    shape = (*x.shape[:axis], width, *x.shape[axis + 1 :])
    return array_namespace(x).full(shape, value, dtype=x.dtype, device=device(x))
