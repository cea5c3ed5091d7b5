"""What is read from run folders, and how results are written."""

import json
import math
import os
from pathlib import Path

import pytest

from tests.helpers import refused
from xpnet import experiments
from xpnet.experiments import EXPERIMENTS, first_epoch
from xpnet.results_page import BEGIN, END, read_page, read_results, render, write_results
from xpnet.runs.folder import RunFolder
from xpnet.runs.records import HistoryFile
from xpnet.runs.settings import make_run
from xpnet.training import Record

PAGE = f"Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n"


@pytest.fixture
def folder(tmp_path):
    """A run of 4 epochs of 5 batches, reported twice an epoch, whose validation accuracy grows by a tenth each time."""
    folder = RunFolder.create(tmp_path / "run")
    folder.write_config(make_run("mlp", epochs=4), {})
    history = HistoryFile(folder.history_path)
    for report, iteration in enumerate((3, 5, 8, 10, 13, 15, 18, 20), start=1):
        history.on_report(None, Record(iteration, 0.0, 0.0, 0.0, 1.0, 0.5, report / 10, 0.0, 0.1))
    history.close()
    return folder


@pytest.mark.parametrize(("threshold", "epoch"), [(0.1, 1), (0.2, 1), (0.25, 2), (0.8, 4), (0.9, math.inf)])
def test_first_epoch(folder, threshold, epoch):
    assert first_epoch("validation_accuracy", threshold)(folder) == epoch


def test_best_validation_accuracy(folder):
    assert experiments.best_validation_accuracy(folder) == 0.8


def test_mean_iou_leaves_out_classes_that_are_nowhere(folder):
    folder.write_json(
        "summary.json", {"device": "cpu", "backend": "numpy", "test_accuracy": 1.0, "iou": [0.5, None, 1]}
    )
    assert experiments.mean_iou(folder) == 0.75


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b'{"test_accuracy": 0.9', "Expecting"),
        (b"\xff", "decode"),
        (b"[" * 100_000, ""),
        (b"7", "int"),
        (b'{"device": "cpu"}', "(no backend, test_accuracy)"),
        (b" " * (1 << 20) + b"{}", "more than 1,048,576 characters"),
    ],
)
def test_a_damaged_summary_is_refused(folder, content, reason):
    path = folder.path / "summary.json"
    if content is not None:
        path.write_bytes(content)
    for read in (experiments.final_accuracy, experiments.optimizer_accuracy("Adam"), experiments.machine):
        with refused(f"{path}", "the results of a finished run", "got something else (", reason, "Run it again."):
            read(folder)


@pytest.mark.parametrize("read", [RunFolder.read_config, RunFolder.read_summary])
def test_a_pipe_is_not_waited_for(tmp_path, read):
    for name in ("config.json", "summary.json"):
        os.mkfifo(tmp_path / name)
    with refused("got a pipe or a device."):
        read(RunFolder(tmp_path))


def run(value, seconds=10.0, machine="an abacus", version="0ddba11"):
    (metric,) = EXPERIMENTS["overfitting"].metrics
    spent = {"seconds": seconds, "cpu_seconds": seconds / 2}
    return {"metrics": {metric.name: value}, **spent, "machine": machine, "version": version}


def test_the_page_keeps_what_people_wrote_and_shows_what_was_measured():
    page = render(PAGE, {"overfitting": {"0": run(4), "2": run(math.inf, 40.0), "10": run(3, 20.0, "a sundial")}})
    assert page.startswith(f"Before\n\n{BEGIN}\n")
    assert page.endswith(f"{END}\n\nAfter\n")
    assert "old" not in page
    (row,) = [line for line in page.splitlines() if "overfitting" in line]
    cells = [cell.strip() for cell in row.strip("|").split(" | ")]
    assert cells[0].startswith("**overfitting** on CIFAR-10 (JPEG): first epoch")
    assert cells[1:5] == ["6", "**4** (3 to never)", "0, 2, 10", "20 s (10 s)"]
    assert cells[5].startswith("`scripts/train.py --model mlp --hidden 1024 512")
    assert cells[5].endswith("--data-dir DIR --seed N`")
    assert cells[6] == "0ddba11"
    assert [line for line in page.splitlines() if line.startswith("Measured")] == [
        "Measured on an abacus.",
        "Measured on a sundial.",
    ]
    assert render(page, {}).count("\n| **") == 0


def test_a_row_has_every_version_that_measured_a_part_of_it():
    page = render(PAGE, {"overfitting": {"0": run(4), "1": run(4, version="ca5cade"), "2": run(3)}})
    assert "--seed N` | 0ddba11, ca5cade |\n" in page


def test_several_metrics_of_an_experiment_are_rows_of_which_the_first_has_the_command():
    names = [metric.name for metric in EXPERIMENTS["optimizers"].metrics]
    metrics = dict(zip(names, (0.98, 0.97, 0.96, 0.95), strict=True))
    kept = {"0": {"metrics": metrics, "seconds": 1.0, "cpu_seconds": 1.0, "machine": ""}}
    rows = [line for line in render(PAGE, {"optimizers": kept}).splitlines() if line.startswith("|")][2:]
    assert [row.split(" | ")[2] for row in rows] == ["**98.00 %**", "**97.00 %**", "**96.00 %**", "**95.00 %**"]
    assert ["compare_optimizers.py" in row for row in rows] == [True, False, False, False]
    assert rows[1] == "| test accuracy with momentum | 98.06 % | **97.00 %** |  |  |  |  |"
    assert rows[0].endswith("| not recorded |")


def test_a_page_without_the_marks_is_refused(tmp_path):
    with refused(f"{tmp_path / 'results.md'}: expected a page with the lines"):
        read_page(tmp_path)
    (tmp_path / "results.md").write_text(f"{END}\n{BEGIN}\n")
    with refused(f"{tmp_path / 'results.md'}: expected a page with the lines"):
        read_page(tmp_path)
    assert read_results(tmp_path) == {}


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "[" * 100_000,
        '{"l2": []}',
        '{"l2": {}}',
        '{"l2": {"0": 7}}',
        '{"l2": {"0": {"machine": ""}}}',
        '{"none of these": []}',
    ],
)
def test_damaged_results_are_refused(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with refused(f"{path}", "the results of experiments", "got something else (", "Put back an earlier copy."):
        read_results(tmp_path)


def test_the_page_in_the_repository_shows_what_is_kept_beside_it():
    docs = Path(__file__).parents[1] / "docs"
    page = read_page(docs)
    assert render(page, read_results(docs)) == page


def test_results_survive_being_written(tmp_path):
    (tmp_path / "results.md").write_text(PAGE)
    kept = {"overfitting": {"0": run(math.inf)}}
    write_results(tmp_path, kept)
    assert read_results(tmp_path) == kept
    assert json.loads((tmp_path / "results.json").read_text()) == kept
    assert "**never**" in (tmp_path / "results.md").read_text()
