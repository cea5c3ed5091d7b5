"""Errors that name the layer they come from, wherever it stands in a network."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from xpnet.backend import Array, location
from xpnet.errors import InputError
from xpnet.shapes import Shape


class LayerError(InputError):
    """An InputError raised by a layer; the containers around it complete the layer's dotted path."""

    def __init__(self, layer: Any, message: str) -> None:
        super().__init__(layer, message)  # with which a pickle makes it again, for another process
        self.kind = type(layer).__name__
        self.message = message
        self.path: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{self.kind} '{'.'.join(self.path)}'" if self.path else self.kind
        return f"{where}: {self.message}"


class inside:  # noqa: N801 (reads as a keyword: with inside("conv1"): ...)
    """Completes the dotted path of a LayerError that passes through."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, LayerError):
            error.path = (self.name, *error.path)


def home(array: Array) -> str:
    """Library, dtype and device in words."""
    library, where = location(array)
    dtype = str(array.dtype).removeprefix("torch.").removeprefix("array_api_strict.")
    return f"{dtype} of {library}" + ("" if where is None else f" on {where}")


def batched(shape: Shape) -> str:
    """The shape of a batch in words: (N, 28, 28, 1)."""
    return "(" + ", ".join(["N", *map(str, shape)]) + ")"
