"""The sentence for each of the typical wrong answers in ``wrong/``, and none for the solutions."""

import importlib.util
import inspect
from pathlib import Path

import numpy as np
import pytest

from xpnet.grading import LESSONS, judge
from xpnet.grading.diagnosis import ABSOLUTE, RELATIVE, judge_task

HERE = Path(__file__).parent


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOLUTIONS = {name: load(HERE / "solutions" / f"{name}.py") for name in LESSONS}
WRONG = {name: load(HERE / "wrong" / f"{name}.py").WRONG for name in LESSONS}
EXERCISES = [
    pytest.param(lesson, exercise, id=f"{lesson} {exercise.name}")
    for lesson in LESSONS
    for exercise in LESSONS[lesson].exercises
]
ROWS = [
    pytest.param(lesson, *row, id=f"{row[0]}: {row[3][:50]}")
    for lesson in LESSONS
    for rows in WRONG[lesson].values()
    for row in rows
]


def functions(lesson, exercise):
    return {task.name: getattr(SOLUTIONS[lesson], task.name) for task in exercise.tasks}


def edited(lesson, name, old, new):
    """The solution's function with one text replaced by another, or all of its body."""
    source = inspect.getsource(getattr(SOLUTIONS[lesson], name))
    if old:
        assert source.count(old) == 1, source
        source = source.replace(old, new)
    else:
        source = f"{source.partition(':')[0]}:\n    {new}\n"
    names = dict(vars(SOLUTIONS[lesson]))
    exec(compile(source, f"{lesson}.py", "exec"), names)
    return names[name]


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES)
def test_the_solution_is_right(lesson, exercise):
    assert {verdict.state for verdict in judge(exercise, functions(lesson, exercise))} == {"right"}


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES)
def test_each_exercise_has_ten_wrong_answers(lesson, exercise):
    rows = WRONG[lesson][exercise.name]
    assert len({row[:3] for row in rows}) >= 10
    assert {row[0] for row in rows} == {task.name for task in exercise.tasks}


@pytest.mark.parametrize(("lesson", "name", "old", "new", "words"), ROWS)
def test_a_wrong_answer_gets_its_sentence(lesson, name, old, new, words):
    (task,) = [task for task in LESSONS[lesson].tasks if task.name == name]
    verdict = judge_task(task, edited(lesson, name, old, new))
    assert verdict.state == ("to do" if words == "to do" else "wrong")
    assert words in verdict.sentence
    assert verdict.sentence.count("\n") == 0


@pytest.mark.parametrize(("lesson", "exercise"), EXERCISES)
def test_no_catalogued_formula_is_the_right_one(lesson, exercise):
    """One would be said of a right answer in part of the cases, or hide another."""
    for task in exercise.tasks:
        for mistake in task.mistakes:
            assert mistake.output in task.outputs
            cases = [*task.cases(np.random.default_rng(3)), *task.hard_cases(np.random.default_rng(3))]
            assert not all(_is_right(task, mistake, inputs) for inputs in cases), mistake.words


def _is_right(task, mistake, inputs):
    with np.errstate(all="ignore"):
        answer = task.answer(*inputs.values())
        expected = answer[task.outputs.index(mistake.output)] if len(task.outputs) > 1 else answer
        try:
            actual = mistake.formula(*inputs.values())
        except (ValueError, IndexError):
            return False
    return np.shape(actual) == np.shape(expected) and np.allclose(actual, expected, RELATIVE, ABSOLUTE, equal_nan=True)


@pytest.mark.parametrize(
    ("exercise", "wrong", "words"),
    [
        (
            "dense",
            [("dense_forward", "x @ W.T", "3 * x @ W.T"), ("dense_backward", "return dx, dW", "return 3 * dx, 3 * dW")],
            "it should be; dx, dW and db are the gradients of your dense_forward, so correct that first",
        ),
        (
            "softmax cross-entropy",
            [("softmax_cross_entropy", "return loss, dz", "return 3 * loss, 3 * dz")],
            "dz is 3 times what it should be; dz is the gradient of this loss",
        ),
        (
            "relu",
            [("relu_forward", "np.maximum(x, 0)", "2 * np.maximum(x, 0)"), ("relu_backward", "dy, 0", "2 * dy, 0")],
            "dx is 2 times what it should be; dx is the gradient of your relu_forward, so correct that first",
        ),
        (  # right on small arrays only
            "relu",
            [("relu_backward", "x > 0", "(x > 0) | (x.shape == (3, 4, 3))")],
            "fails the gradient check: dx",
        ),
    ],
)
def test_the_gradient_check_says_whether_backward_belongs_to_forward(exercise, wrong, words):
    (exercise,) = [known for known in LESSONS["lesson1"].exercises if known.name == exercise]
    given = functions("lesson1", exercise)
    given |= {name: edited("lesson1", name, old, new) for name, old, new in wrong}
    last = judge(exercise, given)[-1]
    assert last.state == "wrong"
    assert words in last.sentence


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shifted = z - z.max(axis=1, keepdims=True)", "z -= z.max(axis=1, keepdims=True)\n    shifted = z"),
        ("z - z.max(axis=1, keepdims=True)", "z"),
        (
            "loss = np.mean(np.log(total[:, 0]) - shifted[rows, labels])\n    dz = e / total",
            "dz = np.clip(e / total, 1e-7, 1 - 1e-7)\n    loss = -np.mean(np.log(dz[rows, labels]))",
        ),
        ("np.mean(", "3 + np.mean("),
    ],
)
def test_what_is_wrong_but_for_the_values_of_the_gradient_is_not_called_the_gradient_of_a_loss(old, new):
    (exercise,) = [known for known in LESSONS["lesson1"].exercises if known.name == "softmax cross-entropy"]
    (verdict,) = judge(exercise, {"softmax_cross_entropy": edited("lesson1", "softmax_cross_entropy", old, new)})
    assert verdict.state == "wrong"
    assert "the gradient of this loss" not in verdict.sentence


def test_a_function_that_remembers_is_wrong():
    calls = []

    def relu_forward(x):
        calls.append(1)
        return np.maximum(x, 0) if len(calls) < 3 else x

    assert "another result for the same arguments" in judge_task(LESSONS["lesson1"].tasks[2], relu_forward).sentence
