"""Schedules: by what factor of the base learning rate each step goes, the steps counted from 0.

A schedule is a pure function of the step, so that a run can be continued at any of them. ``ReduceOnPlateau`` goes by
validation scores instead, and has a state that holds what it needs to know of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

from xpnet.checks import check_above_zero
from xpnet.errors import InputError
from xpnet.shapes import check_positive

__all__ = [
    "SCHEDULES",
    "Constant",
    "Cosine",
    "Exponential",
    "InverseTime",
    "PlateauState",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "Warmup",
]


@runtime_checkable
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
    r"""Stairs.

    Parameters
    ----------
    every, gamma
        Steps of one stair, and γ.

    Raises
    ------
    InputError
        If a setting is out of range.

    Notes
    -----
    .. math:: \mathrm{factor}(t) = \gamma^{\lfloor t / \mathrm{every} \rfloor}
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
    r"""The curve through the edges of the stairs of ``Step``, whose settings and errors it has.

    Notes
    -----
    .. math:: \mathrm{factor}(t) = \gamma^{t / \mathrm{every}}
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
    r"""1/t: half after ``every`` steps and a third after twice as many.

    Raises
    ------
    InputError
        If ``every`` is not an integer of at least 1.

    Notes
    -----
    .. math:: \mathrm{factor}(t) = \frac{1}{1 + t / \mathrm{every}}

    References
    ----------
    Robbins and Monro, "A stochastic approximation method", 1951.
    """

    every: int

    def __post_init__(self) -> None:
        check_positive("InverseTime", "every", self.every)

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return 1 / (1 + step / self.every)


@dataclass(frozen=True)
class Cosine:
    r"""Half a cosine wave from 1 to a minimum, where it stays.

    Parameters
    ----------
    steps
        Length of the wave; None: that of the run.
    minimum
        From 0 to 1.

    Raises
    ------
    InputError
        If a setting is out of range.

    Notes
    -----
    .. math::

        \mathrm{factor}(t) = \mathrm{minimum} + (1 - \mathrm{minimum}) \, \frac{1 + \cos(\pi t / \mathrm{steps})}{2}

    References
    ----------
    Loshchilov and Hutter, "SGDR", ICLR 2017, without its restarts.
    """

    steps: int | None = None
    minimum: float = 0.0

    def __post_init__(self) -> None:
        if self.steps is not None:
            check_positive("Cosine", "steps", self.steps)
        if not 0 <= self.minimum <= 1:
            raise InputError(
                f"Cosine: expected a minimum from 0 to 1, as a share of the base learning rate, got {self.minimum}. "
                "Try 0."
            )

    def factor(self, step: int) -> float:
        """The factor of a step."""
        if self.steps is None:
            raise InputError("Cosine: expected its number of steps, got None. Pass steps, or train with it.")
        wave = (1 + math.cos(math.pi * min(step / self.steps, 1))) / 2
        return self.minimum + (1 - self.minimum) * wave


@dataclass(frozen=True)
class Warmup:
    r"""A straight rise for some ``steps``, and after it another schedule, ``then``, from its step 0.

    Raises
    ------
    InputError
        If ``steps`` is not an integer of at least 1.

    Notes
    -----
    .. math:: \mathrm{factor}(t) = \frac{t + 1}{\mathrm{steps} + 1} \quad \text{for } t < \mathrm{steps}

    References
    ----------
    Goyal et al., "Accurate, large minibatch SGD", arXiv:1706.02677, section 2.2.

    Examples
    --------
    >>> schedule = Warmup(3, then=Cosine(steps=4))
    >>> [round(schedule.factor(step), 2) for step in range(7)]
    [0.25, 0.5, 0.75, 1.0, 0.85, 0.5, 0.15]
    """

    steps: int
    then: Schedule = Constant()

    def __post_init__(self) -> None:
        check_positive("Warmup", "steps", self.steps)

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return (step + 1) / (self.steps + 1) if step < self.steps else self.then.factor(step - self.steps)


class PlateauState(NamedTuple):
    """The best score so far, reports since then or since the last reduction, and the factor in effect."""

    best: float = -math.inf
    reports: int = 0
    factor: float = 1.0


@dataclass(frozen=True)
class ReduceOnPlateau:
    """The learning rate times γ whenever ``patience`` reports in a row have shown no better validation score.

    PyTorch's class of this name waits for one report more.

    Raises
    ------
    InputError
        If a setting is out of range.
    """

    patience: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        check_positive("ReduceOnPlateau", "patience", self.patience)
        if not 0 < self.gamma < 1:
            raise InputError(f"ReduceOnPlateau: expected a gamma between 0 and 1, got {self.gamma}. Try 0.1.")

    def factor(self, step: int) -> float:
        """1 in every step: what is multiplied is in the state."""
        return 1.0

    def update(self, state: PlateauState, score: float) -> PlateauState:
        """The state after a report of a validation score."""
        if score > state.best:
            return state._replace(best=score, reports=0)
        if state.reports + 1 < self.patience:
            return state._replace(reports=state.reports + 1)
        return state._replace(reports=0, factor=state.factor * self.gamma)


def for_run(schedule: Schedule, iterations: int) -> Schedule:
    """The schedule of a run of so many iterations: a cosine without steps ends with it.

    Raises InputError if a warm-up is as long as the run.
    """
    if isinstance(schedule, Warmup):
        if schedule.steps >= iterations:
            raise InputError(
                f"Warmup: expected fewer steps than the run's {iterations} iterations, got {schedule.steps}. Use fewer."
            )
        return replace(schedule, then=for_run(schedule.then, iterations - schedule.steps))
    if isinstance(schedule, Cosine) and schedule.steps is None:
        return replace(schedule, steps=iterations)
    return schedule


def plateau_of(schedule: Schedule) -> ReduceOnPlateau | None:
    """The part of a schedule that goes by validation scores, if it has one."""
    if isinstance(schedule, Warmup):
        return plateau_of(schedule.then)
    return schedule if isinstance(schedule, ReduceOnPlateau) else None


def depends_on_length(schedule: Schedule) -> bool:
    """Whether the schedule of a longer run differs from the beginning on."""
    if isinstance(schedule, Warmup):
        return depends_on_length(schedule.then)
    return isinstance(schedule, Cosine) and schedule.steps is None


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
"""Their classes by name; ``Warmup`` goes before one of them."""
