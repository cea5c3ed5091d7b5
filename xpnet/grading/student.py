"""The process that runs a student's file: ``python -m xpnet.grading.student FILE LESSON FUNCTION ...``.

It judges the functions named and prints a line of JSON for each event. What the file itself prints goes nowhere.
``process.py`` starts it and reads the lines.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Any

from xpnet.grading.checks import describe_error
from xpnet.grading.loading import judge_module, load

# Where the system can limit them: bytes, and seconds of computing, after which one ends whose parent was killed.
MEMORY, TIME = 4 * 2**30, 3600


def main(path: str, lesson: str, *asked: str) -> None:
    """Load the file and judge its functions: events from ``started`` to ``done``, unless the process ends before."""
    report = _only_reporter()
    _limit_resources()
    report("started")
    try:
        module = load(Path(path))
    except SyntaxError as error:
        report("unusable", f"{error.msg} in line {error.lineno}")
        return
    except (Exception, SystemExit) as error:
        report("unusable", describe_error(error))
        return
    for verdict in judge_module(module, lesson, asked, partial(_announced, report)):
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


def _limit_resources() -> None:
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limits, macOS not this one
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (TIME, TIME))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _announced(report: Callable[..., None], name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which says that it is called: it may never return."""

    @wraps(function)
    def announced(*arguments: Any) -> Any:
        report("calling", name)
        return function(*arguments)

    return announced


if __name__ == "__main__":
    main(*sys.argv[1:])
