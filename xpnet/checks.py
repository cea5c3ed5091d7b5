"""Checks of numbers that are settings; the whole ones are in ``shapes``."""

from __future__ import annotations

import math

from xpnet.errors import InputError


def check_at_least_zero(where: str, name: str, value: float) -> None:
    """Raise InputError unless the value is finite and at least 0."""
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"{where}: expected a finite {name} of at least 0, got {value}. Change {name}.")


def check_above_zero(where: str, name: str, value: float, advice: str) -> None:
    """Raise InputError with the advice unless the value is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{where}: expected a finite {name} above 0, got {value}. {advice}")
