"""The verdicts on an exercise: contract, cases, catalogue and gradient check together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xpnet.grading.diagnosis import judge_task
from xpnet.grading.exercises import Exercise, Verdict
from xpnet.grading.gradients import with_gradient_check


def judge(exercise: Exercise, functions: Mapping[str, Callable[..., Any]]) -> list[Verdict]:
    """Verdicts on the functions of an exercise, given by name; one that is not given is left out."""
    tasks = [task for task in exercise.tasks if task.name in functions]
    verdicts = [judge_task(task, functions[task.name]) for task in tasks]
    if exercise.gradient is None or len(tasks) < len(exercise.tasks):
        return verdicts
    return with_gradient_check(exercise, [functions[task.name] for task in tasks], verdicts)
