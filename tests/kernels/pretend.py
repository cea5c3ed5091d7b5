"""Arrays of the host taken for CuPy's, as the table of kernels sees them."""

from collections.abc import Callable
from typing import Any

import pytest

from xpnet.kernels import choice, im2col, table


def pretend_cupy(patch: pytest.MonkeyPatch, is_cupy: Callable[[Any], bool], without: tuple[str, ...] = ()) -> None:
    """Let the table ask modules for CuPy, all but some, where an array is one of CuPy's."""
    real_name, real_place = table.namespace_name, im2col.on_accelerator
    patch.setattr(table, "namespace_name", lambda array: "cupy" if is_cupy(array) else real_name(array))
    patch.setattr(im2col, "on_accelerator", lambda array: is_cupy(array) or real_place(array))
    rows = {
        operation: tuple(candidate for candidate in row if candidate.module not in without)
        for operation, row in table.TABLE.items()
    }
    patch.setattr(table, "TABLE", rows)
    forget_rows(patch)


def forget_rows(patch: pytest.MonkeyPatch) -> None:
    """Let the table look for its modules again, now and when the patch ends."""
    patch.setattr(table, "_row", table._row.__wrapped__)


def choose(patch: pytest.MonkeyPatch, kernels: str, **settings: bool) -> None:
    """Choose kernels without a check of what is installed."""
    patch.setattr(choice, "_choice", choice.Choice(kernels, **settings))
