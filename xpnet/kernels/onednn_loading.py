"""Where oneDNN's library is looked for, and how it is loaded."""

from __future__ import annotations

import ctypes
import os
import site
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from xpnet.kernels.onednn_library import Library, OneDNNError

NAME = "libdnnl.so.3"
_WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}  # loops, milliseconds


def places() -> list[str]:
    """Where pip or conda puts it, here or in the environment that this one was made from; then the loader searches."""
    prefixes = dict.fromkeys((sys.prefix, sys.base_prefix, site.getuserbase()))
    found = [str(Path(prefix) / "lib" / NAME) for prefix in prefixes]
    return [*filter(os.path.exists, found), NAME]


@cache
def load() -> Library:
    """The library, loaded at the first call: the first of those that are found and can serve.

    Raises OneDNNError, saying what is wrong with the first that is found, where there is none.
    """
    failures = []
    with _brief_waiting():
        for place in places():
            try:
                return Library(_opened(place))
            except (OSError, AttributeError, OneDNNError) as error:  # AttributeError: another library of that name
                failures.append(error)
    raise OneDNNError(str(failures[0]).partition("\n")[0]) from failures[0]


def _opened(path: str) -> ctypes.CDLL:
    """The library, with those that it needs where they lie beside it: Intel's packages do not tell the loader so."""
    opened: set[Path] = set()
    while True:
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            needed = Path(path).parent / str(error).partition(":")[0]
            is_there = needed.is_absolute() and needed.exists()
            if not is_there or needed == Path(path) or needed in opened:
                raise
            _opened(str(needed))
            opened.add(needed)


@contextmanager
def _brief_waiting() -> Iterator[None]:
    """Let OpenMP's threads sleep soon: they look for work for milliseconds first, Intel's for a fifth of a second.

    On a machine with other work that takes the time which the thread they wait for needs, and a step is ten times
    slower. OpenMP's libraries read this once, GNU's when it is loaded, Intel's and LLVM's at their first call.
    """
    own = {name: value for name, value in _WAITING.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]
