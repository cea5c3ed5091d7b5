"""``xpnet search`` started by ``mpiexec``: every trial by all ranks, the study by the first."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import pytest

from tests.parallel.launching import command, needs_mpi, run, start, torchrun
from xpnet.cli.search import main

pytest.importorskip("optuna")
pytestmark = needs_mpi
SEARCH = ("search", "--sampler", "random", "--limit", "500", "--epochs", "2", "--batch-size", "50")
MODEL = ("--hidden", "8", "--dropout", "0", "0.3", "--weight-decay", "0")
TWO_IMAGES = 0.101  # per cent of the 2,000 for validation, which rounding may decide
TRIAL = re.compile(r"^trial (\d+) +(.*\S)  (?:(\S+)%)? ?(\w+)$", re.MULTILINE)


def search(*commands: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Two ranks with the same words, or each with its own."""
    ranks = 2 // len(commands)
    return run(*(command(ranks, *words, module="xpnet") for words in commands), cwd=cwd)


def test_two_ranks_find_what_one_process_does(tmp_path, capsys):
    words = (*SEARCH, *MODEL, "--lr", "0.005", "0.5", "--trials", "8", "--seed", "1")
    assert main([*words[1:], "--out", str(tmp_path / "one")]) == 0
    one = TRIAL.findall(capsys.readouterr().out)
    done = search((*words, "--out", "two"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    two = TRIAL.findall(done.stdout)
    assert len(two) == 8
    assert {trial[-1] for trial in one} == {"complete", "pruned"}
    for (*same, accuracy, state), (*ours, our_accuracy, our_state) in zip(one, two, strict=True):
        assert (ours, our_state) == (same, state)
        assert float(our_accuracy) == pytest.approx(float(accuracy), abs=TWO_IMAGES)
    assert done.stdout.count("Repeat it with") == 1
    assert "--parallel" not in done.stdout
    assert (tmp_path / "two" / "search.png").exists()


def test_a_diverged_trial_ends_on_all_ranks_and_the_search_goes_on(tmp_path):
    words = ("--sampler", "grid", "--hidden", "8", "--dropout", "0", "--weight-decay", "0", "--lr", "1e38", "0.1")
    done = search((*SEARCH, *words, "--out", "out"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [trial[-1] for trial in TRIAL.findall(done.stdout)] == ["diverged", "complete"]


def test_ranks_by_themselves_share_a_study(tmp_path):
    done = search((*SEARCH, *MODEL, "--trials", "2", "--parallel", "none", "--out", "out"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(int(number) for number, *_ in TRIAL.findall(done.stdout)) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (["--lr-range-test"], ["--lr-range-test"], "expected one process with --lr-range-test"),
        (["--dropout-vs-l2"], ["--dropout-vs-l2"], "got 2 ranks"),
        (["--storage", "nowhere://x"], ["--storage", "nowhere://x"], "nowhere://x: cannot be used"),
        (["--lr", "0.1"], ["--lr", "x"], "Rank 1: argument --lr"),
        (["--seed", "0"], ["--seed", "1"], "Rank 1: expected --seed to be that of rank 0, 0, got 1"),
    ],
)
def test_bad_input_is_one_line_and_ends_all(tmp_path, first, second, words):
    done = search((*SEARCH, *first), (*SEARCH, *second), cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_sigterm_ends_all_and_the_study_goes_on(tmp_path):
    words = (*SEARCH, *MODEL, "--out", "out", "--trials")
    with start(command(2, *words, "100000", module="xpnet"), cwd=tmp_path) as process:
        assert process.stdout
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: the study keeps" in out
    done = search((*words, "1"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert first.startswith("trial 0 ")
    assert int(TRIAL.findall(done.stdout)[0][0]) > 0


def test_ranks_of_torchrun_search_together(tmp_path):
    pytest.importorskip("torch")
    done = torchrun("-m", "xpnet", *SEARCH, *MODEL, "--backend", "torch", "--trials", "2", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert [int(number) for number, *_ in TRIAL.findall(done.stdout)] == [0, 1]
