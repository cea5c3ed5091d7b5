"""Optimizers as one CUDA kernel each, for CuPy arrays of float32; the sources are in ``cuda/optimizers.cu``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import cupy
import numpy as np

from xpnet.backend import Array
from xpnet.kernels.cuda_kernels import NO_ADDRESS, empty, floats, integers, over_elements, reads
from xpnet.optimizers import Adam, AdamW, Momentum
from xpnet.optimizers.base import Factor

Arrays = Mapping[str, Array]


def serves(operation: str, theta: Array, optimizer: Any, gradient: Array, state: Arrays, *factors: Factor) -> bool:
    """Whether the kernels can read the arrays, and know the optimizer."""
    arrays = [factor for factor in factors if not isinstance(factor, int | float)]
    known = type(optimizer) is Momentum or (type(optimizer) in (Adam, AdamW) and not optimizer.amsgrad)
    return known and reads(theta, gradient, *state.values(), *arrays)


def optimizer_update(
    theta: Array, optimizer: Any, gradient: Array, state: Arrays, lr_scale: Factor, decay_mask: Factor
) -> tuple[Array, Arrays]:
    """One step by the kernel that has the optimizer's formula."""
    step: Callable[..., tuple[Array, Arrays]] = _momentum if type(optimizer) is Momentum else _adam
    return step(optimizer, theta, gradient, state, lr_scale=lr_scale, decay_mask=decay_mask)


def _momentum(
    optimizer: Momentum, theta: Array, gradient: Array, state: Arrays, *, lr_scale: Factor, decay_mask: Factor
) -> tuple[Array, Arrays]:
    new_theta, velocity = empty(2, theta.shape)
    arrays = (theta, gradient, state["velocity"], new_theta, velocity)
    rates, mu = _rates(optimizer, lr_scale, decay_mask), optimizer.momentum
    if optimizer.form == "moving-average":
        over_elements("optimizers/moving_average", theta.size, *arrays, *rates, *floats(mu, 1 - mu))
    else:
        numbers = (*floats(mu), *integers(optimizer.form == "nesterov"))
        over_elements("optimizers/heavy_ball", theta.size, *arrays, *rates, *numbers)
    return new_theta, {"velocity": velocity}


def _adam(
    optimizer: Adam, theta: Array, gradient: Array, state: Arrays, *, lr_scale: Factor, decay_mask: Factor
) -> tuple[Array, Arrays]:
    new_theta, gradients, squares = empty(3, theta.shape)
    new = {"steps": cupy.empty_like(state["steps"]), "gradients": gradients, "squares": squares}
    old = (state["gradients"], state["squares"], state["steps"])
    rates, decoupled = _rates(optimizer, lr_scale, decay_mask), isinstance(optimizer, AdamW)
    over_elements(
        "optimizers/adam",
        theta.size,
        *(theta, gradient, *old, new_theta, gradients, squares, new["steps"]),
        *(*rates, *_average(optimizer.beta1), *_average(optimizer.beta2)),
        *(*floats(optimizer.epsilon), *integers(decoupled)),
    )
    return new_theta, new


def _rates(optimizer: Momentum | Adam, lr_scale: Factor, decay_mask: Factor) -> tuple[Any, ...]:
    """Learning rate and weight decay, each as a number and the address of its factor on the device."""
    return *_times(optimizer.learning_rate, lr_scale), *_times(optimizer.weight_decay, decay_mask)


def _times(number: float, factor: Factor) -> tuple[Any, Any]:
    if isinstance(factor, int | float):
        return np.float32(number * factor), NO_ADDRESS
    return np.float32(number), factor


def _average(beta: float) -> tuple[np.float32, ...]:
    return floats(beta, 1 - beta, math.log(beta) if beta else -math.inf)
