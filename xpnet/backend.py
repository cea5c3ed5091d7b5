"""The home of arrays: the library and device that they are on, and arrays from one to another.

Layers find their namespace from the arrays they are given.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import array_api_compat
import numpy as np

from xpnet.devices import find
from xpnet.errors import InputError

Array = Any  # the standard has no type for "an array of any library" yet
T = TypeVar("T")


@dataclass(frozen=True)
class Backend:
    """An array namespace and a device of it: where a network's arrays live."""

    name: str
    xp: Any
    device: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, (self.device_name(), self.name)  # a module cannot be pickled

    def asarray(self, array: Array, dtype: str | None = None) -> Array:
        """Move an array of any supported library here, as ``dtype`` where one is named."""
        target = dtype and self.dtype(dtype)
        if namespace_name(array) == self.name:
            if target is not None:
                with backend_of(array).current():
                    array = self.xp.astype(array, target, copy=False)
            return array_api_compat.to_device(array, self.device)
        array = to_numpy(array)
        if self.name == "torch":  # which knows neither read-only arrays nor negative strides
            array = np.require(array, requirements=["C", "W"])
        return self.xp.asarray(array, dtype=target, device=self.device)

    def dtype(self, name: str) -> Any:
        """The namespace's dtype object, such as float32.

        Raises InputError for float64 where it does not exist, or where JAX would silently compute in float32 instead.
        """
        if name == "float64" and str(self.device) == "mps":
            raise InputError(
                "device 'mps': expected dtype float32, the only one it computes in, got float64. Use device='cpu'."
            )
        if self.name == "jax" and name == "float64" and not importlib.import_module("jax").config.jax_enable_x64:
            raise InputError(
                "dtype float64: JAX computes in float32 by default. Set the environment variable JAX_ENABLE_X64=1."
            )
        return getattr(self.xp, name)

    def current(self) -> AbstractContextManager[Any]:
        """Makes the device the current one in a ``with`` block.

        CuPy computes on the current device, whichever the operands are on; the other libraries on that of the operands.
        """
        return self.device if self.name == "cupy" else nullcontext()

    def describe(self) -> str:
        """One phrase for people: the library, its version and the device."""
        return f"{self.name} {self.version()} on {self.device_name()}"

    def version(self) -> str:
        """The array library's version."""
        return importlib.import_module(self.name).__version__

    def device_name(self) -> str:
        """The device as ``resolve`` takes it."""
        if self.name == "cupy":
            return f"cuda:{self.device.id}"
        if self.name == "jax":
            return "cpu" if self.device.platform == "cpu" else f"cuda:{self.device.id}"
        return str(self.device)


def on_own_device(method: Callable[..., T]) -> Callable[..., T]:
    """A method that computes on the device of its object's ``backend``, whichever is the current one."""

    @functools.wraps(method)
    def entered(self: Any, *args: Any, **kwargs: Any) -> T:
        with self.backend.current():
            return method(self, *args, **kwargs)

    return entered


def resolve(device: str = "cpu", backend: str | None = None) -> Backend:
    """Find the array library and device of these names.

    Without a backend, ``cpu`` is NumPy, ``cuda`` and ``cuda:N`` are CuPy, and ``auto`` is CuPy where a GPU answers and
    NumPy elsewhere.

    Raises InputError, with what to install or choose, where the library or the device is missing.
    """
    return Backend(*find(device, backend))


def backend_of(array: Array) -> Backend:
    """The backend that an array lives on."""
    name = namespace_name(array)
    return Backend(name, array_api_compat.array_namespace(array), array_api_compat.device(array))


_namespaces: dict[type, Any] = {}


def array_namespace(array: Array) -> Any:
    """The functions of the Array API standard for an array: array-api-compat's answer, kept for each type of array.

    A training step asks dozens of times, and the search takes twenty times as long as looking it up.
    """
    kind = type(array)
    if kind not in _namespaces:
        _namespaces[kind] = array_api_compat.array_namespace(_typical(array))
    return _namespaces[kind]


_names: dict[type, str] = {}


def namespace_name(array: Array, where: str = "Array") -> str:
    """The library of an array: numpy, cupy, torch, jax, or the module name of another Array API library.

    Raises InputError, beginning with ``where``, for something that is not an array of such a library.
    """
    kind = type(array)
    if kind not in _names:
        _names[kind] = _find_name(_typical(array), where)
    return _names[kind]


