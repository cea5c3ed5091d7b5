"""Steepest descent, with and without a memory of earlier gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xpnet.backend import Array
from xpnet.checks import pick
from xpnet.optimizers.base import Factor, OptimizerState, add_decay, check_rates, check_share, zeros

MOMENTUM_FORMS = ("moving-average", "heavy-ball", "nesterov")


@dataclass(frozen=True)
class SGD:
    """Steepest descent with weight decay.

        θ = θ - α·(g + λ·θ)

    Raises InputError if the learning rate or weight decay is negative or not finite.
    """

    learning_rate: float
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check_rates(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: none."""
        return {}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha = self.learning_rate * lr_scale
        return theta - alpha * add_decay(gradient, theta, self.weight_decay, decay_mask), state


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with a memory of earlier gradients, in three published forms.

        moving-average:  m = μ·m + (1 - μ)·g;  θ = θ - α·(m + λ·θ)
        heavy-ball:      v = μ·v - α·(g + λ·θ);  θ = θ + v
        nesterov:        v = μ·v - α·(g + λ·θ);  θ = θ + μ·v - α·(g + λ·θ)

    The moving average keeps the step's size at that of one gradient; a heavy ball's grows to 1/(1 - μ) times that, so
    for equal pace its learning rate is (1 - μ) times the other's. Weight decay acts beside the average in the first
    form and through the velocity in the others, as an L2 term in the loss would. Nesterov's form adds μ·v as well, the
    way that the ball will roll next. The last two equal PyTorch's SGD at a constant learning rate; PyTorch keeps α out
    of the velocity, so that a change of α acts on past gradients as well.

    Raises InputError if a setting is out of range.
    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964 (heavy ball); Sutskever et
    al., ICML 2013 (Nesterov's form).

    Parameters
    ----------
    learning_rate, momentum, weight_decay
        α, μ in [0, 1), and λ.
    form
        One of the three.
    """

    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    form: Literal["moving-average", "heavy-ball", "nesterov"] = "moving-average"

    def __post_init__(self) -> None:
        check_rates(self)
        check_share(
            self,
            "momentum",
            below="below 0 it brakes where it should push",
            above="from 1 on the velocity never fades and grows without bound",
            example=0.9,
        )
        pick("Momentum, form", dict.fromkeys(MOMENTUM_FORMS), self.form)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: a velocity of 0."""
        return {"velocity": zeros(theta)}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        mu, alpha = self.momentum, self.learning_rate * lr_scale
        if self.form == "moving-average":
            velocity = mu * state["velocity"] + (1 - mu) * gradient
            return theta - alpha * add_decay(velocity, theta, self.weight_decay, decay_mask), {"velocity": velocity}
        push = alpha * add_decay(gradient, theta, self.weight_decay, decay_mask)
        velocity = mu * state["velocity"] - push
        step = mu * velocity - push if self.form == "nesterov" else velocity
        return theta + step, {"velocity": velocity}
