"""How a pure function of arrays is run."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from xpnet.backend import Backend
from xpnet.cuda_graph import GraphedStep
from xpnet.errors import InputError

T = TypeVar("T")


def compiled(function: Callable[..., T], backend: Backend) -> Callable[..., T]:
    """The function under jax.jit for JAX, whose eager calls cost more than small networks; itself elsewhere.

    On the device of the backend, whichever is the current one.
    """
    if backend.name == "jax":
        return importlib.import_module("jax").jit(function)

    def on_device(*args: Any, **kwargs: Any) -> T:
        with backend.current():
            return function(*args, **kwargs)

    return on_device if backend.name == "cupy" else function


def on_host(function: Callable[[Any], Any], array: Any) -> Any:
    """What a function of the host makes of an array of JAX in the middle of what is compiled: one like it.

    Such calls keep their order.
    """
    jax, callbacks = importlib.import_module("jax"), importlib.import_module("jax.experimental")
    return callbacks.io_callback(function, jax.ShapeDtypeStruct(array.shape, array.dtype), array, ordered=True)


def graphed(step: Callable[..., tuple[Any, Any]], backend: Backend) -> Callable[..., tuple[Any, Any]]:
    """A training step as a CUDA graph; see ``GraphedStep``.

    Raises InputError for another backend than CuPy.
    """
    if backend.name != "cupy":
        raise InputError(
            f"CUDA graph: expected CuPy arrays (device='cuda'), got {backend.describe()}. Leave graph out."
        )
    return GraphedStep(step, importlib.import_module("cupy"))
