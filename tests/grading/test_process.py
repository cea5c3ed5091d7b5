"""Files of students that do more than compute."""

import sys
import time
from pathlib import Path

import pytest

from tests.helpers import refused
from xpnet.grading.process import check, grade

SOLUTION = (Path(__file__).parent / "solutions" / "lesson1.py").read_text(encoding="utf-8")


def write(tmp_path, text):
    path = tmp_path / "lesson1.py"
    path.write_text(text, encoding="utf-8")
    return path


def body(name, lines):
    """The solution in which a function begins with other lines."""
    head, signature, rest = SOLUTION.partition(f"def {name}(")
    arguments, colon, rest = rest.partition(":\n")
    return head + signature + arguments + colon + "".join(f"    {line}\n" for line in lines) + rest


def sentences(verdicts):
    return {verdict.name: verdict.sentence for verdict in verdicts if verdict.state != "right"}


def test_an_endless_loop_is_ended_and_the_other_functions_are_judged(tmp_path):
    path = write(tmp_path, body("relu_backward", ["while True:", "    print('x' * 100_000)"]))
    begun = time.monotonic()
    verdicts = grade(path, seconds=2)
    assert time.monotonic() - begun < 60
    assert len(verdicts) == 9
    assert sentences(verdicts) == {"relu_backward": "does not return within 2 s."}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("exit()", "ends the program: return the result"),
        ("os._exit(0)", "ends the process"),
        ("os.kill(os.getpid(), 9)", "ends the process"),
        ("input('x?')", "raises EOFError"),
        ("return relu_forward(x)", "raises RecursionError"),
        ("np.ones(10**12) + x", "raises"),
        ("print('[\"done\"]')", ""),
        ("subprocess.Popen(['sleep', '600'])", ""),
        ("import resource; assert resource.getrlimit(resource.RLIMIT_CPU) == (3600, 3600)", ""),
    ],
)
def test_what_a_function_does_to_its_process_hurts_nothing_else(tmp_path, capsys, line, words):
    check(write(tmp_path, "import os, subprocess\n" + body("relu_forward", [line])), "relu_forward", "relu_backward")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"relu_forward: {words or 'right'}")
    assert second == "relu_backward: right"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def dense_forward(x, W, b:\n", "'(' was never closed in line 1"),
        ("\nimport numpie\n", "ModuleNotFoundError in line 2 (No module named 'numpie')"),
        ("raise SystemExit", "SystemExit in line 1"),
        ("while True:\n    pass\n", "does not return within 2 s"),
        ("import os\nos._exit(3)", "ends the process"),
        ("\0", "null bytes"),
    ],
)
def test_a_file_that_does_not_load_is_refused(tmp_path, text, words):
    with refused("lesson1.py: expected a file that loads", words):
        grade(write(tmp_path, text), seconds=2)


def test_a_path_that_is_not_a_python_file_is_refused(tmp_path):
    (tmp_path / "lesson1.txt").touch()
    for name in ("lesson1.txt", "lesson1.py", ""):
        with refused("expected"):
            grade(tmp_path / name)
    (tmp_path / "mine.py").touch()
    with refused("expected lesson to be one of lesson1", "'mine'", "lesson='lesson1'"):
        grade(tmp_path / "mine.py")
    with refused("expected lesson to be one of lesson1", "'mine'", "Rename the file"):
        check(tmp_path / "mine.py", "relu_forward")
    with refused("lesson", "'lesson9'"):
        grade(tmp_path / "mine.py", "lesson9")
    with refused("seconds above 0"):
        grade(tmp_path / "mine.py", "lesson1", seconds=0)


def test_a_missing_function_is_wrong_and_a_module_of_the_students_own_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def rectify(x):\n    return x * (x > 0)\n", encoding="utf-8")
    (tmp_path / "random.py").write_text("raise RuntimeError\n", encoding="utf-8")  # shadows a module of Python's
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "answers.py"
    path.write_text("from mine import rectify as relu_forward\ndense_forward = 3\n", encoding="utf-8")
    wrong = sentences(grade(path, "lesson1"))
    assert "relu_forward" not in wrong
    assert wrong["dense_forward"] == "is missing: define a function dense_forward."
    assert len(wrong) == 8


def test_check_prints_a_line_for_each_function_that_it_is_given(tmp_path, capsys):
    path = write(tmp_path, SOLUTION.replace("db = dy.sum(axis=0)", "db = dy.sum(axis=1)"))
    check(path, "relu_forward", "dense_backward")
    first, second = capsys.readouterr().out.splitlines()
    assert first == "relu_forward: right"
    assert second.startswith("dense_backward: dx and dW are right, db is summed over the wrong axis")
    with refused("expected one of dense_forward", "'dense_froward'"):
        check(path, "dense_froward")


def test_where_there_are_no_processes_the_file_is_judged_in_this_one(tmp_path, monkeypatch, capsys):
    def popen(*arguments, **settings):
        raise OSError("emscripten does not support processes.")

    monkeypatch.setattr("xpnet.grading.process.subprocess.Popen", popen)
    monkeypatch.setattr("xpnet.grading.process.sys.platform", "emscripten")
    modules = set(sys.modules)
    check(write(tmp_path, SOLUTION.replace("axis=0)\n", "axis=1)\n")), "dense_backward", "relu_forward")
    first, second = capsys.readouterr().out.splitlines()
    assert "db is summed over the wrong axis" in first
    assert second == "relu_forward: right"
    assert "lesson1" not in set(sys.modules) - modules
