"""A run's folder as it is read: at any point of a run, damaged, or made to do harm."""

import contextlib
import json
import subprocess
import sys

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from tests.report.folders import line, make_folder
from xpnet.report.run import Results, State, read_run, state_of
from xpnet.report.start import Start
from xpnet.runs.lock import is_held, only_user

HOLD = """
import sys
from pathlib import Path
from xpnet.runs.lock import only_user
with only_user(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_goes_on_as_long_as_its_process_holds_the_folder_and_is_stopped_when_that_was_killed(tmp_path):
    folder = make_folder(tmp_path, is_over=False)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert state_of(folder) == State.RUNNING
        process.kill()
    assert state_of(folder) == State.STOPPED
    with only_user(tmp_path):  # looking at it left nothing behind
        assert state_of(folder) == State.RUNNING


def test_a_summary_says_how_a_run_ended_and_is_not_shown_of_one_that_goes_on_again(tmp_path):
    folder = make_folder(tmp_path)
    assert state_of(folder) == State.FINISHED
    assert read_run(folder, State.FINISHED).results
    assert read_run(folder, State.RUNNING).results is None
    folder.write_json("summary.json", {**folder.read_json("summary.json"), "interrupted": True})
    assert state_of(folder) == State.INTERRUPTED
    folder.path.joinpath("summary.json").write_text("{")
    assert state_of(folder) == State.FINISHED


def test_a_lock_that_leads_elsewhere_is_not_followed_and_none_is_made(tmp_path):
    assert is_held(tmp_path) is False
    assert not any(tmp_path.iterdir())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    tmp_path.joinpath(".lock").symlink_to(elsewhere)
    with FileLock(elsewhere):
        assert is_held(tmp_path) is False
    elsewhere.write_text("precious")
    assert is_held(tmp_path) is False
    assert elsewhere.read_text() == "precious"


def test_what_cannot_be_read_is_named_and_the_rest_is_there(tmp_path):
    folder = make_folder(tmp_path, names=("ant", "bee"))  # of three classes
    folder.path.joinpath("start.json").write_text("[" * 100_000)
    folder.metrics_path.write_text(f"{line(1)}\nbroken\n")
    run = read_run(folder, State.FINISHED)
    files = ("start.json", "classes.txt", "metrics.jsonl")
    assert all(file in problem for file, problem in zip(files, run.problems, strict=True))
    assert all("\n" not in problem for problem in run.problems)
    assert (run.start, run.class_names, len(run.history)) == (None, None, 1)
    assert run.results.confusion.sum() == 60
    assert run.config.model == "mnist_starter"


def valid(name, folder):
    return json.loads(folder.path.joinpath(name).read_text())


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("summary.json", "test_accuracy", 1e300),
        ("summary.json", "test_accuracy", "<b>"),
        ("summary.json", "confusion_matrix", [[1, 2]]),
        ("summary.json", "confusion_matrix", [[-1]]),
        ("summary.json", "confusion_matrix", [[10**30]]),
        ("summary.json", "confusion_matrix", [[0] * 1001] * 1001),
        ("summary.json", "confusion_matrix", 7),
        ("summary.json", "calibration", {"counts": [1], "confidence": [0.5], "accuracy": [2]}),
        ("summary.json", "calibration", {"counts": [1], "confidence": [], "accuracy": []}),
        ("summary.json", "versions", ["a"]),
        ("summary.json", "versions", {str(i): "" for i in range(1000)}),
        ("start.json", "layers", [{}] * 3000),
        ("start.json", "layers", 7),
        ("start.json", "input_shape", [1] * 1000),
        ("start.json", "iterations", -1),
        ("start.json", "bytes_per_value", 1.5),
    ],
)
def test_values_that_no_run_writes_are_refused(tmp_path, name, field, value):
    folder = make_folder(tmp_path)
    content = valid(name, folder) | {field: value}
    folder.path.joinpath(name).write_text(json.dumps(content))
    run = read_run(folder, State.FINISHED)
    assert len(run.problems) == 1
    assert name in run.problems[0]
    assert len(run.problems[0]) < 500 + len(str(tmp_path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.data())
def test_any_json_in_place_of_a_value_is_taken_or_refused(tmp_path_factory, data):
    folder = make_folder(tmp_path_factory.mktemp("run"))
    name, kind = data.draw(st.sampled_from([("summary.json", Results), ("start.json", Start)]))
    content = valid(name, folder)
    field = data.draw(st.sampled_from(sorted(content)))
    place = content
    while data.draw(st.booleans()) and isinstance(place[field], dict | list) and place[field]:
        place = place[field]
        field = data.draw(st.sampled_from(range(len(place)) if isinstance(place, list) else sorted(place)))
    place[field] = data.draw(JSON)
    with contextlib.suppress(LookupError, TypeError, ValueError):
        kind.from_json(content)
