"""The table of kernels: for each operation the modules that may compute it, in the order in which they are asked.

A module has functions named as its rows, and ``serves(operation, *arguments)``, which is given the arguments of such a
function and says whether it takes them. The first that does computes. To add a kernel: a module, its name in the rows,
and its name in ``tests/kernels/test_table.py``; a new row needs an example in ``kernels/__main__.py`` too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from xpnet.backend import Array, namespace_name
from xpnet.kernels import choice

T = TypeVar("T")

_FAST = ("fastest", "onednn", "cudnn")


class Candidate(NamedTuple):
    """A module of kernels, the library whose arrays it is for (None: any), and the choices under which it may serve."""

    module: str
    library: str | None = None
    choices: tuple[str, ...] = choice.CHOICES


CUDA = Candidate("cuda_kernels", "cupy", _FAST)
CUDA_OPTIMIZERS = Candidate("cuda_optimizers", "cupy", _FAST)
CUDNN = Candidate("cudnn_kernels", "cupy", ("cudnn",))
CUPY = Candidate("cupy_kernels", "cupy", _FAST)
CUPY_AUGMENT = Candidate("cupy_augment", "cupy", _FAST)
GRAPH = Candidate("graph_kernels", "cupy")
ONEDNN = Candidate("onednn_kernels", "numpy", _FAST)
NUMPY = Candidate("numpy_kernels", "numpy", _FAST)
NUMPY_POOLING = Candidate("numpy_pooling", "numpy", _FAST)
NUMPY_PRODUCTS = Candidate("numpy_products", "numpy", _FAST)
NUMPY_ELEMENTS = Candidate("numpy_elements", "numpy", _FAST)
NUMPY_LOSS = Candidate("numpy_loss", "numpy", _FAST)
BLOCKWISE = Candidate("blockwise", choices=_FAST)
TORCH = Candidate("torch_kernels", "torch", _FAST)
JAX = Candidate("jax_kernels", "jax", _FAST)
# Any library's, and each other's reference.
IM2COL, UNROLLED, POOLING = Candidate("im2col"), Candidate("unrolled"), Candidate("pooling")
POINTWISE, CROSS_ENTROPY, PRODUCTS = Candidate("pointwise"), Candidate("cross_entropy"), Candidate("products")

# Some operations have their formulas elsewhere, which compute where no module of a row serves.
TABLE: dict[str, tuple[Candidate, ...]] = {
    "conv2d": (ONEDNN, NUMPY, TORCH, JAX, CUDNN, CUPY, IM2COL, UNROLLED),
    "conv2d_backward": (ONEDNN, NUMPY, TORCH, JAX, CUDNN, CUPY, IM2COL, UNROLLED),
    "conv2d_block": (ONEDNN,),
    "max_pool2d": (CUDA, ONEDNN, NUMPY_POOLING, TORCH, JAX, POOLING),
    "max_pool2d_with_winners": (CUDA, ONEDNN, NUMPY_POOLING, TORCH, POOLING),
    "rectified_max_pool2d": (CUDA,),
    "average_pool2d": (ONEDNN, TORCH, POOLING),
    "average_pool2d_input_gradient": (ONEDNN, TORCH, JAX, POOLING),
    "batch_norm": (CUDA, ONEDNN),
    "batch_norm_by_running_statistics": (CUDA, ONEDNN),
    "rectify": (CUPY, POINTWISE),
    "rectify_gradient": (CUPY, POINTWISE),
    "rectified_sum": (CUPY, NUMPY_ELEMENTS),
    "normalize": (CUPY, NUMPY_ELEMENTS, POINTWISE),
    "lerp": (CUPY, POINTWISE),
    "elementwise": (NUMPY_ELEMENTS,),
    "softmax_cross_entropy": (CUDA, NUMPY_LOSS, CROSS_ENTROPY),
    "accuracy": (CUDA, NUMPY_LOSS, CROSS_ENTROPY),
    "channel_sum": (CUDA, PRODUCTS),
    "optimizer_update": (CUDA_OPTIMIZERS, BLOCKWISE),
    "augment": (CUPY_AUGMENT,),
    "take_examples": (CUPY, PRODUCTS),
    "matmul": (GRAPH, NUMPY_PRODUCTS, PRODUCTS),
    "join_vectors": (CUPY, PRODUCTS),
}


class KernelError(RuntimeError):
    """A kernel that had said it serves has failed; its module serves nothing any more."""


def find(operation: str, x: Array, *arguments: Any) -> ModuleType | None:
    """The first module of a row that serves."""
    for module in _row(operation, namespace_name(x), choice.chosen().kernels):
        if module.serves(operation, x, *arguments):
            return module
    return None


def call(operation: str, *arguments: Any, **settings: Any) -> tuple[ModuleType | None, Any]:
    """The first module of a row that serves, and its result; where it fails, the next one's. None if none serves."""
    for module in _row(operation, namespace_name(arguments[0]), choice.chosen().kernels):
        if module.serves(operation, *arguments):
            try:
                return module, getattr(module, operation)(*arguments, **settings)
            except KernelError as error:
                _say(str(error))
    return None, None


def repeated_on_failure(function: Callable[..., T]) -> Callable[..., T]:
    """A pure function that begins again without a module that fails in backward: no other can read its caches."""

    @wraps(function)
    def repeating(*args: Any, **kwargs: Any) -> T:
        while True:
            try:
                return function(*args, **kwargs)
            except KernelError as error:
                _say(str(error))

    return repeating


def leave_out(module: str, operation: str) -> None:
    """Do without a module in one row, in this whole process."""
    TABLE[operation] = tuple(candidate for candidate in TABLE[operation] if candidate.module != module)
    _row.cache_clear()


def by_name(module: str) -> ModuleType:
    """A module of kernels, imported when it is first asked for."""
    return import_module(f"xpnet.kernels.{module}")


def name_of(module: ModuleType | None) -> str:
    """Inverse of ``by_name``."""
    return module.__name__.rpartition(".")[2] if module else "none"


@cache
def _say(failure: str) -> None:
    warnings.warn(f"{failure}. Other kernels take over.", RuntimeWarning, stacklevel=5)


@cache
def _row(operation: str, library: str, kernels: str) -> tuple[ModuleType, ...]:
    """The modules for a library's arrays under a choice."""
    fitting = (
        candidate
        for candidate in TABLE[operation]
        if candidate.library in (None, library) and kernels in candidate.choices
    )
    return tuple(by_name(candidate.module) for candidate in fitting)
