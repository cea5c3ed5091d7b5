"""The contract of a student's function: it returns numbers, as many outputs as named, and leaves its inputs alone."""

from __future__ import annotations

import copy
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.errors import short
from xpnet.grading.exercises import Inputs, Task, as_tuple

_LONGEST = 200  # of an exception's message


@dataclass(frozen=True)
class Outcome:
    """What a call gave: ``values`` of all outputs, or what the function ``raised``, or a ``problem`` in words.

    ``lists`` names the outputs that came as lists in place of arrays.
    """

    values: tuple[np.ndarray, ...] | None = None
    lists: tuple[str, ...] = ()
    raised: str = ""
    problem: str = ""
    is_blank: bool = False  # it raised NotImplementedError


def call(task: Task, function: Callable[..., Any], inputs: Inputs) -> Outcome:
    """Call the student's function, which may do anything, on copies of the inputs."""
    given = copy.deepcopy(dict(inputs))
    try:
        with np.errstate(all="ignore"):
            returned = function(*given.values())
    except NotImplementedError:
        return Outcome(is_blank=True)
    except SystemExit:
        return Outcome(problem="ends the program: return the result instead of calling exit")
    except Exception as error:
        return Outcome(raised=f"raises {describe_error(error)} for {described(inputs)}")
    changed = [name for name, value in inputs.items() if not _same(value, given[name])]
    if changed:
        return Outcome(problem=f"changes its argument {changed[0]}: compute on a copy")
    return _outputs(task, returned)


def _outputs(task: Task, returned: Any) -> Outcome:
    names = ", ".join(task.outputs)
    if returned is None:
        return Outcome(problem=f"returns None: end it with return {names}")
    is_sequence = isinstance(returned, tuple | list)
    if len(task.outputs) > 1 and (not is_sequence or len(returned) != len(task.outputs)):
        amount = f"{len(returned)} values" if is_sequence else f"one {type(returned).__name__}"
        return Outcome(problem=f"returns {amount}, expected {len(task.outputs)}: {names}")
    values, lists = [], []
    for name, value in zip(task.outputs, as_tuple(task, returned), strict=True):
        try:
            array = np.asarray(value)
        except Exception:  # a ragged list, or an object whose conversion fails
            array = np.asarray(None)
        if array.dtype.kind not in "biuf":
            return Outcome(problem=f"gives a {type(value).__name__} for {name}, expected an array of real numbers")
        values.append(array)
        if isinstance(value, list):
            lists.append(name)
    return Outcome(tuple(values), tuple(lists))


def described(inputs: Inputs) -> str:
    """Inputs in few words: arrays by their shapes, numbers by their values."""
    return ", ".join(
        f"{name} {value.shape}" if isinstance(value, np.ndarray) else f"{name} {short(value)}"
        for name, value in inputs.items()
    )


def describe_error(error: BaseException) -> str:
    """An exception in few words, with the line of the student's file."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(os.path.dirname(__file__))
    ]
    # The student's own line: what NumPy raises deep inside itself has many more.
    lines = [frame.lineno for frame in frames if frames and frame.filename == frames[0].filename]
    message = " ".join(str(error).split())[:_LONGEST].rstrip(".")
    if message.startswith("The truth value of an array"):  # NumPy's advice, any or all, is seldom what is meant
        message = "max, min and if take one number: np.maximum(x, 0) and np.where(x > 0, ...) work entry by entry"
    return f"{type(error).__name__}{f' in line {lines[-1]}' if lines else ''}{f' ({message})' if message else ''}"


def _same(a: Any, b: Any) -> bool:
    return (
        np.array_equal(a, b, equal_nan=True)
        if isinstance(a, np.ndarray) and a.dtype.kind == "f"
        else (np.array_equal(a, b))
    )
