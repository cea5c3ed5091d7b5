"""Grading a file in a process of its own, which an endless loop, exit() or a flood of print cannot take along."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import xpnet
from xpnet.checks import check_above_zero, pick
from xpnet.errors import InputError, short
from xpnet.files import require_regular_file
from xpnet.grading.catalogue import LESSONS
from xpnet.grading.exercises import Task, Verdict
from xpnet.grading.loading import judge_module, load

SECONDS = 10.0
_START = 60.0  # seconds for the process to begin, which on a busy machine takes longer than what it is to do


def grade(path: str | os.PathLike[str], lesson: str | None = None, *, seconds: float = SECONDS) -> list[Verdict]:
    """Verdicts on all functions of a lesson in a student's file. The lesson is by default the file's name.

    A function that does not return within ``seconds``, or ends the process, is wrong, and the others are judged without
    it. The file runs with the rights of whoever grades it.

    Raises
    ------
    InputError
        If the file is not Python that loads, or the lesson is not one of the course.
    """
    path, tasks = _checked(path, lesson, "Set lesson='lesson1', say, or rename the file.")
    check_above_zero("grade", "seconds", seconds, "Give the functions some time.")
    found = _verdicts(path, lesson or path.stem, {task.name for task in tasks}, seconds)
    return [found[task.name] for task in tasks]


def check(path: str | os.PathLike[str], *functions: str) -> None:
    """Print the verdicts on these functions of a file ``lessonN.py``; for use in a notebook.

    Raises
    ------
    InputError
        Like ``grade``, or for a function that is not in the lesson.
    """
    path, tasks = _checked(path, None, "Rename the file.")
    known = {task.name: task for task in tasks}
    asked = {pick(f"check, {path.stem}", known, name).name for name in functions}
    found = _verdicts(path, path.stem, asked, SECONDS)
    print(*(found[name] for name in functions), sep="\n")


def _checked(path: str | os.PathLike[str], lesson: str | None, advice: str) -> tuple[Path, tuple[Task, ...]]:
    path = Path(path)
    require_regular_file(path, "grade")
    if path.suffix != ".py" or not path.is_file():
        raise InputError(f"{path}: expected an existing Python file, got none. Check the path.")
    if lesson is None and path.stem not in LESSONS:
        raise InputError(
            f"{path}: expected lesson to be one of {', '.join(LESSONS)}, got {short(path.stem)} from the file's name. "
            f"{advice}"
        )
    return path, pick("grade, lesson", LESSONS, path.stem if lesson is None else lesson).tasks


def _verdicts(path: Path, lesson: str, asked: set[str], seconds: float) -> dict[str, Verdict]:
    if sys.platform == "emscripten":  # a browser, which has no processes: here a student's endless loop is endless
        return {verdict.name: verdict for verdict in judge_module(load(path), lesson, asked)}
    found: dict[str, Verdict] = {}
    while asked - set(found):
        found |= {verdict.name: verdict for verdict in _run(path, lesson, sorted(asked - set(found)), seconds)}
    return found


def _run(path: Path, lesson: str, asked: Sequence[str], seconds: float) -> Iterator[Verdict]:
    """Verdicts of one process: of all functions, or the last of them on the one that it did not survive."""
    called = ""
    with _Student([str(path), lesson, *asked]) as student:
        student.event(_START)
        while True:
            kind, *words = student.event(seconds)
            if kind == "verdict":
                yield Verdict(*words)
            elif kind == "calling":
                called = words[0]
            elif kind == "unusable":
                raise InputError(f"{path}: expected a file that loads, got {words[0]}. Correct it.")
            elif kind == "done":
                return
            else:
                what = f"does not return within {seconds:g} s" if kind == "late" else "ends the process it runs in"
                if not called:
                    raise InputError(f"{path}: expected a file that loads, got one that {what}. Correct it.")
                yield Verdict(called, "wrong", f"{what}.")
                return


class _Student:
    """The process, and the events that it prints."""

    def __init__(self, arguments: Sequence[str]) -> None:
        # -P: no module is taken from the current folder, where a student's random.py may lie.
        folders = [str(Path(xpnet.__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "xpnet.grading.student", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))},
            start_new_session=True,  # so that what it starts can be ended with it
        )
        self._events: queue.Queue[list[str]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def __enter__(self) -> _Student:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process and, where there are process groups, those that it has started."""
        if hasattr(os, "killpg"):
            with suppress(PermissionError):  # of macOS, where it has ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.wait()
        self._reader.join(timeout=1)  # longer only if something escaped that holds the pipe

    def event(self, seconds: float) -> list[str]:
        """The next one; ``late`` if there is none in time, ``ended`` if there will be none."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return ["late"]

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                self._events.put(json.loads(line))
        self._events.put(["ended"])
