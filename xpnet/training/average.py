"""A moving average of the weights: kept beside them, and what the network is given at each record and at the end.

    v̄ = v̄ + s (v - v̄),  s = max(1 - d, 1/t)

after step t = 1, 2, ... for θ and for the layers' state, so that batch normalisation has statistics of the same past.
While 1/t is larger than 1 - d this is the mean of all values so far, in which initial weights have no part; from then
on the exponential average d v̄ + (1 - d) v. Training itself goes on with v.

Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", SIAM Journal on Control and
Optimization 30(4), 1992; as teacher: Tarvainen and Valpola, "Mean teachers are better role models", NIPS 2017, section
2; the mean at the beginning is from their code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpnet import kernels
from xpnet.backend import Array
from xpnet.layers.base import State


def share_of_newest(decay: float, step: int) -> float:
    """The share s of the newest values after a step, counted from 0."""
    return max(1 - decay, 1 / (step + 1))


def moved(average: Mapping[str, Any], theta: Array, state: State, share: Array | float) -> dict[str, Any]:
    """The average, {"theta": ..., "state": ...}, after a step with these new values."""
    return _moved(average, {"theta": theta, "state": state}, share)


def _moved(average: Mapping[str, Any], values: Mapping[str, Any], share: Array | float) -> dict[str, Any]:
    return {
        name: _moved(mean, values[name], share) if isinstance(mean, Mapping) else _mean(mean, values[name], share)
        for name, mean in average.items()
    }


def _mean(mean: Array, value: Array, share: Array | float) -> Array:
    return mean if value is mean else kernels.lerp(mean, value, share)  # statistics of inputs never change
