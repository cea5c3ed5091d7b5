"""Stands for the module ``cudnn`` on the emulated device: plans are executed by loops over the taps of a window.

Everything up to that place is the real code's: addresses, strides, workspace, handles, streams. What it does not prove
is that cuDNN has such a plan, which ``tests/kernels/test_cudnn.py`` does, and that cuDNN computes what it says.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

data_type = enum.Enum("data_type", "HALF FLOAT")
numerical_note = enum.Enum("numerical_note", "TENSOR_CORE DOWN_CONVERT_INPUTS WINOGRAD NONDETERMINISTIC")
heur_mode = enum.Enum("heur_mode", "A B FALLBACK")
_DTYPES = {data_type.HALF: np.float16, data_type.FLOAT: np.float32}
_WORKSPACE = 4096
_device = ctypes.CDLL("libcuda.so.1")
_device.emulated_check.restype = ctypes.c_bool
_work_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)
_callbacks = []  # a graph calls them again


class cudnnGraphNotSupportedError(Exception):  # noqa: N801 (cuDNN's name)
    """There is no plan; here there always is one."""


class _Handle:
    stream = 0


def backend_version() -> int:
    return 92800


def create_handle() -> _Handle:
    return _Handle()


def set_stream(handle: _Handle, stream: int) -> None:
    handle.stream = stream


class _Tensor:
    """Dimensions and strides in elements, in the order (N, C, H, W), and the number of its address."""

    def __init__(self, dim: list[int] | None = None, stride: list[int] | None = None, uid: int | None = None) -> None:
        self.dim, self.stride, self.uid = dim, stride, uid

    def set_output(self, _: bool) -> _Tensor:
        return self

    def set_uid(self, uid: int) -> _Tensor:
        self.uid = uid
        return self

    def set_dim(self, dim: list[int]) -> _Tensor:
        self.dim = dim
        return self

    def set_stride(self, stride: list[int]) -> _Tensor:
        self.stride = stride
        return self

    def view(self, address: int, dtype: Any) -> np.ndarray:
        """The elements where they lie."""
        size = 1 + sum((n - 1) * stride for n, stride in zip(self.dim, self.stride, strict=True))
        itemsize = np.dtype(dtype).itemsize
        flat = np.frombuffer((ctypes.c_char * (size * itemsize)).from_address(address), dtype)
        return np.lib.stride_tricks.as_strided(flat, self.dim, [stride * itemsize for stride in self.stride])


class pygraph:  # noqa: N801 (cuDNN's name)
    """Operations in order, and when all is described the plan of them."""

    def __init__(self, *, io_data_type, intermediate_data_type, compute_data_type, sm_version, handle) -> None:
        self._dtype, self._inner = _DTYPES[io_data_type], _DTYPES[compute_data_type]
        self.forbidden: set[numerical_note] = set()
        self._operations: list[tuple[Callable[..., np.ndarray], tuple[_Tensor, ...], dict[str, Any], _Tensor]] = []

    def tensor(self, *, dim, stride, uid) -> _Tensor:
        return _Tensor(dim, stride, uid)

    def conv_fprop(self, image: _Tensor, weight: _Tensor, **settings: Any) -> _Tensor:
        return self._add(_forward, image, weight, **settings)

    def conv_dgrad(self, loss: _Tensor, filter: _Tensor, **settings: Any) -> _Tensor:
        return self._add(_input_gradient, loss, filter, **settings)

    def conv_wgrad(self, image: _Tensor, loss: _Tensor, **settings: Any) -> _Tensor:
        return self._add(_weight_gradient, image, loss, **settings)

    def bias(self, input: _Tensor, bias: _Tensor) -> _Tensor:
        return self._add(lambda _, y, bias: y + bias, input, bias)

    def _add(self, operation: Callable[..., np.ndarray], *inputs: _Tensor, **settings: Any) -> _Tensor:
        self._operations.append((operation, inputs, settings, _Tensor()))
        return self._operations[-1][-1]

    def validate(self) -> None:
        pass

    build_operation_graph = check_support = build_plans = validate

    def create_execution_plans(self, modes: list[heur_mode]) -> None:
        pass

    def deselect_numeric_notes(self, notes: list[numerical_note]) -> None:
        self.forbidden |= set(notes)

    def get_workspace_size(self) -> int:
        return _WORKSPACE

    def execute(self, addresses: Mapping[int, int], workspace: int, handle: _Handle) -> None:
        """Work on the handle's stream: done, late, or recorded."""
        for address in (*addresses.values(), workspace, workspace + _WORKSPACE):
            if address % 16 or not address or not _device.emulated_check(ctypes.c_void_p(address)):
                raise RuntimeError(f"cuDNN: {address:#x} is no round address of this device's memory")

        def work(_: int) -> int:
            values: dict[int, np.ndarray] = {}
            for operation, inputs, settings, result in self._operations:
                arrays = [
                    values[id(t)] if id(t) in values else t.view(addresses[t.uid], self._dtype).astype(self._inner)
                    for t in inputs
                ]
                values[id(result)] = operation(result.dim, *arrays, **settings)
            result.view(addresses[result.uid], self._dtype)[...] = values[id(result)]
            return 0

        _callbacks.append(_work_type(work))
        if _device.emulated_enqueue(b"cudnn", ctypes.c_void_p(handle.stream), _callbacks[-1], b"", ctypes.c_size_t(0)):
            raise RuntimeError("cuDNN: the device has failed")


