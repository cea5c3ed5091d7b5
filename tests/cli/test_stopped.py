"""The report of runs that end before their test."""

import os
import re
import signal

import pytest

from tests.report.html import Page
from xpnet.cli import report, train
from xpnet.report import page
from xpnet.training import Trainer

REST = ["results", "curves", "layers", "settings", "timing", "versions"]


@pytest.fixture
def flags(digits_folder, tmp_path, monkeypatch):
    """Of a run that reports every ten iterations, and is asked to end in the 25th if it comes that far."""

    def rate(self, step):
        if step == 25:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(self, step)

    real = Trainer._rate
    monkeypatch.setattr(Trainer, "_rate", rate)
    flags = ["--data-dir", str(digits_folder), "--report-every", "10", "--threads", "1", "--no-malloc-tuning"]
    return [*flags, "--quiet", "--out", str(tmp_path / "run")]


def sections(folder):
    return re.findall(r'<section id="(\w+)"', (folder / "report.html").read_text(encoding="utf-8"))


def test_sigterm_leaves_a_checkpoint_and_then_a_report_of_what_there_is(flags, tmp_path, monkeypatch):
    write, found = page.write, []

    def written(*arguments):
        found.extend((tmp_path / "run" / "checkpoints").iterdir())
        write(*arguments)

    monkeypatch.setattr(page, "write", written)
    with pytest.raises(SystemExit) as end:
        train.main(flags)
    assert end.value.code == 143
    assert found
    assert sections(tmp_path / "run") == REST
    text = Page((tmp_path / "run" / "report.html").read_text(encoding="utf-8")).text
    assert "stopped before its end, iteration 20" in text
    (tmp_path / "run" / "report.html").unlink()
    assert report.main([str(tmp_path / "run")]) == 0
    assert sections(tmp_path / "run") == REST


def test_a_report_that_cannot_be_written_leaves_the_exit_code(flags, tmp_path, capsys):
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    with pytest.raises(SystemExit) as end:
        train.main(flags)
    assert end.value.code == 143
    assert "report.html" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train.main([*flags[:-1], str(tmp_path / "without"), "--no-plots"])
    assert not (tmp_path / "without" / "report.html").exists()


def test_a_diverged_run_has_a_report_that_says_why(flags, tmp_path, capsys):
    assert train.main([*flags, "--lr", "1e30"]) == 1
    error = capsys.readouterr().err.removeprefix("error: ").strip()
    content = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert error
    assert error in Page(content).text
    assert {"layers", "settings", "versions"} <= set(sections(tmp_path / "run"))
    assert report.main([str(tmp_path / "run")]) == 0
