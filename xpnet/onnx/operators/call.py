"""What an operator is given beside its inputs, and steps that many operators share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from array_api_compat import device

from xpnet.backend import Array, array_namespace, has_kind, to_numpy
from xpnet.errors import InputError

Operator = Callable[..., Any]  # of a call and the inputs, None for those left out; gives one output or a tuple

DTYPES: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}
"""Names of array dtypes by ONNX's numbers; the others no array library has, or not every one."""

LARGEST = 2**28  # elements of an array that a model may ask for by a shape alone


class Call(NamedTuple):
    """A node's attributes, the version of its operator set, and how many outputs are asked for."""

    attributes: Mapping[str, Any]
    opset: int
    outputs: int = 1

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.attributes.get(name, default)


def error(message: str) -> InputError:
    """An error of a node, whose name and operator the caller puts in front."""
    return InputError(message)


def integers(x: Array | Sequence[int] | None) -> list[int]:
    """A shape, axes or indices as Python's integers: they decide shapes, and must be known before computing."""
    if x is None:
        return []
    return [int(n) for n in (x if isinstance(x, list | tuple) else to_numpy(x).reshape(-1))]


def numbers(x: Array | None) -> list[float]:
    """Real numbers that decide shapes, as Python's."""
    return [] if x is None else to_numpy(x).reshape(-1).tolist()


def scalar(x: Array) -> Any:
    """The one value of an array."""
    return to_numpy(x).reshape(-1)[0].item()


def dtype_name(x: Array) -> str:
    """The dtype as NumPy calls it."""
    return str(x.dtype).rpartition(".")[2]


def dtype_of(x: Array, number: int) -> Any:
    """The dtype with ONNX's number in the library of an array."""
    xp, name = array_namespace(x), DTYPES.get(number)
    if name is None or not hasattr(xp, name):
        raise error(f"expected a dtype that {xp.__name__.rpartition('.')[2]} has, got ONNX's number {number}")
    return getattr(xp, name)


def astype(x: Array, dtype: Any) -> Array:
    """The array in another dtype, or itself."""
    return array_namespace(x).astype(x, dtype, copy=False)


def like(x: Array, values: Any, dtype: Any = None) -> Array:
    """An array of these values beside another one, and of its dtype unless told otherwise."""
    return array_namespace(x).asarray(values, dtype=dtype or x.dtype, device=device(x))


def is_floating(x: Array) -> bool:
    """Whether the array holds floating-point numbers."""
    return has_kind(x, "real floating")


def single_precision(x: Array) -> Array:
    """The array, in float32 if it has less."""
    return astype(x, array_namespace(x).float32) if dtype_name(x) in ("float16", "bfloat16") else x


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -max(rank, 1) <= axis < max(rank, 1):
        raise error(f"expected an axis of {rank}, got {axis}")
    return axis % rank if rank else 0


def axes_of(call: Call, axes: Array | None, rank: int) -> list[int]:
    """The attribute, or in later opsets the input, ``axes``; empty if there is none."""
    given = integers(call.get("axes") if axes is None else axes)
    return [axis_of(axis, rank) for axis in given]


def moved_last(x: Array, axis: int = 1) -> Array:
    """The array with an axis, the channels', moved to the end."""
    return array_namespace(x).moveaxis(x, axis, -1)


def moved_back(x: Array, axis: int = 1) -> Array:
    """Inverse of ``moved_last``."""
    return array_namespace(x).moveaxis(x, -1, axis)


def checked(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape; an error if it is not one, or holds too much."""
    if any(n < 0 for n in shape) or math.prod(shape) > LARGEST:
        raise error(f"expected a shape of at most {LARGEST:,} elements, got {shape}")
    return shape
