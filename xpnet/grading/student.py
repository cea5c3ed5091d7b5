"""The process that runs a student's file: ``python -m xpnet.grading.student FILE LESSON FUNCTION ...``.

It judges the functions named and prints a line of JSON for each event. What the file itself prints goes nowhere.
``process.py`` starts it and reads the lines.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from xpnet.grading.catalogue import LESSONS
from xpnet.grading.checks import describe_error
from xpnet.grading.exercises import Verdict
from xpnet.grading.judging import judge

MEMORY = 4 * 2**30  # bytes, where the system can limit them


def main(path: str, lesson: str, *asked: str) -> None:
    """Load the file and judge its functions; the last event is ``done``, if nothing ends the process before."""
    report = _only_reporter()
    _limit_memory()
    try:
        module = _load(Path(path))
    except SyntaxError as error:
        report("unusable", f"{error.msg} in line {error.lineno}")
        return
    except (Exception, SystemExit) as error:
        report("unusable", describe_error(error))
        return
    for exercise in LESSONS[lesson].exercises:
        functions = {}
        for task in exercise.tasks:
            function = getattr(module, task.name, None)
            if task.name not in asked:
                continue
            if callable(function):
                functions[task.name] = _announced(task.name, function, report)
            else:
                report("verdict", *Verdict(task.name, "wrong", f"is missing: define a function {task.name}."))
        for verdict in judge(exercise, functions):
            report("verdict", *verdict)
    report("done")


def _only_reporter() -> Callable[..., None]:
    """A function that prints events where stdout was; stdout and stderr themselves then lead nowhere."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)

    def report(*event: str) -> None:
        lines.write(json.dumps(event) + "\n")
        lines.flush()

    return report


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limits, macOS not this one
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.absolute().parent))  # for the student's own modules
    spec.loader.exec_module(module)
    return module


def _announced(name: str, function: Callable[..., Any], report: Callable[..., None]) -> Callable[..., Any]:
    """The function, which says that it is called: it may never return."""

    @functools.wraps(function)
    def announced(*arguments: Any) -> Any:
        report("calling", name)
        return function(*arguments)

    return announced


if __name__ == "__main__":
    main(*sys.argv[1:])
