"""The report that training writes, and the program that writes it again."""

import json
import re
import shutil

import pytest

from xpnet.cli import report, train
from xpnet.cli.train_flags import command_text
from xpnet.runs.folder import RunFolder


def sections(folder):
    return re.findall(r'<section id="(\w+)"', (folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def run(finished_run, tmp_path):
    """A finished run that may be changed."""
    return shutil.copytree(finished_run[0], tmp_path / "run")


def test_training_writes_the_report_that_the_program_writes_again(run, capsys):
    assert sections(run) == [
        *("results", "curves", "confusion", "classes", "mistakes", "calibration", "filters", "layers"),
        *("settings", "timing", "versions"),
    ]
    by_training = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert report.main([str(run)]) == 0
    assert capsys.readouterr().out == f"The report is in {run / 'report.html'}\n"
    assert (run / "report.html").read_bytes() == by_training
    command = command_text(RunFolder(run).read_config())
    assert command in re.sub(r"</?span>", "", by_training.decode())


def test_without_plots_there_is_no_report(digits_folder, tmp_path):
    flags = ["--data-dir", str(digits_folder), "--iterations", "2", "--threads", "1", "--no-malloc-tuning", "--quiet"]
    assert train.main([*flags, "--no-plots", "--out", str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run" / "report.html").exists()
    start = json.loads((tmp_path / "run" / "start.json").read_text())
    assert (start["iterations"], start["training_examples"], start["batches_per_epoch"]) == (2, 360, 23)
    assert sum(layer["parameters"] for layer in start["layers"]) == 14_682
    assert {layer["name"]: layer["multiplications"] for layer in start["layers"]}["conv1"] == 28 * 28 * 16 * 25


def test_a_run_without_its_data_or_before_its_end_has_a_report_of_the_rest(run, capsys):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"data_dir": "/nonexistent"}))
    assert report.main([str(run)]) == 0
    assert "without images and filters" in capsys.readouterr().err
    assert "confusion" in sections(run)
    assert not {"mistakes", "filters"} & set(sections(run))
    (run / "summary.json").unlink()
    assert report.main([str(run)]) == 0
    assert capsys.readouterr().err == ""
    assert sections(run) == ["results", "curves", "layers", "settings", "timing", "versions"]


def test_several_runs_are_in_the_folder_of_the_first(run, finished_run):
    assert report.main([str(run), str(finished_run[0])]) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<h1>2 runs</h1>" in text
    assert 'class="differs"' not in text  # it is a copy


@pytest.mark.parametrize("content", [None, "{}", "<script>"])
def test_what_is_not_a_run_is_one_line(tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert report.main([str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path) in line
    assert not (tmp_path / "report.html").exists()
