"""The learning-rate range test: which learning rates make the loss fall, and from which on it grows."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np

from xpnet.backend import to_numpy
from xpnet.datasets import Dataset
from xpnet.errors import InputError
from xpnet.training.config import TrainConfig
from xpnet.training.trainer import Trainer

_MEMORY = 0.9  # of the smoothed loss
_HOPELESS = 4.0  # times the lowest smoothed loss, at which the test ends


class RangeTest(NamedTuple):
    """Learning rates, the loss of the batch that was trained on with each, and the smoothed loss."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]

    @property
    def rate_of_lowest_loss(self) -> float:
        """The learning rate at which the smoothed loss was lowest: the edge of what still works."""
        return self.rates[int(np.argmin(self.smoothed))]

    @property
    def suggestion(self) -> float:
        """A tenth of the rate of the lowest loss, which leaves a margin for a whole run."""
        return self.rate_of_lowest_loss / 10


def range_test(config: TrainConfig, dataset: Dataset, low: float, high: float, steps: int) -> RangeTest:
    """Train for some steps while the learning rate grows from low to high, by the same factor in each step.

        α_t = low·(high/low)^(t/(steps - 1));  s_t = Σ_k 0.9^(t-k)·loss_k / Σ_k 0.9^(t-k)

    It ends early where the smoothed loss s is 4 times its lowest, or the loss is no longer finite.

    Raises InputError unless 0 < low < high and there are at least 2 steps, or if the first loss is not finite.
    Source: Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3.
    """
    if not 0 < low < high < math.inf:
        raise InputError(f"Range test: expected rates with 0 < low < high, got {low:g} and {high:g}. Change them.")
    if steps < 2:
        raise InputError(f"Range test: expected at least 2 steps, got {steps}. Use more.")
    growth = {"schedule": "exponential", "schedule_every": steps - 1, "schedule_gamma": high / low}
    trainer = Trainer(dataclasses.replace(config, learning_rate=low, **growth), dataset)
    test = RangeTest([], [], [])
    total = weight = 0.0
    for step in range(steps):
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite ends the test
            loss = float(to_numpy(trainer.step().loss))
        if not math.isfinite(loss):
            break
        total, weight = _MEMORY * total + loss, _MEMORY * weight + 1
        test.rates.append(low * (high / low) ** (step / (steps - 1)))
        test.losses.append(loss)
        test.smoothed.append(total / weight)
        if test.smoothed[-1] > _HOPELESS * min(test.smoothed):
            break
    if not test.losses:
        raise InputError("Range test: expected a finite loss at the start, got none. Check the initial weights.")
    return test
