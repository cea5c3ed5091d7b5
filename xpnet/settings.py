"""The form in which a layer keeps its settings: they are hashed, saved and written to ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any

import numpy as np


def with_plain_settings(post_init: Callable[[Any], None]) -> Callable[[Any], None]:
    """A ``__post_init__`` of a frozen dataclass that finds Python's numbers and tuples where NumPy's and lists came."""

    @wraps(post_init)
    def checked(self: Any) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if (plain := _plain(value)) is not value:
                object.__setattr__(self, setting.name, plain)
        post_init(self)

    return checked


def _plain(value: Any) -> Any:
    """Python's number for NumPy's, and for lists of integers tuples, which have a hash."""
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if type(value) in (list, tuple):
        items = tuple(_plain(item) for item in value)
        return items if items and all(type(item) in (int, tuple) for item in items) else value
    return value
