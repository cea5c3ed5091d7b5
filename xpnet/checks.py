"""Checks of settings: numbers (the whole ones are in ``shapes``), names of what there is to choose, libraries."""

from __future__ import annotations

import difflib
import importlib
import math
import numbers
from collections.abc import Mapping
from typing import Any, TypeVar

from xpnet.errors import InputError, short

T = TypeVar("T")
_EVIDENT = 2  # of so few names none is called the nearest: float64 is not what float16 was meant to be
_MOST_LISTED = 40  # more names than that hide the rest of a message


def check_at_least_zero(where: str, name: str, value: float) -> None:
    """Raise InputError unless the value is finite and at least 0."""
    if not (is_finite(value) and value >= 0):
        raise InputError(f"{where}: expected a finite {name} of at least 0, got {short(value)}. Change {name}.")


def check_above_zero(where: str, name: str, value: float, advice: str) -> None:
    """Raise InputError with the advice unless the value is finite and above 0."""
    if not (is_finite(value) and value > 0):
        raise InputError(f"{where}: expected a finite {name} above 0, got {short(value)}. {advice}")


def check_bool(where: str, name: str, value: Any) -> None:
    """Raise InputError unless the value is True or False: 1 and "yes" are not."""
    if not isinstance(value, bool):
        raise InputError(f"{where}: expected {name} to be True or False, got {short(value)}. Change {name}.")


def check_kind(where: str, name: str, value: Any, kind: type, example: str) -> None:
    """Raise InputError unless the value is an instance of a class, of which the example makes one."""
    if not isinstance(value, kind):
        raise InputError(
            f"{where}: expected {name} to be an instance of {kind.__name__}, got {short(value)}. Pass {example}."
        )


def is_finite(value: Any) -> bool:
    """Whether the value is a real number, neither infinite nor NaN, and not a bool, which Python counts as one."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def import_library(module: str, message: str) -> Any:
    """A library that is an extra. Raises InputError with the message if it is missing, or saying what is broken."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise InputError(message) from error
        raise InputError(f"{module}: is installed but lacks {error.name}. Install that, or reinstall it.") from error
    except ImportError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InputError(f"{module}: is installed but cannot be loaded ({reason}). Reinstall it.") from error


def pick(where: str, choices: Mapping[str, T], name: str) -> T:
    """What goes by a name. Raises InputError, with the nearest name, if nothing does."""
    if not isinstance(name, str) or name not in choices:
        is_long = len(choices) > _EVIDENT
        nearest = difflib.get_close_matches(str(name), choices, n=1) if is_long else None
        advice = f"Did you mean {nearest[0]!r}?" if nearest else "Choose one of these."
        listed = list(choices)
        if len(listed) > _MOST_LISTED:
            listed[2:-1] = ["..."]
        raise InputError(f"{where}: expected one of {', '.join(listed)}, got {short(name)}. {advice}")
    return choices[name]
