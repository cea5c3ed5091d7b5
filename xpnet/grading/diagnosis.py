"""What is wrong with a student's function, in one sentence.

Each output is compared with the right one on every case. A wrong one is compared with the catalogue of typical wrong
formulas, computed on the same inputs; one that gives the student's numbers in all cases is what the student wrote, as
far as numbers tell. If none does, the sentence names the first wrong number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from xpnet.grading.checks import Outcome, call, described
from xpnet.grading.exercises import Inputs, Mistake, Task, Verdict, as_tuple
from xpnet.random import generator

RELATIVE, ABSOLUTE = 1e-6, 1e-9


def judge_task(task: Task, function: Callable[..., Any], seed: int = 0) -> Verdict:
    """Judge a function by the contract, the cases and the catalogue."""
    rng = generator(seed)
    cases = task.cases(rng)
    sentence = ""
    for group in (cases, task.hard_cases(rng)):
        outcomes = [call(task, function, inputs) for inputs in group]
        if any(outcome.is_blank for outcome in outcomes):
            return Verdict(task.name, "to do", "to do")
        sentence = _contract(outcomes) or _numbers(task, group, outcomes)
        if sentence:
            break
    sentence = sentence or _repeated(task, function, cases[0])
    return Verdict(task.name, "wrong", f"{sentence}.") if sentence else Verdict(task.name, "right")


def wrong_outputs(task: Task, function: Callable[..., Any], seed: int = 0) -> list[str]:
    """The outputs with wrong values in the cases that are not hard; none if the function breaks the contract there."""
    cases = task.cases(generator(seed))
    given = [call(task, function, inputs).values for inputs in cases]
    ran = [values for values in given if values]
    if len(ran) < len(cases):
        return []
    return [
        output
        for position, output in enumerate(task.outputs)
        if not _all_equal([values[position] for values in ran], [answers(task, inputs)[position] for inputs in cases])
    ]


def _contract(outcomes: Sequence[Outcome]) -> str:
    if outcomes and all(outcome.raised for outcome in outcomes):
        return outcomes[0].raised
    return next((outcome.problem for outcome in outcomes if outcome.problem), "")


def _numbers(task: Task, cases: Sequence[Inputs], outcomes: Sequence[Outcome]) -> str:
    """On the outputs of the cases that ran; what was raised in others must follow from a mistake that is recognised."""
    ran = [(inputs, outcome.values) for inputs, outcome in zip(cases, outcomes, strict=True) if outcome.values]
    raised = [(inputs, outcome.raised) for inputs, outcome in zip(cases, outcomes, strict=True) if outcome.raised]
    right, wrong, consequences = [], [], []
    for position, output in enumerate(task.outputs):
        given = [values[position] for _, values in ran]
        expected = [answers(task, inputs)[position] for inputs, _ in ran]
        if _all_equal(given, expected):
            right.append(output)
            continue
        if _follows(task, output, ran):
            consequences.append(output)
            continue
        inputs = [inputs for inputs, _ in ran]
        mistake = _recognised(task, output, inputs, given, expected)
        if mistake:
            raised = [(inputs, text) for inputs, text in raised if _fits(task, mistake, inputs)]
        words = mistake.words if mistake else _first_wrong(inputs, given, expected)
        wrong.append(f"{output}{'' if words.startswith('[') else ' '}{words}")
    if raised:
        return raised[0][1]
    praise = f"{listed(right)} {'is' if len(right) == 1 else 'are'} right, " if right and wrong else ""
    return praise + "; ".join([*wrong, *(f"{output} follows from that" for output in consequences)])


def _follows(task: Task, output: str, ran: Sequence[tuple[Inputs, tuple[np.ndarray, ...]]]) -> bool:
    """Whether an output is computed rightly from others, which are wrong."""
    formula = task.follows.get(output)
    if formula is None:
        return False
    with np.errstate(all="ignore"):
        for inputs, values in ran:
            given = dict(zip(task.outputs, values, strict=True))
            try:
                if not _equal(given[output], np.asarray(formula(given, *inputs.values()))):
                    return False
            except ValueError:  # shapes that do not fit
                return False
    return True


def _fits(task: Task, mistake: Mistake, inputs: Inputs) -> bool:
    """Whether the wrong formula has the right shape, so that nothing is raised because of it."""
    computed = _computed(mistake, inputs)
    return computed is not None and computed.shape == answers(task, inputs)[task.outputs.index(mistake.output)].shape


def answers(task: Task, inputs: Inputs) -> tuple[np.ndarray, ...]:
    """The right outputs."""
    with np.errstate(all="ignore"):
        return tuple(np.asarray(value) for value in as_tuple(task, task.answer(*inputs.values())))


def _recognised(
    task: Task, output: str, cases: Sequence[Inputs], given: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> Mistake | None:
    for mistake in (*task.mistakes, *_common_mistakes(task, output, cases, given, expected)):
        if mistake.output == output and _all_equal(given, [_computed(mistake, inputs) for inputs in cases]):
            return mistake
    return None


def _computed(mistake: Mistake, inputs: Inputs) -> np.ndarray | None:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(mistake.formula(*inputs.values()))
    except (ValueError, IndexError):  # shapes that do not fit: there a student who made the mistake has nothing either
        return None


def _common_mistakes(
    task: Task, output: str, cases: Sequence[Inputs], given: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> Iterator[Mistake]:
    """Mistakes that can be made with any output: another one in its place, factors, signs, transposes, nothing."""
    position = task.outputs.index(output)

    def right(*values: Any, position: int = position) -> np.ndarray:
        return answers(task, dict(zip(cases[0], values, strict=True)))[position]

    order = ", ".join(task.outputs)
    for other, name in enumerate(task.outputs):
        if other != position:
            yield Mistake(output, f"is {name}: return {order} in this order", partial(right, position=other))
    yield Mistake(output, "is 0 everywhere", lambda *values: np.zeros_like(right(*values)))
    yield Mistake(output, "has the wrong sign", lambda *values: -right(*values))
    yield Mistake(output, "is transposed", lambda *values: right(*values).T)
    if task.in_batches:
        yield Mistake(
            output,
            "is divided by the number of examples once too often",
            lambda first, *rest: right(first, *rest) / len(first),
        )
        yield Mistake(
            output,
            "is not divided by the number of examples",
            lambda first, *rest: right(first, *rest) * len(first),
        )
    factor = _factor(given[0], expected[0])
    if np.isfinite(factor) and sum(answer.size for answer in expected) > 1:  # any number is a multiple of another
        yield Mistake(output, f"is {factor:.4g} times what it should be", lambda *values: factor * right(*values))


def _factor(given: np.ndarray, expected: np.ndarray) -> float:
    if given.shape != expected.shape or not expected.any():
        return np.nan
    largest = np.unravel_index(np.nanargmax(np.abs(expected)), expected.shape)
    return float(given[largest] / expected[largest])


def _first_wrong(cases: Sequence[Inputs], given: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> str:
    wrong = (case for case in zip(cases, expected, given, strict=True) if not _equal(case[2], case[1]))
    inputs, ours, theirs = next(wrong)
    where = f"for {described(inputs)}"
    if theirs.shape != ours.shape:
        return f"has shape {theirs.shape}, expected {ours.shape} {where}"
    if theirs.ndim and not np.isfinite(theirs[np.isfinite(ours)]).all():
        return f"holds {'NaN' if np.isnan(theirs[np.isfinite(ours)]).any() else 'infinite values'} {where}"
    index = tuple(map(int, np.argwhere(~np.isclose(theirs, ours, RELATIVE, ABSOLUTE, equal_nan=True))[0]))
    at = f"[{', '.join(map(str, index))}] " if index else ""
    return f"{at}is {theirs[index] + 0.0:.6g}, expected {ours[index] + 0.0:.6g} {where}"  # + 0.0: no -0


def _repeated(task: Task, function: Callable[..., Any], inputs: Inputs) -> str:
    """What only shows when all numbers are right: a list, a result that depends on earlier calls, a wrong dtype."""
    again = call(task, function, inputs)
    if not _all_equal(again.values or (), answers(task, inputs)):
        return "gives another result for the same arguments: it must depend on nothing else"
    for output in again.lists:
        return f"gives {output} as a list, expected an array: leave out .tolist(), or use np.array"
    for output, theirs, ours in zip(task.outputs, again.values or (), answers(task, inputs), strict=True):
        if ours.dtype.kind in "iu" and ours.ndim and theirs.dtype.kind == "f":
            return f"gives {output} as {theirs.dtype}, expected integers: np.zeros needs dtype=int for that"
    inputs = {
        name: value.astype("float32") if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value
        for name, value in inputs.items()
    }
    halved = call(task, function, inputs)
    for output, theirs, ours in zip(task.outputs, halved.values or (), answers(task, inputs), strict=True):
        if ours.dtype == "float32" and ours.ndim and theirs.dtype != ours.dtype:
            was = f"gives {output} as {theirs.dtype} for inputs of float32"
            return f"{was}: keep the dtype of the inputs; np.zeros needs dtype=... for that"
    return ""


def _all_equal(given: Sequence[np.ndarray], expected: Sequence[np.ndarray | None]) -> bool:
    return len(given) == len(expected) and all(map(_equal, given, expected))


def _equal(a: np.ndarray, b: np.ndarray | None) -> bool:
    return b is not None and a.shape == b.shape and bool(np.allclose(a, b, RELATIVE, ABSOLUTE, equal_nan=True))


def listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
