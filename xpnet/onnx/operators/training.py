"""Losses and optimizers, which ONNX has as operators: xpnet's own on the node's arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xpnet.backend import Array, array_namespace
from xpnet.kernels.cross_entropy import one_hot
from xpnet.onnx.operators.call import Call, Operator, astype, error, like, moved_last, scalar
from xpnet.optimizers import AdaGrad, Adam, Momentum, optimizer_update


def _negative_log_likelihood(call: Call, log_p: Array, target: Array, weight: Array | None = None) -> Array:
    """-w[t] log p[t] at each place: their sum, their weighted mean, or all."""
    xp, ignored = array_namespace(log_p), call.get("ignore_index")
    rows, shape = moved_last(log_p), target.shape
    rows, flat = xp.reshape(rows, (-1, log_p.shape[1])), xp.reshape(astype(target, xp.int64), (-1,))
    counts = xp.ones_like(flat, dtype=log_p.dtype)
    if ignored is not None:
        counts = astype(flat != ignored, log_p.dtype)
        flat = xp.where(flat == ignored, xp.zeros_like(flat), flat)
    is_true = one_hot(flat, log_p.shape[1], log_p.dtype)
    if weight is not None:
        counts = counts * xp.sum(is_true * weight, axis=1)
    losses = -xp.sum(xp.where(is_true != 0, rows, xp.zeros_like(rows)), axis=1)
    losses = xp.where(counts == 0, xp.zeros_like(losses), losses) * counts
    how = call.get("reduction", "mean")
    if how == "none":
        return xp.reshape(losses, shape)
    return xp.sum(losses) / xp.sum(counts) if how == "mean" else xp.sum(losses)


def _cross_entropy(call: Call, scores: Array, target: Array, weight: Array | None = None) -> Any:
    """The negative log-likelihood of log softmax of the scores, and that logarithm where it is asked for."""
    xp = array_namespace(scores)
    shifted = scores - xp.max(scores, axis=1, keepdims=True)
    log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    loss = _negative_log_likelihood(call, log_p, target, weight)
    return (loss, log_p) if call.outputs > 1 else loss


def _adam(call: Call, rate: Array, steps: Array, *arrays: Array) -> tuple[Array, ...]:
    """``optimizers.Adam``, whose ε stands beside the corrected root: ONNX's divided by sqrt(1 - β^T).

    ONNX's count T of steps includes this one; at 0 it corrects nothing.
    """
    beta1, beta2, decay = call.get("alpha", 0.9), call.get("beta", 0.999), call.get("norm_coefficient", 0.0)
    done = max(scalar(steps), 1)
    root = math.sqrt(1 - beta2**done)
    alpha = scalar(rate) * ((1 - beta1) / root if scalar(steps) == 0 else 1)
    optimizer = Adam(alpha, decay, beta1, beta2, _above_zero(call.get("epsilon", 0.0)) / root)
    new = _step(optimizer, list(arrays), ("gradients", "squares"), done - 1)
    keep = 1 - call.get("norm_coefficient_post", 0.0)
    return tuple(x * keep if at < len(arrays) // 4 and keep != 1 else x for at, x in enumerate(new))


def _adagrad(call: Call, rate: Array, steps: Array, *arrays: Array) -> tuple[Array, ...]:
    """``optimizers.AdaGrad``."""
    decay, slower = call.get("norm_coefficient", 0.0), call.get("decay_factor", 0.0)
    optimizer = AdaGrad(scalar(rate), decay, slower, _above_zero(call.get("epsilon", 0.0)))
    return _step(optimizer, list(arrays), ("squares",), scalar(steps))


def _momentum(call: Call, rate: Array, steps: Array, *arrays: Array) -> tuple[Array, ...]:
    """``optimizers.Momentum``, whose velocity is -α times ONNX's.

    The share beta of the gradient, 1 in the first step, is not that of Nesterov's look ahead.
    """
    is_nesterov = call.get("mode") == "nesterov"
    alpha, decay = scalar(rate), call.get("norm_coefficient", 0.0)
    if alpha <= 0:
        raise error(f"expected a learning rate above 0, got {alpha}")
    beta = call.get("beta", 1.0) if scalar(steps) > 0 else 1.0
    form = "nesterov" if is_nesterov else "heavy-ball"
    optimizer = Momentum(alpha, call.get("alpha", 0.9), decay * beta, form)
    count = len(arrays) // 3
    tensors, momenta = [], []
    for x, g, v in zip(arrays[:count], arrays[count : 2 * count], arrays[2 * count :], strict=True):
        new, state = optimizer_update(optimizer, x, g * beta, {"velocity": -alpha * v})
        tensors.append(new - alpha * (1 - beta) * (g + decay * x) if is_nesterov else new)
        momenta.append(-state["velocity"] / alpha)
    return (*tensors, *momenta)


def _step(optimizer: Any, arrays: list[Array], names: tuple[str, ...], steps: float) -> tuple[Array, ...]:
    """One step of each tensor: all new tensors, then all of each state. ``arrays`` come in the same order."""
    count = len(arrays) // (len(names) + 2)
    theta, gradients, *states = (arrays[at : at + count] for at in range(0, len(arrays), count))
    results = []
    for at, x in enumerate(theta):
        state = {"steps": like(x, [steps]), **{name: states[i][at] for i, name in enumerate(names)}}
        new, state = optimizer_update(optimizer, x, gradients[at], state)
        results.append([new, *(state[name] for name in names)])
    return tuple(row[i] for i in range(len(names) + 1) for row in results)


def _above_zero(epsilon: float) -> float:
    return max(epsilon, 1e-38)


OPERATORS: Mapping[str, Operator] = {
    "NegativeLogLikelihoodLoss": _negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": _cross_entropy,
}
TRAINING: Mapping[str, Operator] = {"Adagrad": _adagrad, "Adam": _adam, "Momentum": _momentum}
