"""The learning-rate range test: which learning rates make the loss fall, and from which on it grows."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from xpnet.backend import to_numpy
from xpnet.datasets import Dataset
from xpnet.errors import InputError
from xpnet.network import Network
from xpnet.runtime import Runtime
from xpnet.schedules import Exponential
from xpnet.training.config import TrainConfig
from xpnet.training.trainer import Trainer

_MEMORY = 0.9  # of the smoothed loss
_HOPELESS = 4.0  # times the lowest smoothed loss, at which the test ends


class RangeTest(NamedTuple):
    """Learning rates, the loss of the batch that was trained on with each (NaN is ∞ here), and the smoothed loss."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]

    @property
    def rate_of_lowest_loss(self) -> float:
        """The learning rate at which the smoothed loss was lowest: the edge of what still works."""
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def exploded(self) -> bool:
        """Whether the smoothed loss has ended above 4 times its lowest, or infinite."""
        return math.isinf(self.smoothed[-1]) or self.smoothed[-1] > _HOPELESS * min(self.smoothed)

    @property
    def suggestion(self) -> float | None:
        """A tenth of the rate of the lowest loss, which leaves a margin for a whole run.

        None unless the loss exploded: a loss that no rate has made grow says nothing about which is too high.
        """
        return self.rate_of_lowest_loss / 10 if self.exploded else None


def range_test(
    network: Network,
    dataset: Dataset,
    config: TrainConfig,
    low: float,
    high: float,
    steps: int,
    runtime: Runtime | None = None,
) -> RangeTest:
    """Train a network for some steps while the learning rate grows from low to high, by the same factor in each step.

        α_t = low·(high/low)^(t/(steps - 1));  s_t = Σ_k 0.9^(t-k)·loss_k / Σ_k 0.9^(t-k)

    The configuration's own schedule is left out. The test ends early where the loss explodes: the smoothed loss s is
    above 4 times its lowest, or no longer finite.

    Raises InputError unless 0 < low < high and there are at least 2 steps, or if the first loss is not finite.
    Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3.
    """
    if not 0 < low < high < math.inf:
        raise InputError(f"Range test: expected rates with 0 < low < high, got {low:g} and {high:g}. Change them.")
    if steps < 2:
        raise InputError(f"Range test: expected at least 2 steps, got {steps}. Use more.")
    optimizer = dataclasses.replace(config.optimizer, learning_rate=low)
    config = dataclasses.replace(config, optimizer=optimizer, schedule=Exponential(steps - 1, high / low))
    trainer = Trainer(network, dataset, config, runtime)
    test = RangeTest([], [], [])
    total = weight = 0.0
    for step in range(steps):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite ends the test
            loss = float(to_numpy(trainer.step().loss))
        if not math.isfinite(loss):
            loss = math.inf
        total, weight = _MEMORY * total + loss, _MEMORY * weight + 1
        test.rates.append(low * (high / low) ** (step / (steps - 1)))
        test.losses.append(loss)
        test.smoothed.append(total / weight)
        if test.exploded:
            break
    if math.isinf(test.losses[0]):
        raise InputError("Range test: expected a finite loss at the start, got none. Check the initial weights.")
    return test
