"""Adam and AdamW: momentum and a learning rate for each parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xpnet.backend import Array, array_namespace
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
class Adam:
    """Momentum, with a learning rate for each parameter that falls with the recent size of its gradient.

        t = t + 1;  g = g + λ·θ
        m = β1·m + (1 - β1)·g;  m̂ = m/(1 - β1^t)
        s = β2·s + (1 - β2)·g²;  ŝ = s/(1 - β2^t)
        θ = θ - α·m̂/(√ŝ + ε)

    The divisions by 1 - β^t make up for averages that begin at 0. Weight decay acts as an L2 term in the loss would;
    AdamW has it the other way.

    Raises InputError if a setting is out of range.
    Source: Kingma and Ba, ICLR 2015; Reddi, Kale and Kumar, ICLR 2018 (amsgrad).

    Parameters
    ----------
    learning_rate, weight_decay
        α and λ.
    beta1, beta2, epsilon
        β1 and β2 in [0, 1), and ε above 0.
    amsgrad
        Whether the largest s so far takes the place of s in ŝ, as in PyTorch (the paper leaves out this division).

    Examples
    --------
    >>> import numpy as np
    >>> adam = Adam(learning_rate=0.1)
    >>> theta = np.array([1.0, -2.0])
    >>> theta, state = adam.update(theta, theta, adam.init(theta))
    >>> theta.round(3)
    array([ 0.9, -1.9])
    """

    learning_rate: float = 0.001
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    amsgrad: bool = False

    def __post_init__(self) -> None:
        check_rates(self)
        check_average(self, "beta1", example=0.9)
        check_average(self, "beta2", example=0.999)
        check_epsilon(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: averages of 0."""
        averages = ("gradients", "squares", "largest_squares") if self.amsgrad else ("gradients", "squares")
        return {"steps": no_steps(theta), **{name: zeros(theta) for name in averages}}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha = self.learning_rate * lr_scale
        push, state = self._push(alpha, add_decay(gradient, theta, self.weight_decay, decay_mask), state)
        return theta - push, state

    def _push(self, alpha: Factor, gradient: Array, state: OptimizerState) -> tuple[Array, OptimizerState]:
        """α·m̂/(√ŝ + ε) and the next state.

        Written as α·√c2/c1·m/(√s + ε·√c2) with c = 1 - β^t, which divides no whole vector by c (the paper, end of
        section 2).
        """
        steps = state["steps"] + 1
        gradients = self.beta1 * state["gradients"] + (1 - self.beta1) * gradient
        squares = largest = self.beta2 * state["squares"] + (1 - self.beta2) * gradient * gradient
        averages = {"gradients": gradients, "squares": squares}
        if self.amsgrad:
            largest = array_namespace(gradient).maximum(state["largest_squares"], squares)
            averages["largest_squares"] = largest
        root = sqrt(_bias_correction(self.beta2, steps))
        rate = alpha * root / _bias_correction(self.beta1, steps)
        return rate * gradients / (sqrt(largest) + self.epsilon * root), {"steps": steps, **averages}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weight decay acts on θ itself, beside the step and not through the averages.

        θ = θ - α·(m̂/(√ŝ + ε) + λ·θ),  m̂ and ŝ as in Adam, from g alone

    The learning rate multiplies λ too, as in PyTorch, and the default weight decay is PyTorch's; in the paper only the
    schedule does.

    Raises InputError if a setting is out of range.
    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.

    Parameters
    ----------
    learning_rate, weight_decay
        α and λ.
    beta1, beta2, epsilon, amsgrad
        As in Adam.
    """

    weight_decay: float = 0.01

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha = self.learning_rate * lr_scale
        push, state = self._push(alpha, gradient, state)
        if self.weight_decay:  # times α at last, which is then rounded to θ's dtype first, be it a number or an array
            push = push + alpha * (self.weight_decay * decay_mask * theta)
        return theta - push, state


def _bias_correction(beta: float, steps: Array) -> Array:
    """1 - β^t, without the digits that the subtraction would lose in float32 while β^t is close to 1."""
    return -array_namespace(steps).expm1(steps * (math.log(beta) if beta else -math.inf))
