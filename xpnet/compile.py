"""How a pure function of arrays is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TypeVar

from xpnet.backend import Backend

T = TypeVar("T")


def compiled(function: Callable[..., T], backend: Backend) -> Callable[..., T]:
    """The function under jax.jit for JAX, whose eager calls cost more than small networks; itself elsewhere."""
    return importlib.import_module("jax").jit(function) if backend.name == "jax" else function
