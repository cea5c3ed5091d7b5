"""Every lesson runs from its first cell to its last with the solutions, and asks for all of its exercises."""

import ast
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.helpers import blocks_of
from xpnet.grading import LESSONS, grade

ROOT = Path(__file__).parents[2]
COURSE, SOLUTIONS = ROOT / "course", Path(__file__).parent / "solutions"


def cells(lesson):
    """The code of a MyST notebook, without what IPython alone understands."""
    text = (COURSE / f"{lesson}.md").read_text(encoding="utf-8")
    found = blocks_of(text, "{code-cell} ipython3")
    return [re.sub(r"^%.*$", "", cell, flags=re.MULTILINE) for cell in found]


@pytest.fixture
def matplotlib_without_a_screen(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.usefixtures("matplotlib_without_a_screen")
@pytest.mark.parametrize("lesson", LESSONS)
def test_a_lesson_runs_with_the_solutions(lesson, monkeypatch, capsys):
    monkeypatch.chdir(SOLUTIONS)
    monkeypatch.syspath_prepend(SOLUTIONS)
    monkeypatch.delitem(sys.modules, lesson, raising=False)
    names = {"__name__": "__main__"}
    for number, cell in enumerate(cells(lesson)):
        exec(compile(cell, f"{lesson}.md, cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    for task in LESSONS[lesson].tasks:
        assert f"{task.name}: right\n" in printed
    if lesson == "lesson1":  # its text calls 1e-5 right and a much smaller step worse
        assert re.search("best step: 1e-0[56]\n", printed)
    assert names["accuracy"] > EXPECTED[lesson]


EXPECTED = {"lesson1": 0.75, "lesson2": 0.8, "lesson3": 0.9, "lesson4": 0.75, "lesson5": 0.8, "lesson6": 0.9}


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_file_of_a_lesson_is_all_blanks(lesson):
    assert "import numpy as np\n" in (COURSE / f"{lesson}.py").read_text(encoding="utf-8")
    verdicts = grade(COURSE / f"{lesson}.py")
    assert [(verdict.name, verdict.state) for verdict in verdicts] == [
        (task.name, "to do") for task in LESSONS[lesson].tasks
    ]


@pytest.mark.parametrize("lesson", LESSONS)
def test_blanks_and_solutions_have_the_arguments_that_the_grader_gives(lesson):
    for folder in (COURSE, SOLUTIONS):
        tree = ast.parse((folder / f"{lesson}.py").read_text(encoding="utf-8"))
        arguments = {
            node.name: [argument.arg for argument in node.args.args]
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
        }
        for task in LESSONS[lesson].tasks:
            assert arguments[task.name] == list(task.cases(np.random.default_rng(0))[0])


@pytest.mark.parametrize("lesson", LESSONS)
def test_no_docstring_capitalises_a_symbol(lesson):
    tree = ast.parse((COURSE / f"{lesson}.py").read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for task in LESSONS[lesson].tasks:
        symbols = {argument.arg for argument in functions[task.name].args.args} | set(task.outputs)
        first = re.findall(r"\w+", ast.get_docstring(functions[task.name]) or "")[0]
        assert first in symbols or first.lower() not in symbols


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_text_names_every_exercise(lesson):
    text = (COURSE / f"{lesson}.md").read_text(encoding="utf-8")
    for task in LESSONS[lesson].tasks:
        assert f"`{task.name}`" in text