def _grouped(array: np.ndarray, axis: int, groups: int) -> np.ndarray:
    """One axis as two: groups, and the channels of each."""
    return array.reshape(*array.shape[:axis], groups, -1, *array.shape[axis + 1 :])


def _taps(
    x: np.ndarray, kernel: tuple[int, ...], sizes: tuple[int, ...], stride: list[int], dilation: list[int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """For each tap, what lies under it at all positions of the window, in padded images."""
    for u, v in itertools.product(*map(range, kernel)):
        rows, columns = (
            slice(tap * d, tap * d + s * (size - 1) + 1, s)
            for tap, d, s, size in zip((u, v), dilation, stride, sizes, strict=True)
        )
        yield u, v, x[..., rows, columns]


def _padded(x: np.ndarray, pre_padding: list[int], post_padding: list[int]) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), *zip(pre_padding, post_padding, strict=True)))


def _forward(_, x, w, *, pre_padding, post_padding, stride, dilation) -> np.ndarray:
    x, groups, kernel = _padded(x, pre_padding, post_padding), x.shape[1] // w.shape[1], w.shape[2:]
    sizes = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    x, w = _grouped(x, 1, groups), _grouped(w, 0, groups)
    y = sum(np.einsum("ngchw,goc->ngohw", tap, w[..., u, v]) for u, v, tap in _taps(x, kernel, sizes, stride, dilation))
    return y.reshape(y.shape[0], -1, *y.shape[3:])


def _weight_gradient(dim, x, dy, *, pre_padding, post_padding, stride, dilation) -> np.ndarray:
    groups = x.shape[1] // dim[1]
    x, dw = _grouped(_padded(x, pre_padding, post_padding), 1, groups), np.empty(dim, x.dtype)
    parts, dy = _grouped(dw, 0, groups), _grouped(dy, 1, groups)
    for u, v, tap in _taps(x, dim[2:], dy.shape[3:], stride, dilation):
        parts[..., u, v] = np.einsum("ngchw,ngohw->goc", tap, dy)
    return dw


def _input_gradient(dim, dy, w, *, pre_padding, post_padding, stride, dilation) -> np.ndarray:
    groups, kernel = dim[1] // w.shape[1], w.shape[2:]
    padded = _padded(np.zeros(dim, dy.dtype), pre_padding, post_padding)
    parts, dy, w = _grouped(padded, 1, groups), _grouped(dy, 1, groups), _grouped(w, 0, groups)
    for u, v, tap in _taps(parts, kernel, dy.shape[3:], stride, dilation):
        tap += np.einsum("ngohw,goc->ngchw", dy, w[..., u, v])
    (top, left), (height, width) = pre_padding, dim[2:]
    return padded[:, :, top : top + height, left : left + width]
