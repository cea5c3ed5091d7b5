"""Inputs and targets as arrays to train on: converted where nothing is lost, refused elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj, is_torch_array

from xpnet.backend import (
    Array,
    array_namespace,
    backend_of,
    check_array,
    check_real_numbers,
    has_kind,
    location,
    same_location,
    to_numpy,
)
from xpnet.datasets.image_files import ImageFiles
from xpnet.datasets.rows import HostRows
from xpnet.errors import InputError


class Targets(NamedTuple):
    """Targets where the inputs are, the same on the host, and the names of the classes if they are class numbers."""

    values: Array
    on_host: np.ndarray
    class_names: tuple[str, ...] | None


def as_inputs(where: str, values: Any) -> Any:
    """Inputs (N, ...) as an array of real numbers with at least two axes, where they are and in their own dtype.

    Integers with three axes are images without a channel axis: (N, H, W) becomes (N, H, W, 1). Nothing is read of
    memory maps and of images in files.

    Raises InputError for what is not such an array, or is empty.
    """
    if isinstance(values, ImageFiles | HostRows):
        _check_not_empty(where, values.shape)
        return values
    array = as_array(where, values)
    check_real_numbers(where, array)
    _check_not_empty(where, tuple(array.shape))
    if len(array.shape) == 1:
        raise InputError(
            f"{where}: expected one row for each example, (N, features) or (N, H, W, C), got shape "
            f"{tuple(array.shape)}. Reshape a single feature to (-1, 1)."
        )
    if len(array.shape) == 3 and array_namespace(array).isdtype(array.dtype, "integral"):
        array = array[..., None]
    return array


def as_targets(where: str, values: Any, inputs: Any, class_names: Sequence[str] | None) -> Targets:
    """Targets of ``inputs``, where these are.

    Integers (N,), and (N, H, W) for pixels, are class numbers, and become int32; text (N,) names classes. Booleans,
    and integers (N, K) that are 0 or 1, are binary; floating-point numbers (N,) or (N, K) are real. Without
    ``class_names`` the classes are called by the sorted names, or the numbers up to the largest.

    Raises InputError for what is not such an array, for a NaN or an infinity, for classes without a name, and for an
    array that is not where the inputs are.
    """
    array = _as_text(where, as_array(where, values))
    host = to_numpy(array)
    _check_not_empty(where, host.shape)
    if host.dtype.kind in "mM":
        raise InputError(
            f"{where}: expected class numbers, names of classes or real numbers, got {host.dtype}. "
            "Convert dates to numbers or text."
        )
    if host.dtype.kind != "U":
        check_real_numbers(where, array)
        if is_array_api_obj(values):
            check_together(where, array, inputs)
    if (host.ndim == 1 and host.dtype.kind in "Uiu") or (host.ndim == 3 and host.dtype.kind in "iu"):
        numbers, class_names = _classes(where, host, class_names)
        return Targets(_placed_with(inputs, array, numbers), numbers, class_names)
    if class_names is not None:
        raise InputError(
            f"{where}: expected class numbers (N,) or (N, H, W) of an integer dtype for the class names, got "
            f"{host.dtype} of shape {host.shape}. Convert them, or leave class_names out."
        )
    return Targets(_placed_with(inputs, array, _numbers(where, host)), host, None)


def as_array(where: str, values: Any) -> Array:
    """An array of a supported library; of anything else what NumPy makes of it, in the machine's byte order."""
    if hasattr(values, "todense"):
        raise InputError(f"{where}: expected a dense array, got {type(values).__name__}. Convert it with .toarray().")
    if isinstance(values, np.ma.MaskedArray):
        raise InputError(f"{where}: expected an array without a mask, got a masked one. Fill it with .filled(value).")
    if isinstance(values, np.memmap):
        return values
    if is_torch_array(values):
        return values.detach()  # or the training would be recorded for its gradient
    if is_array_api_obj(values) and not isinstance(values, np.ndarray):
        check_array(where, values)
        return values
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{where}: expected rows of equal length, got different ones. Pad or cut them.") from error
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_values(where: str, array: Array, dtype: str, indices: np.ndarray | None = None) -> None:
    """Raise InputError for a NaN, an infinity, or a number that ``dtype`` cannot hold; ``indices`` as below."""
    check_finite(where, array, indices)
    check_range(where, array, dtype, indices)


def check_finite(where: str, array: Array, indices: np.ndarray | None = None) -> None:
    """Raise InputError for a NaN or an infinity, naming its row: by ``indices`` where the array has some rows only."""
    if not has_kind(array, "real floating") or is_finite(array):
        return
    xp = array_namespace(array)
    rows = xp.reshape(array, (array.shape[0], -1))
    is_bad = to_numpy(xp.any(~xp.isfinite(rows), axis=1))
    first = int(is_bad.argmax())
    raise InputError(
        f"{where}: expected finite numbers, got NaN or infinity in {int(is_bad.sum())} of {len(is_bad)} rows, first "
        f"in row {first if indices is None else indices[first]}. Remove these examples, or fill in their values."
    )


def is_finite(array: Array) -> bool:
    """Whether an array of floating-point numbers has neither NaN nor infinity."""
    xp = array_namespace(array)
    with np.errstate(invalid="ignore"):
        return math.isfinite(xp.min(array)) and math.isfinite(xp.max(array))  # NaN is both