def has_kind(array: Array, kind: str | tuple[str, ...]) -> bool:
    """``isdtype`` of an array's dtype, kept for each dtype: checks ask it of every batch, and NumPy takes its time."""
    return _is_kind(array_namespace(array), array.dtype, kind)


@functools.cache
def _is_kind(xp: Any, dtype: Any, kind: str | tuple[str, ...]) -> bool:
    return xp.isdtype(dtype, kind)


def is_array(value: Any) -> bool:
    """Whether something is an array of a supported library."""
    try:
        namespace_name(value)
    except InputError:
        return False
    return True


def check_array(where: str, value: Any) -> None:
    """Raise InputError unless the value is an array of a supported library."""
    namespace_name(value, where)


def _typical(array: Array) -> Array:
    """An array whose answer holds for its type; JAX's float0 gradients are NumPy's, but would be found to be JAX's."""
    return np.empty(0) if type(array) is np.ndarray else array


def _find_name(array: Array, where: str) -> str:
    if array_api_compat.is_numpy_array(array):
        return "numpy"
    if array_api_compat.is_torch_array(array):
        return "torch"
    if array_api_compat.is_cupy_array(array):
        return "cupy"
    if array_api_compat.is_jax_array(array):
        return "jax"
    if hasattr(array, "__array_namespace__"):
        return array.__array_namespace__().__name__
    raise InputError(
        f"{where}: expected an array of NumPy, CuPy, PyTorch or JAX, got {type(array).__name__}. "
        "Convert it with numpy.asarray."
    )


def location(array: Array) -> tuple[str, Any]:
    """Library and device of an array; None for the device where JAX traces it or may move it by itself.

    Raises InputError for something that is not an array of a supported library.
    """
    name = namespace_name(array)
    if name == "jax" and (is_traced(array) or not array.committed):
        return name, None
    return name, array.device


def same_location(one: Array, other: Array) -> bool:
    """Whether two arrays are of one library and, as far as that is settled, on one device."""
    if type(one) is type(other) is np.ndarray:
        return True  # layers ask this of every batch; NumPy has one device
    (library, device), (other_library, other_device) = location(one), location(other)
    return library == other_library and (None in (device, other_device) or device == other_device)


def is_readable(array: Array) -> bool:
    """Whether values lie on the host, where a check of them makes no device wait."""
    if array_api_compat.is_jax_array(array):
        return not is_traced(array) and all(device.platform == "cpu" for device in array.devices())
    if array_api_compat.is_torch_array(array):
        return array.device.type == "cpu"
    return array_api_compat.is_numpy_array(array)


def is_traced(array: Array) -> bool:
    """Whether an array is JAX's stand-in for values that are not known yet."""
    return array_api_compat.is_jax_array(array) and isinstance(array, importlib.import_module("jax").core.Tracer)


def check_real_numbers(where: str, array: Array) -> None:
    """Refuse complex numbers, text, dates and the like, and PyTorch's tensors that are sparse or without values."""
    kind, has_values = str(array.dtype), True
    if array_api_compat.is_torch_array(array):
        kind = f"{kind}, {array.layout} on {array.device}"
        has_values = str(array.layout) == "torch.strided" and not array.is_meta
    if not has_values or not has_kind(array, ("bool", "integral", "real floating")):
        raise InputError(f"{where}: expected a dense array of real numbers, got {kind}. Convert it to float32.")


def to_numpy(array: Array) -> np.ndarray:
    """Copy an array of any supported library to the host (or view it, where it is there already).

    PyTorch's floating-point dtypes that NumPy lacks, such as bfloat16, become float32.
    """
    name = namespace_name(array)
    if name == "cupy":
        return array.get()
    if name == "torch":
        tensor = array.detach().cpu()
        is_foreign = tensor.dtype.is_floating_point and not hasattr(np, str(tensor.dtype).removeprefix("torch."))
        return (tensor.float() if is_foreign else tensor).numpy()
    if name == "array_api_strict":
        return np.asarray(array.to_device(array.__array_namespace__().Device("CPU_DEVICE")))
    return np.asarray(array)


def on_accelerator(array: Array) -> bool:
    """Whether each operation on this array is a kernel launch, so that few large operations beat many small ones.

    JAX is asked for its default device: a traced array is on none yet.
    """
    if array_api_compat.is_torch_array(array):
        return array.device.type != "cpu"
    if array_api_compat.is_jax_array(array):
        return importlib.import_module("jax").default_backend() != "cpu"
    return array_api_compat.is_cupy_array(array)
