"""A learning rate for each parameter, from the size of its gradients."""

from __future__ import annotations

from dataclasses import dataclass

from xpnet.backend import Array
from xpnet.checks import check_at_least_zero
from xpnet.optimizers.base import (
    Factor,
    OptimizerState,
    add_decay,
    check_average,
    check_epsilon,
    check_rates,
    no_steps,
    sqrt,
    zeros,
)


@dataclass(frozen=True)
class AdaGrad:
    """A learning rate for each parameter, which falls with the sum of all its squared gradients.

        t = t + 1;  g = g + λ·θ;  s = s + g²;  θ = θ - α/(1 + (t - 1)·η)·g/(√s + ε)

    Raises InputError if a setting is out of range.
    Source: Duchi, Hazan and Singer, JMLR 12, 2011.

    Parameters
    ----------
    learning_rate, weight_decay, lr_decay, epsilon
        α, λ, η, and ε above 0.
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.0
    lr_decay: float = 0.0
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        check_rates(self)
        check_at_least_zero("AdaGrad", "lr_decay", self.lr_decay)
        check_epsilon(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: sums of 0."""
        return {"steps": no_steps(theta), "squares": zeros(theta)}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha = self.learning_rate * lr_scale / (1 + state["steps"] * self.lr_decay)
        gradient = add_decay(gradient, theta, self.weight_decay, decay_mask)
        squares = state["squares"] + gradient * gradient
        theta = theta - alpha * gradient / (sqrt(squares) + self.epsilon)
        return theta, {"steps": state["steps"] + 1, "squares": squares}


@dataclass(frozen=True)
class RMSProp:
    """A learning rate for each parameter, which falls with the recent size of its gradient.

        g = g + λ·θ;  s = ρ·s + (1 - ρ)·g²;  θ = θ - α·g/(√s + ε)

    Raises InputError if a setting is out of range.
    Source: Hinton, "Neural Networks for Machine Learning", lecture 6e, 2012.

    Parameters
    ----------
    learning_rate, weight_decay, rho, epsilon
        α, λ, ρ in [0, 1), by default PyTorch's (the source has 0.9), and ε above 0.
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.0
    rho: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_rates(self)
        check_average(self, "rho", example=0.99)
        check_epsilon(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: averages of 0."""
        return {"squares": zeros(theta)}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha, rho = self.learning_rate * lr_scale, self.rho
        gradient = add_decay(gradient, theta, self.weight_decay, decay_mask)
        squares = rho * state["squares"] + (1 - rho) * gradient * gradient
        return theta - alpha * gradient / (sqrt(squares) + self.epsilon), {"squares": squares}
