"""Batch normalisation of channels, the last axis of x, with a ReLU after it if asked for.

The formulas are those of ``xpnet.layers.BatchNorm``. What the gradients need is in ``saved``, whose "batch" has the
shape of x: here it is x̂.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from xpnet.backend import Array, array_namespace
from xpnet.kernels.rectifier import rectify, rectify_gradient
from xpnet.kernels.windows import channel_sum

Arrays = Mapping[str, Array]


def by_batch(
    x: Array, params: Arrays, state: Arrays, momentum: float, eps: float, *, relu: bool
) -> tuple[Array, Arrays, Arrays]:
    """Normalise x by its own mean and variance: the result, what the gradients need, and new running statistics."""
    count = math.prod(x.shape[:-1])
    mean = channel_sum(x) / count
    centred = x - mean
    variance = channel_sum(centred * centred) / count
    keep, take = 1 - momentum, momentum
    running = {
        "running_mean": keep * state["running_mean"] + take * mean,
        "running_var": keep * state["running_var"] + take * count / (count - 1) * variance,
    }
    return *_scaled(centred, variance, params, eps, relu), running


def by_running_statistics(x: Array, params: Arrays, state: Arrays, eps: float, *, relu: bool) -> tuple[Array, Arrays]:
    """Normalise x by the running mean and variance: the result, and what the gradients need."""
    return _scaled(x - state["running_mean"], state["running_var"], params, eps, relu)


def gradients(dy: Array, weight: Array, saved: Arrays, *, constant: bool, need_dx: bool) -> tuple[Array | None, Arrays]:
    """Gradients with respect to x (None unless needed) and the parameters; ``constant``: the statistics were given."""
    if "y" in saved:
        dy = rectify_gradient(dy, saved["y"] > 0)
    x_hat, count = saved["batch"], math.prod(dy.shape[:-1])
    grads = {"weight": channel_sum(dy * x_hat), "bias": channel_sum(dy)}
    if not need_dx:
        return None, grads
    if not constant:
        dy = dy - grads["bias"] / count - x_hat * (grads["weight"] / count)
    return dy * (weight * saved["inverse_std"]), grads


def _scaled(centred: Array, variance: Array, params: Arrays, eps: float, relu: bool) -> tuple[Array, Arrays]:
    xp = array_namespace(centred)
    inverse_std = 1 / xp.sqrt(variance + eps)
    x_hat = centred * inverse_std
    y, saved = x_hat * params["weight"] + params["bias"], {"batch": x_hat, "inverse_std": inverse_std}
    if not relu:
        return y, saved
    y = rectify(y)
    return y, {**saved, "y": y}
