"""A student's file as a module, and the verdicts on its functions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from xpnet.grading.catalogue import LESSONS
from xpnet.grading.exercises import Verdict
from xpnet.grading.judging import judge


def load(path: Path) -> ModuleType:
    """Run the file as a module, under a name that leaves one that a notebook has imported alone."""
    module = ModuleType(f"graded_{path.stem}")
    module.__file__ = str(path)
    code = compile(path.read_bytes(), path, "exec")  # not by import, which may take an older file's bytecode
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(path.absolute().parent))  # for the student's own modules
    try:
        exec(code, vars(module))
    finally:
        sys.path.pop(0)
    return module


def judge_module(
    module: ModuleType,
    lesson: str,
    asked: Collection[str],
    wrap: Callable[[str, Callable[..., Any]], Callable[..., Any]] = lambda name, function: function,
) -> Iterator[Verdict]:
    """Verdicts on the functions asked for, each of which is wrapped first."""
    for exercise in LESSONS[lesson].exercises:
        functions = {}
        for task in exercise.tasks:
            if task.name not in asked:
                continue
            function = getattr(module, task.name, None)
            if callable(function):
                functions[task.name] = wrap(task.name, function)
            else:
                yield Verdict(task.name, "wrong", f"is missing: define a function {task.name}.")
        yield from judge(exercise, functions)
