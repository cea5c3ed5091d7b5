import re
from pathlib import Path

import pytest

from xpnet.cli.grade import main

SOLUTION = Path(__file__).parents[1] / "grading" / "solutions" / "lesson1.py"


def test_all_right(capsys):
    assert main([str(SOLUTION)]) == 0
    title, *lines, last = capsys.readouterr().out.splitlines()
    assert title == "Layers and backpropagation"
    assert len(lines) == 9
    assert all(re.fullmatch(r"right  \w+", line) for line in lines)
    assert last == "9 of 9 right"


def test_a_line_for_each_function_that_is_wrong_or_to_do(tmp_path, capsys):
    text = SOLUTION.read_text(encoding="utf-8")
    text = text.replace("db = dy.sum(axis=0)", "db = dy.sum(axis=1)")
    text = text.replace("np.maximum(x, 0)", "int('\\x1b[31m\\n')")
    text = text.replace("return np.where(x > 0, dy, 0)", "raise NotImplementedError")
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    assert main([str(path), "--lesson", "lesson1"]) == 1
    printed = capsys.readouterr().out
    assert "wrong  dense_backward         dx and dW are right, db is summed over the wrong axis" in printed
    assert "to do  relu_backward\n" in printed
    assert re.search(r"wrong  relu_forward +raises ValueError in line \d+ ", printed)
    assert "\x1b" not in printed
    assert printed.endswith("6 of 9 right\n")


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (None, ["lesson1.py"], "lesson1.py: expected an existing Python file"),
        ("x = ", ["lesson1.py"], "invalid syntax in line 1"),
        ("", ["mine.py"], "mine.py: expected --lesson to be one of lesson1"),
        ("", ["mine.py"], "Set --lesson lesson1, say, or rename the file."),
        ("", ["mine.py", "--lesson", "lesson9"], "--lesson: invalid choice"),
        ("", ["lesson1.py", "--seconds", "0"], "expected a finite --seconds above 0"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, text, arguments, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(arguments[0]).write_text(text, encoding="utf-8")
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
