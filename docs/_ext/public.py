"""The public names: what the API reference shows and the tests of docstrings read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

MODULES = (
    "xpnet",
    "xpnet.layers",
    "xpnet.losses",
    "xpnet.optimizers",
    "xpnet.schedules",
    "xpnet.initializers",
    "xpnet.datasets",
    "xpnet.datasets.augment",
    "xpnet.training",
    "xpnet.metrics",
    "xpnet.models",
    "xpnet.plots",
    "xpnet.sklearn",
    "xpnet.onnx.backend",
    "xpnet.gradcheck",
    "xpnet.grading",
    "xpnet.random",
    "xpnet.parallel",
)


class Name(NamedTuple):
    """A public name: its dotted path and what it stands for."""

    path: str
    value: Any

    @property
    def is_code(self) -> bool:
        """Whether it is a class or a function, not data."""
        return inspect.isclass(self.value) or inspect.isroutine(self.value)


def exported(module: str) -> list[Name]:
    """What a module exports, but for other modules and what another library wrote."""
    home = import_module(module)
    names = [Name(f"{module}.{name}", getattr(home, name)) for name in home.__all__ if not name.startswith("__")]
    return [name for name in names if not isinstance(name.value, ModuleType) and _is_own(name)]


def members(kind: type) -> Iterator[str]:
    """The public methods and properties of a class that xpnet wrote, also those of its bases."""
    found: dict[str, Any] = {}
    for base in reversed(inspect.getmro(kind)):
        if base.__module__.startswith("xpnet"):
            found |= vars(base)
    for name, value in found.items():
        is_method = isinstance(value, FunctionType | classmethod | staticmethod | property)
        if not name.startswith("_") and (is_method or hasattr(value, "__wrapped__")):
            yield name


def _is_own(name: Name) -> bool:
    return not name.is_code or name.value.__module__.startswith("xpnet")
