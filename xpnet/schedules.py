"""Schedules: by what factor of the base learning rate each step goes, the steps counted from 0.

A schedule is a pure function of the step, so that a run can be continued at any of them. ``ReduceOnPlateau`` goes by
validation accuracies instead, and has a state that holds what it needs to know of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from xpnet.checks import check_above_zero
from xpnet.errors import InputError
from xpnet.shapes import check_positive


class Schedule(Protocol):
    """What gives a factor for each step."""

    def factor(self, step: int) -> float:
        """What the base learning rate is multiplied by in this step."""
        ...


@dataclass(frozen=True)
class Constant:
    """The base learning rate throughout: 1."""

    def factor(self, step: int) -> float:
        """1 in every step."""
        return 1.0


@dataclass(frozen=True)
class Step:
    """Stairs: γ^floor(t/every).

    Raises InputError if a setting is out of range.
    """

    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_positive("Step", "every", self.every)
        check_above_zero("Step", "gamma", self.gamma, "Try 0.1.")

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return _power(self.gamma, step // self.every)


@dataclass(frozen=True)
class Exponential:
    """The curve through the stairs' edges: γ^(t/every).

    Raises InputError if a setting is out of range.
    """

    every: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_positive("Exponential", "every", self.every)
        check_above_zero("Exponential", "gamma", self.gamma, "Try 0.1.")

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return _power(self.gamma, step / self.every)


@dataclass(frozen=True)
class InverseTime:
    """1/t: 1/(1 + t/every), so half after ``every`` steps and a third after twice as many.

    Raises InputError if ``every`` is not a whole number of at least 1.  Source: Robbins and Monro, "A stochastic
    approximation method", 1951.
    """

    every: int

    def __post_init__(self) -> None:
        check_positive("InverseTime", "every", self.every)

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return 1 / (1 + step / self.every)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine wave from 1 to a minimum, where it stays: min + (1 - min)·(1 + cos(π·t/steps))/2.

    Raises InputError if a setting is out of range.  Source: Loshchilov and Hutter, "SGDR", ICLR 2017, without
    its restarts.
    """

    steps: int
    minimum: float = 0.0

    def __post_init__(self) -> None:
        check_positive("Cosine", "steps", self.steps)
        if not 0 <= self.minimum <= 1:
            raise InputError(
                f"Cosine: expected a minimum from 0 to 1, as a share of the base learning rate, got {self.minimum}. "
                "Try 0."
            )

    def factor(self, step: int) -> float:
        """The factor of a step."""
        wave = (1 + math.cos(math.pi * min(step / self.steps, 1))) / 2
        return self.minimum + (1 - self.minimum) * wave


@dataclass(frozen=True)
class Warmup:
    """A straight rise, (t + 1)/(steps + 1) for t < steps, and after it another schedule from its step 0.

    Raises InputError if ``steps`` is not a whole number of at least 1.  Source: Goyal et al., "Accurate, large
    minibatch SGD", arXiv:1706.02677, section 2.2.
    """

    steps: int
    then: Schedule

    def __post_init__(self) -> None:
        check_positive("Warmup", "steps", self.steps)

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return (step + 1) / (self.steps + 1) if step < self.steps else self.then.factor(step - self.steps)


class PlateauState(NamedTuple):
    """The best accuracy so far, reports since then or since the last reduction, and the factor in effect."""

    best: float = -math.inf
    reports: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class ReduceOnPlateau:
    """The learning rate times γ whenever ``patience`` reports in a row have shown no better validation accuracy.

    PyTorch's class of this name waits for one report more.

    Raises InputError if a setting is out of range.
    """

    patience: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_positive("ReduceOnPlateau", "patience", self.patience)
        if not 0 < self.gamma < 1:
            raise InputError(f"ReduceOnPlateau: expected a gamma between 0 and 1, got {self.gamma}. Try 0.1.")

    def update(self, state: PlateauState, accuracy: float) -> PlateauState:
        """The state after a report."""
        if accuracy > state.best:
            return state._replace(best=accuracy, reports=0)
        if state.reports + 1 < self.patience:
            return state._replace(reports=state.reports + 1)
        return state._replace(reports=0, factor=state.factor * self.gamma)


def _power(gamma: float, exponent: float) -> float:
    """γ^exponent; infinity where floats end, so that a γ above 1 ends as training that diverged."""
    try:
        return gamma**exponent
    except OverflowError:
        return math.inf


SCHEDULES: Mapping[str, type] = {
    "constant": Constant,
    "step": Step,
    "exponential": Exponential,
    "inverse-time": InverseTime,
    "cosine": Cosine,
    "plateau": ReduceOnPlateau,
}
