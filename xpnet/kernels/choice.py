"""Which kernels may serve, and how they must compute: a choice of the whole process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import NamedTuple

from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.kernels import sharing
from xpnet.kernels.precision import use_precision

CHOICES = ("fastest", "pure", "onednn", "cudnn")


class Choice(NamedTuple):
    """Kernels by name, whether a CUDA graph must be able to hold them, and whether they must give the same bits."""

    kernels: str = "fastest"
    recordable: bool = False
    deterministic: bool = False


_choice = Choice()


def use(choice: str, precision: str = "float32", *, recordable: bool = False, deterministic: bool = False) -> None:
    """Choose the kernels of this whole process, and how exactly they multiply float32 (``kernels/precision.py``).

    ``pure`` are none written for one library; ``onednn`` are the fastest where oneDNN is installed, and an error where
    it is not; ``cudnn`` are the fastest, with cuDNN's convolutions on CuPy arrays. ``recordable`` are those that a CUDA
    graph can hold; ``deterministic`` those that give the same bits each time, on a GPU too.

    Raises InputError for any other choice, and if oneDNN or cuDNN is asked for and cannot be loaded.
    """
    global _choice
    checked = _checked(choice)
    use_precision(precision)
    _choice = Choice(checked, recordable, deterministic)


@contextmanager
def using(choice: str) -> Iterator[None]:
    """Other kernels in a ``with`` block, for the whole process; all else stays as ``use`` was told.

    Raises InputError as ``use`` does.
    """
    global _choice
    before = _choice
    _choice = before._replace(kernels=_checked(choice))
    try:
        yield
    finally:
        _choice = before


def chosen() -> Choice:
    """The choice."""
    return _choice


def in_use() -> dict[str, str]:
    """Which kernels may serve, and the number of threads of NumPy's."""
    return {"kernels": _choice.kernels, "threads": str(sharing.threads())}


def versions(library: str) -> dict[str, str]:
    """What rounding depends on beside a library of arrays: the version of another one whose kernels serve them."""
    if library != "numpy" or _choice.kernels == "pure":
        return {}
    return {"oneDNN": import_module("xpnet.kernels.onednn_kernels").version()}


def is_deterministic() -> bool:
    """Whether the kernels must give the same bits each time."""
    return _choice.deterministic


def _checked(choice: str) -> str:
    choice = pick("Kernels", {name: name for name in CHOICES}, choice)
    if choice in _CHECKS:
        _CHECKS[choice]()
    return choice


def _check_onednn() -> None:
    library = import_module("xpnet.kernels.onednn_library")
    try:
        library.load()
    except library.OneDNNError as error:
        raise InputError(
            f"Kernels onednn: expected oneDNN 3, got: {error}. "
            'Install it with: pip install "xpnet[onednn]"; or choose fastest.'
        ) from error


def _check_cudnn() -> None:
    try:
        import_module("cudnn").backend_version()
    except (ImportError, RuntimeError) as error:  # RuntimeError: the interface is there, the library is not
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(
            f"Kernels cudnn: expected cuDNN and its Python interface, got: {reason}. "
            'Install them with: pip install "xpnet[cuda13,cudnn]".'
        ) from error


_CHECKS = {"onednn": _check_onednn, "cudnn": _check_cudnn}
