"""Optimizers: formulas on the flat vector θ, with g its gradient, α the learning rate and λ the weight decay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from array_api_compat import array_namespace

from xpnet.backend import Array
from xpnet.errors import InputError

OptimizerState = Mapping[str, Array]
MOMENTUM_FORMS = ("moving-average", "heavy-ball")


@dataclass(frozen=True)
class GradientDescent:
    """Steepest descent with weight decay.

        θ = θ - α·(g + λ·θ)

    Raises InputError if the learning rate or weight decay is negative or not finite.
    """

    learning_rate: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check_common(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: none."""
        return {}

    def update(self, theta: Array, gradient: Array, state: OptimizerState) -> tuple[Array, OptimizerState]:
        """One step."""
        return theta - self.learning_rate * (gradient + self.weight_decay * theta), state


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with a memory of earlier gradients, in both published forms.

        moving-average:  m = μ·m + (1 - μ)·g;  θ = θ - α·(m + λ·θ)
        heavy-ball:      v = μ·v - α·(g + λ·θ);  θ = θ + v

    The moving average keeps the step's size at that of one gradient; a heavy ball's grows to 1/(1 - μ) times that, so
    for equal pace its learning rate is (1 - μ) times the other's. Weight decay acts beside the average in the first
    form and through the velocity in the second, as an L2 term in the loss would.

    Raises InputError if a setting is out of range.  Source: Polyak, "Some methods of speeding up the convergence of
    iteration methods", 1964 (heavy ball); Sutskever et al., ICML 2013.
    """

    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    form: Literal["moving-average", "heavy-ball"] = field(default="moving-average")

    def __post_init__(self) -> None:
        _check_common(self)
        if not 0 <= self.momentum < 1:
            reason = (
                "below 0 it brakes where it should push"
                if self.momentum < 0
                else "from 1 on the velocity never fades and grows without bound"
            )
            raise InputError(f"Momentum: expected a momentum in [0, 1), got {self.momentum}: {reason}. Try 0.9.")
        if self.form not in MOMENTUM_FORMS:
            raise InputError(
                f"Momentum: expected a form of {' or '.join(MOMENTUM_FORMS)}, got {self.form!r}. Choose one."
            )

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: a velocity of 0."""
        return {"velocity": array_namespace(theta).zeros_like(theta)}

    def update(self, theta: Array, gradient: Array, state: OptimizerState) -> tuple[Array, OptimizerState]:
        """One step."""
        mu, alpha, decay = self.momentum, self.learning_rate, self.weight_decay
        if self.form == "moving-average":
            velocity = mu * state["velocity"] + (1 - mu) * gradient
            theta = theta - alpha * (velocity + decay * theta)
        else:
            velocity = mu * state["velocity"] - alpha * (gradient + decay * theta)
            theta = theta + velocity
        return theta, {"velocity": velocity}


Optimizer = GradientDescent | Momentum


def _check_common(optimizer: Optimizer) -> None:
    for name in ("learning_rate", "weight_decay"):
        value = getattr(optimizer, name)
        if not (math.isfinite(value) and value >= 0):
            raise InputError(
                f"{type(optimizer).__name__}: expected a finite {name} of at least 0, got {value}. Change {name}."
            )
