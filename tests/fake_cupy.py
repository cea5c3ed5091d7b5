"""As much of CuPy as recording a CUDA graph takes, on NumPy arrays.

What NumPy computes between ``begin_capture`` and ``end_capture`` is written down operation by operation and computed
again, in the same memory, by ``launch``. As in a CUDA graph, addresses are repeated and Python's numbers are baked in.
Unlike on a GPU, memory that was freed is never handed out again, every operation can be recorded, and everything
happens at once and in order.
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np


class FakeCupy(SimpleNamespace):
    """The module; ``calls`` lists what was done with streams, memory pools and graphs."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        calls = self.calls

        class Stream:
            def __init__(self, non_blocking: bool) -> None:
                calls.append(f"Stream(non_blocking={non_blocking})")

            def __enter__(self) -> None:
                calls.append("use stream")

            def __exit__(self, *error: object) -> None:
                calls.append("leave stream")

            def synchronize(self) -> None:
                calls.append("synchronize stream")

            def begin_capture(self) -> None:
                calls.append("begin_capture")
                _Taped.tape = []

            def end_capture(self) -> Graph:
                calls.append("end_capture")
                tape, _Taped.tape = _Taped.tape, None
                return Graph(tape)

        class Graph:
            def __init__(self, tape: list[Any]) -> None:
                self._tape = tape

            def launch(self) -> None:
                calls.append("launch")
                for function, args, kwargs, result in self._tape:
                    new = function(*args, **kwargs)
                    if result is not None:
                        np.copyto(result, new)

        @contextmanager
        def using_allocator(malloc):
            calls.append("use pool")
            yield
            calls.append("leave pool")

        self.cuda = SimpleNamespace(
            Stream=Stream,
            MemoryPool=lambda: SimpleNamespace(malloc=None),
            using_allocator=using_allocator,
            runtime=SimpleNamespace(deviceSynchronize=lambda: calls.append("synchronize device")),
        )

    @property
    def is_capturing(self) -> bool:
        return _Taped.tape is not None

    def array(self, array: Any, copy: bool) -> np.ndarray:
        return np.array(array, copy=copy).view(_Taped)

    def full(self, shape: tuple[int, ...], value: Any, dtype: Any) -> np.ndarray:
        return np.full(shape, value, dtype=dtype).view(_Taped)

    def copyto(self, target: np.ndarray, source: Any) -> None:
        target, source = _plain(target), _plain(source)
        if _Taped.tape is None:
            np.copyto(target, source)
        else:  # nothing happens while a GPU records
            _Taped.tape.append((np.copyto, (target, source), {}, None))


class _Taped(np.ndarray):
    """An array whose operations are written down while there is a tape."""

    tape: list[Any] | None = None

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return _run(getattr(ufunc, method), inputs, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        return _run(function, args, kwargs)

    def __getitem__(self, index):
        return _run(np.ndarray.__getitem__, (self, index), {})

    def astype(self, *args, **kwargs):
        return _run(np.ndarray.astype, (self, *args), kwargs)


def _run(function, args, kwargs):
    args, kwargs = _plain(args), _plain(kwargs)
    result = function(*args, **kwargs)
    if isinstance(result, tuple | list):
        raise NotImplementedError(f"{function} gives several arrays")
    result = np.asarray(result)
    is_view = any(np.may_share_memory(result, array) for array in args if isinstance(array, np.ndarray))
    if _Taped.tape is not None and not is_view:
        _Taped.tape.append((function, args, kwargs, result))
    return result.view(_Taped)


def _plain(value: Any) -> Any:
    """The same memory as NumPy's own arrays."""
    if isinstance(value, tuple | list):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value.view(np.ndarray) if isinstance(value, _Taped) else value
