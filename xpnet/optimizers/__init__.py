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

from collections.abc import Mapping

from xpnet.backend import Array
from xpnet.kernels import table
from xpnet.optimizers.adam import Adam, AdamW
from xpnet.optimizers.adaptive import AdaGrad, RMSProp
from xpnet.optimizers.base import Factor, OptimizerState
from xpnet.optimizers.clipping import clip_by_global_norm
from xpnet.optimizers.gradient_descent import SGD, Momentum

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
