"""Optimizers: formulas on the flat vector θ, with g its gradient, α the learning rate and λ the weight decay.

``init(theta)`` gives the state before any step, ``update(theta, gradient, state)`` θ and the state after one step.
States hold arrays only, the number of steps among them, so that a step can be compiled, captured and saved.

In the formulas, α is ``learning_rate * lr_scale`` and λ is ``weight_decay * decay_mask``. Both factors are arguments of
``update``: ``lr_scale`` is a number, or an array without axes in θ's dtype; ``decay_mask`` is 1, or a vector like θ
with 0 in place of what does not decay. All operations are element by element.

Steps are counted in θ's dtype. In float32 the count stands still from 2^24 (16.8 million) steps on: Adam's corrections
have long been 1 by then, and AdaGrad's ``lr_decay`` goes no further.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from array_api_compat import device

from xpnet.backend import Array, array_namespace
from xpnet.checks import check_above_zero, check_at_least_zero, pick
from xpnet.errors import InputError
from xpnet.kernels import table

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Momentum",
    "Optimizer",
    "RMSProp",
    "clip_by_global_norm",
]

OptimizerState = Mapping[str, Array]
Factor = Array | float
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
        _check_common(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: none."""
        return {}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha = self.learning_rate * lr_scale
        return theta - alpha * _with_decay(self, gradient, theta, decay_mask), state


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

    Parameters
    ----------
    learning_rate, momentum, weight_decay
        α, μ in [0, 1), and λ.
    form
        One of the three.

    Raises
    ------
    InputError
        If a setting is out of range.

    References
    ----------
    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964 (heavy ball); Sutskever et al.,
    ICML 2013 (Nesterov's form).
    """

    learning_rate: float
    momentum: float = 0.9
    weight_decay: float = 0.0
    form: Literal["moving-average", "heavy-ball", "nesterov"] = "moving-average"

    def __post_init__(self) -> None:
        _check_common(self)
        _check_share(
            self,
            "momentum",
            below="below 0 it brakes where it should push",
            above="from 1 on the velocity never fades and grows without bound",
            example=0.9,
        )
        pick("Momentum, form", dict.fromkeys(MOMENTUM_FORMS), self.form)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: a velocity of 0."""
        return {"velocity": _zeros(theta)}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        mu, alpha = self.momentum, self.learning_rate * lr_scale
        if self.form == "moving-average":
            velocity = mu * state["velocity"] + (1 - mu) * gradient
            return theta - alpha * _with_decay(self, velocity, theta, decay_mask), {"velocity": velocity}
        push = alpha * _with_decay(self, gradient, theta, decay_mask)
        velocity = mu * state["velocity"] - push
        step = mu * velocity - push if self.form == "nesterov" else velocity
        return theta + step, {"velocity": velocity}


@dataclass(frozen=True)
class AdaGrad:
    """A learning rate for each parameter, which falls with the sum of all its squared gradients.

        t = t + 1;  g = g + λ·θ;  s = s + g²;  θ = θ - α/(1 + (t - 1)·η)·g/(√s + ε)

    Parameters
    ----------
    learning_rate, weight_decay, lr_decay, epsilon
        α, λ, η, and ε above 0.

    Raises
    ------
    InputError
        If a setting is out of range.

    References
    ----------
    Duchi, Hazan and Singer, JMLR 12, 2011.
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.0
    lr_decay: float = 0.0
    epsilon: float = 1e-10

    def __post_init__(self) -> None:
        _check_common(self)
        check_at_least_zero("AdaGrad", "lr_decay", self.lr_decay)
        _check_epsilon(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: sums of 0."""
        return {"steps": _no_steps(theta), "squares": _zeros(theta)}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha = self.learning_rate * lr_scale / (1 + state["steps"] * self.lr_decay)
        gradient = _with_decay(self, gradient, theta, decay_mask)
        squares = state["squares"] + gradient * gradient
        theta = theta - alpha * gradient / (_root(squares) + self.epsilon)
        return theta, {"steps": state["steps"] + 1, "squares": squares}


@dataclass(frozen=True)
class RMSProp:
    """A learning rate for each parameter, which falls with the recent size of its gradient.

        g = g + λ·θ;  s = ρ·s + (1 - ρ)·g²;  θ = θ - α·g/(√s + ε)

    Parameters
    ----------
    learning_rate, weight_decay, rho, epsilon
        α, λ, ρ in [0, 1), by default PyTorch's (the source has 0.9), and ε above 0.

    Raises
    ------
    InputError
        If a setting is out of range.

    References
    ----------
    Hinton, "Neural Networks for Machine Learning", lecture 6e, 2012.
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.0
    rho: float = 0.99
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        _check_common(self)
        _check_average(self, "rho", example=0.99)
        _check_epsilon(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: averages of 0."""
        return {"squares": _zeros(theta)}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha, rho = self.learning_rate * lr_scale, self.rho
        gradient = _with_decay(self, gradient, theta, decay_mask)
        squares = rho * state["squares"] + (1 - rho) * gradient * gradient
        return theta - alpha * gradient / (_root(squares) + self.epsilon), {"squares": squares}


@dataclass(frozen=True)
class Adam:
    """Momentum, with a learning rate for each parameter that falls with the recent size of its gradient.

        t = t + 1;  g = g + λ·θ
        m = β1·m + (1 - β1)·g;  m̂ = m/(1 - β1^t)
        s = β2·s + (1 - β2)·g²;  ŝ = s/(1 - β2^t)
        θ = θ - α·m̂/(√ŝ + ε)

    The divisions by 1 - β^t make up for averages that begin at 0. Weight decay acts as an L2 term in the loss would;
    AdamW has it the other way.

    Parameters
    ----------
    learning_rate, weight_decay
        α and λ.
    beta1, beta2, epsilon
        β1 and β2 in [0, 1), and ε above 0.
    amsgrad
        Whether the largest s so far takes the place of s in ŝ, as in PyTorch (the paper leaves out this division).

    Raises
    ------
    InputError
        If a setting is out of range.

    References
    ----------
    Kingma and Ba, ICLR 2015; Reddi, Kale and Kumar, ICLR 2018 (amsgrad).

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
        _check_common(self)
        _check_average(self, "beta1", example=0.9)
        _check_average(self, "beta2", example=0.999)
        _check_epsilon(self)

    def init(self, theta: Array) -> OptimizerState:
        """The state before the first step: averages of 0."""
        averages = ("gradients", "squares", "largest_squares") if self.amsgrad else ("gradients", "squares")
        return {"steps": _no_steps(theta), **{name: _zeros(theta) for name in averages}}

    def update(
        self, theta: Array, gradient: Array, state: OptimizerState, *, lr_scale: Factor = 1.0, decay_mask: Factor = 1.0
    ) -> tuple[Array, OptimizerState]:
        """One step."""
        alpha = self.learning_rate * lr_scale
        push, state = self._push(alpha, _with_decay(self, gradient, theta, decay_mask), state)
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
        root = _root(_bias_correction(self.beta2, steps))
        rate = alpha * root / _bias_correction(self.beta1, steps)
        return rate * gradients / (_root(largest) + self.epsilon * root), {"steps": steps, **averages}


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam whose weight decay acts on θ itself, beside the step and not through the averages.

        θ = θ - α·(m̂/(√ŝ + ε) + λ·θ),  m̂ and ŝ as in Adam, from g alone

    The learning rate multiplies λ too, as in PyTorch, and the default weight decay is PyTorch's; in the paper only the
    schedule does.

    Parameters
    ----------
    learning_rate, weight_decay
        α and λ.
    beta1, beta2, epsilon, amsgrad
        As in Adam.

    Raises
    ------
    InputError
        If a setting is out of range.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2.
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


Optimizer = SGD | Momentum | AdaGrad | RMSProp | Adam | AdamW
"""Any of them."""

OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": SGD,
    "momentum": Momentum,
    "adagrad": AdaGrad,
    "rmsprop": RMSProp,
    "adam": Adam,
    "adamw": AdamW,
}
"""Their classes by name."""


def optimizer_update(
    optimizer: Optimizer,
    theta: Array,
    gradient: Array,
    state: OptimizerState,
    *,
    lr_scale: Factor = 1.0,
    decay_mask: Factor = 1.0,
) -> tuple[Array, OptimizerState]:
    """One step of an optimizer: its own ``update``, or a kernel with the same formula where there is one."""
    module, result = table.call("optimizer_update", theta, optimizer, gradient, state, lr_scale, decay_mask)
    if module:
        return result
    return optimizer.update(theta, gradient, state, lr_scale=lr_scale, decay_mask=decay_mask)


def clip_by_global_norm(gradient: Array, max_norm: float) -> Array:
    """The gradient, shortened to a length of ``max_norm`` where it is longer; the direction stays.

        g = g·min(1, max_norm/(‖g‖ + 10⁻⁶)),  ‖g‖ = c·‖g/c‖ with c = max(1, max |g|)

    With c no square overflows. Nothing is read back to the host. A gradient that is not finite stays so, and shows in
    the next loss.

    Raises InputError if the max_norm is not above 0.  Source: Pascanu, Mikolov and Bengio, ICML 2013; the 10⁻⁶ is from
    PyTorch.
    """
    check_clip_norm(max_norm)
    xp = array_namespace(gradient)
    largest = xp.max(xp.abs(gradient))
    one = xp.ones_like(largest)
    scale = xp.maximum(largest, one)
    scaled = gradient / scale
    norm = scale * xp.sqrt(xp.sum(scaled * scaled))
    return gradient * xp.minimum(one, max_norm / (norm + 1e-6))


def check_clip_norm(max_norm: float) -> None:
    """Raise InputError unless gradients can be shortened to this length."""
    check_above_zero("Clipping", "norm", max_norm, "Try 1.")


def _zeros(theta: Array) -> Array:
    return array_namespace(theta).zeros_like(theta)


def _no_steps(theta: Array) -> Array:
    return array_namespace(theta).zeros((1,), dtype=theta.dtype, device=device(theta))


def _with_decay(optimizer: Optimizer, x: Array, theta: Array, factor: Factor) -> Array:
    """Add λ·θ, where λ is the weight decay times a factor; without weight decay nothing, which saves two passes."""
    return x + optimizer.weight_decay * factor * theta if optimizer.weight_decay else x


def _root(x: Array) -> Array:
    return array_namespace(x).sqrt(x)


def _bias_correction(beta: float, steps: Array) -> Array:
    """1 - β^t, without the digits that the subtraction would lose in float32 while β^t is close to 1."""
    return -array_namespace(steps).expm1(steps * (math.log(beta) if beta else -math.inf))


def _check_common(optimizer: Optimizer) -> None:
    for name in ("learning_rate", "weight_decay"):
        check_at_least_zero(type(optimizer).__name__, name, getattr(optimizer, name))


def _check_epsilon(optimizer: AdaGrad | RMSProp | Adam) -> None:
    check_above_zero(
        type(optimizer).__name__,
        "epsilon",
        optimizer.epsilon,
        "At 0, a parameter without a gradient would move by 0/0. Try 1e-8.",
    )


def _check_average(optimizer: Optimizer, name: str, example: float) -> None:
    _check_share(
        optimizer,
        name,
        below="below 0 it would count past gradients with the wrong sign",
        above="at 1 or above new gradients would have no effect",
        example=example,
    )


def _check_share(optimizer: Optimizer, name: str, *, below: str, above: str, example: float) -> None:
    """The share of the past in an average or a velocity lies in [0, 1)."""
    value = getattr(optimizer, name)
    if not 0 <= value < 1:
        reason = "it is not a number" if math.isnan(value) else below if value < 0 else above
        raise InputError(
            f"{type(optimizer).__name__}: expected a {name} in [0, 1), got {value}: {reason}. Try {example}."
        )