def check_range(where: str, array: Array, dtype: str, indices: np.ndarray | None = None) -> None:
    """Raise InputError for finite numbers that ``dtype`` cannot hold, naming the row as ``check_finite`` does."""
    xp, limit = array_namespace(array), float(np.finfo(dtype).max)
    if not has_kind(array, "real floating") or float(xp.finfo(array.dtype).max) <= limit:
        return
    if -limit <= xp.min(array) and xp.max(array) <= limit:
        return
    rows = to_numpy(xp.reshape(array, (array.shape[0], -1)))
    row, column = np.argwhere(np.abs(rows) > limit)[0]
    raise InputError(
        f"{where}: expected numbers within the range of {dtype} (up to {limit:.2g}), got {rows[row, column]:.3g} in "
        f"row {row if indices is None else indices[row]}. Scale them, or make the network with dtype='float64'."
    )


def check_together(where: str, array: Any, other: Any) -> None:
    """Raise InputError for arrays of two libraries or devices; images in files count as NumPy's."""
    array, other = (np.empty(0) if isinstance(values, ImageFiles | HostRows) else values for values in (array, other))
    if not same_location(array, other):
        raise InputError(
            f"{where}: expected all arrays of a data set in one library and on one device, got {_place(array)} beside "
            f"{_place(other)}. Move one of them."
        )


def _place(array: Array) -> str:
    library, device = location(array)
    return library if device is None else f"{library} on {device}"


def _as_text(where: str, array: Array) -> Array:
    """An array of Python's or NumPy's text as one of a fixed width; others as they are."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "OT":
        return array
    if not all(isinstance(value, str) for value in array.flat):
        raise InputError(
            f"{where}: expected numbers or names of classes, got other objects. Convert them with .astype."
        )
    return np.asarray(array.tolist(), str)


def _check_not_empty(where: str, shape: Sequence[int]) -> None:
    if not shape or 0 in shape:
        raise InputError(f"{where}: expected at least one example, got shape {tuple(shape)}. Pass at least one row.")


def _classes(where: str, host: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers int32 and the names of all classes."""
    if host.dtype.kind == "U":
        found, positions = np.unique(host, return_inverse=True)
        names = tuple(found.tolist()) if class_names is None else tuple(class_names)
        unknown = sorted(set(found.tolist()) - set(names))
        if unknown:
            raise InputError(
                f"{where}: expected the classes {', '.join(map(repr, names[:10]))}, got {unknown[0]!r}. "
                "Remove its examples, or name it too."
            )
        numbers = {name: number for number, name in enumerate(names)}
        return np.asarray([numbers[name] for name in found.tolist()], np.int32)[positions], names
    least, most = int(host.min()), int(host.max())
    if class_names is None:
        if least < 0 or most >= host.size:
            raise InputError(
                f"{where}: expected class numbers from 0, below the number of examples, got {least} to {most}. "
                "Pass names as text, or numbers from np.unique(y, return_inverse=True)[1]; for regression, convert to "
                "a floating-point dtype."
            )
        class_names = tuple(map(str, range(most + 1)))
    check_labels(where, host, len(class_names))
    return host.astype(np.int32, copy=False), tuple(class_names)


def _numbers(where: str, host: np.ndarray) -> np.ndarray:
    """Targets that are not class numbers: real ones as they are, 0/1 as bool or int32."""
    if host.dtype.kind not in "biuf" or host.ndim > 2:
        raise InputError(
            f"{where}: expected targets (N,) or (N, K), got {host.dtype} of shape {host.shape}. Reshape them."
        )
    if host.dtype.kind == "f":
        check_finite(where, host)
        return host
    if host.dtype.kind in "iu":
        if not ((host == 0) | (host == 1)).all():
            raise InputError(
                f"{where}: expected 0 and 1 in integers (N, K), got {host.min()} to {host.max()}. Use class numbers "
                "as (N,), real targets in a floating-point dtype."
            )
        return host.astype(np.int32, copy=False)
    return host


def _placed_with(inputs: Any, array: Array, host: np.ndarray) -> Array:
    """The targets ``host`` where the inputs are: ``array`` itself if it is there and of this dtype."""
    if isinstance(inputs, np.ndarray | ImageFiles | HostRows):
        return host
    xp = array_namespace(inputs)
    if same_location(array, inputs):
        return xp.astype(array, xp.int32, copy=False) if host.dtype == np.int32 else array
    return backend_of(inputs).asarray(host)


# The checks below take the names of what they check, so that a reader of files can name the file at fault.


def check_counts(inputs_name: str, inputs: Any, targets_name: str, targets: Array) -> None:
    """Raise InputError unless there is one target for each input."""
    count, actual = inputs.shape[0], (tuple(targets.shape) or (0,))[0]
    if count != actual:
        raise InputError(
            f"{targets_name}: expected {count} targets, one for each example of {inputs_name}, got {actual}. "
            "Use one target per example."
        )


def check_labels(targets_name: str, targets: np.ndarray, classes: int) -> None:
    """Raise InputError unless every label is in [0, classes). There must be at least one label."""
    for label in (targets.min(), targets.max()):
        if not 0 <= label < classes:
            raise InputError(
                f"{targets_name}: expected labels from 0 to {classes - 1}, got {label}. "
                f"Use labels that count the {classes} classes from 0."
            )


def check_image_shapes(train_name: str, train: Any, other_name: str, other: Any) -> None:
    """Raise InputError unless the inputs of another part have the shape of the training inputs."""
    shape, other_shape = tuple(train.shape[1:]), tuple(other.shape[1:])
    if shape != other_shape:
        raise InputError(
            f"{other_name}: expected inputs of shape {shape} as in {train_name}, "
            f"got {other_shape}. Use inputs of the same data."
        )
