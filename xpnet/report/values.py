"""Values from files that anybody may have written: each is what it should be, and of bounded size, or an error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_LARGEST_COUNT = 1 << 40  # the sum of a million of them is still an int64
_LARGEST_NUMBER = 1e100  # beyond it the axes of a plot overflow
_LONGEST_TEXT = 200  # characters
_MOST_TEXTS = 50


def as_count(value: Any) -> int:
    """An integer of at least 0. Raises ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_COUNT:
        raise ValueError("a count is not an integer from 0 to 2^40")
    return value


def as_number(value: Any) -> float:
    """A finite number. Raises ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_NUMBER:
        raise ValueError("a number is not finite")
    return float(value)


def as_share(value: Any) -> float:
    """A number from 0 to 1, or NaN for None, by which JSON says that it is undefined. Raises ValueError otherwise."""
    share = math.nan if value is None else as_number(value)
    if share < 0 or share > 1:
        raise ValueError("a share is not from 0 to 1")
    return share


def as_text(value: Any) -> str:
    """A text, shortened to what fits a cell of a table."""
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def as_texts(values: Any) -> dict[str, str]:
    """Texts by name. Raises ValueError for anything else."""
    if not isinstance(values, Mapping) or len(values) > _MOST_TEXTS:
        raise ValueError(f"not a table of at most {_MOST_TEXTS} names")
    return {as_text(name): as_text(value) for name, value in values.items()}
