"""What the optimizers share: types, zero states, weight decay, and the checks of their settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.checks import check_above_zero, check_at_least_zero
from xpnet.errors import InputError

OptimizerState = Mapping[str, Array]
Factor = Array | float


def zeros(theta: Array) -> Array:
    """A vector of 0 like θ."""
    return array_namespace(theta).zeros_like(theta)


def no_steps(theta: Array) -> Array:
    """A count of steps, at first 0: an array of one element in θ's dtype."""
    return array_namespace(theta).zeros((1,), dtype=theta.dtype, device=device(theta))


def add_decay(x: Array, theta: Array, weight_decay: float, decay_mask: Factor) -> Array:
    """Add λ·θ, where λ is the weight decay times its mask; without weight decay nothing, which saves two passes."""
    return x + weight_decay * decay_mask * theta if weight_decay else x


def sqrt(x: Array) -> Array:
    """√x, element by element."""
    return array_namespace(x).sqrt(x)


def check_rates(optimizer: Any) -> None:
    """Raise InputError unless learning rate and weight decay are finite and at least 0."""
    for name in ("learning_rate", "weight_decay"):
        check_at_least_zero(type(optimizer).__name__, name, getattr(optimizer, name))


def check_epsilon(optimizer: Any) -> None:
    """Raise InputError unless ε is above 0."""
    check_above_zero(
        type(optimizer).__name__,
        "epsilon",
        optimizer.epsilon,
        "At 0, a parameter without a gradient would move by 0/0. Try 1e-8.",
    )


def check_average(optimizer: Any, name: str, example: float) -> None:
    """Raise InputError unless the past's share in a running average lies in [0, 1)."""
    check_share(
        optimizer,
        name,
        below="below 0 it would count past gradients with the wrong sign",
        above="at 1 or above new gradients would have no effect",
        example=example,
    )


def check_share(optimizer: Any, name: str, *, below: str, above: str, example: float) -> None:
    """Raise InputError, with the reason, unless the past's share in an average or a velocity lies in [0, 1)."""
    value = getattr(optimizer, name)
    if not 0 <= value < 1:
        reason = "it is not a number" if math.isnan(value) else below if value < 0 else above
        raise InputError(
            f"{type(optimizer).__name__}: expected a {name} in [0, 1), got {value}: {reason}. Try {example}."
        )
