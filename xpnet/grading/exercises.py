"""What there is to grade: lessons of exercises, each one or two functions that a student writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from xpnet.shapes import Shape

Inputs = Mapping[str, Any]  # the arguments of a student's function by name, in their order


@dataclass(frozen=True)
class Mistake:
    """A typical wrong formula for one output, and what to say about it after the output's name."""

    output: str
    words: str
    formula: Callable[..., Any]


@dataclass(frozen=True)
class Task:
    """A function to write.

    ``answer`` gives what it should return, one array for each of ``outputs``, or the only one. ``cases`` draws inputs;
    lengths are equal in the first case, where a forgotten transpose runs and shows, and unequal in another.
    ``hard_cases``, such as huge numbers, are tried once those are right. ``in_batches`` says that the rows of the first
    input are examples, over whose number an output may be wrongly averaged.
    """

    name: str
    outputs: tuple[str, ...]
    answer: Callable[..., Any]
    cases: Callable[[np.random.Generator], list[dict[str, Any]]]
    mistakes: tuple[Mistake, ...]
    hard_cases: Callable[[np.random.Generator], list[dict[str, Any]]] = lambda rng: []
    in_batches: bool = False
    follows: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerGradient:
    """The tasks are forward and backward of a layer: their shapes, for the gradient check."""

    input_shape: Shape
    output_shape: Shape
    params: Mapping[str, Shape]


@dataclass(frozen=True)
class LossGradient:
    """The task returns a loss and its gradient with respect to the first of its two inputs."""


@dataclass(frozen=True)
class Exercise:
    """Tasks that belong together; with ``gradient``, they must also pass the gradient check."""

    name: str
    tasks: tuple[Task, ...]
    gradient: LayerGradient | LossGradient | None = None


@dataclass(frozen=True)
class Lesson:
    """The exercises of a lesson in their order."""

    title: str
    exercises: tuple[Exercise, ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The functions to write, in order."""
        return tuple(task for exercise in self.exercises for task in exercise.tasks)


class Verdict(NamedTuple):
    """What is said of a function: ``state`` is right, wrong or to do; ``sentence`` says what is wrong."""

    name: str
    state: str
    sentence: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{self.name}: {self.sentence or self.state}"


def as_tuple(task: Task, returned: Any) -> tuple[Any, ...]:
    """The outputs of an answer, of which the only one comes without a tuple."""
    return (returned,) if len(task.outputs) == 1 else returned
