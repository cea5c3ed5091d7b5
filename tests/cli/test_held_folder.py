"""Run folders that are renamed, replaced or deleted while their run goes on."""

import shutil

import pytest

from tests.reliability.kill import differences, training
from xpnet.cli.train import main

OUTPUT = ["--checkpoint-every", "6", "--no-plots", "--quiet", "--no-malloc-tuning"]


@pytest.fixture(scope="module")
def flags(digits_folder):
    """A run that takes a moment and reports every ten iterations."""
    return ["--data-dir", str(digits_folder), "--model", "mlp", "--hidden", "8", "--report-every", "10"]


@pytest.fixture(scope="module")
def whole(flags, tmp_path_factory):
    """The run left alone."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*flags, "--out", str(folder), "--iterations", "60", *OUTPUT]) == 0
    return folder


def renamed(run):
    run.rename(run.with_name("old"))


def replaced_by_another_run(run):
    renamed(run)
    shutil.copytree(run.with_name("old"), run)
    for path in run.rglob("*.safetensors"):
        path.unlink()


def replaced_by_a_link(run):
    renamed(run)
    shutil.copytree(run.with_name("old"), run.with_name("other"))
    run.symlink_to("other")


def unlocked(run):
    (run / ".lock").unlink()


def locked_by_another(run):
    unlocked(run)
    (run / ".lock").touch()


def checkpoints_replaced(run):
    (run / "checkpoints").rename(run / "old")
    shutil.copytree(run / "old", run / "checkpoints")


BLOWS = [renamed, replaced_by_another_run, replaced_by_a_link, unlocked, locked_by_another, checkpoints_replaced]
RECORD = "\nfrom xpnet.training import Trainer as owner; name, when = '_record', lambda self: self.iteration == 40"
CHECKPOINT = "\nfrom xpnet.runs import checkpoint as owner; name, when = 'save', lambda path, *_: '36' in path.name"
RESULTS = "\nfrom xpnet.cli import train as owner; name, when = '_test', lambda *_: True"


def files_in(folder):
    """Their names and sizes."""
    return sorted(f"{path}:{path.stat().st_size}" for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("moment", [RECORD, CHECKPOINT, RESULTS], ids=["record", "checkpoint", "results"])
@pytest.mark.parametrize("blow", BLOWS, ids=[blow.__name__ for blow in BLOWS])
def test_a_run_writes_to_the_folder_that_it_holds_or_not_at_all(flags, whole, tmp_path, blow, moment):
    """The blow falls before a record, in a checkpoint that is being written, or before the results of the test."""
    run, old = tmp_path / "run", tmp_path / "old"
    prelude = f"""{moment}
import sys; from pathlib import Path; from tests.cli import test_held_folder as tests
real = getattr(owner, name)
def struck(*arguments):
    if when(*arguments):
        tests.{blow.__name__}(Path({str(run)!r}))
        print(*tests.files_in(Path({str(run)!r})), sep="\\n", flush=True)
    return real(*arguments)
setattr(owner, name, struck)
"""
    process = training(*flags, "--iterations", "60", "--out", run, *OUTPUT, prelude=prelude)
    there, error = process.communicate(timeout=60)
    assert process.returncode == 2, error
    assert error.count("\n") == 1
    assert f"error: {run}: expected the folder that this run holds, found " in error
    if blow in (renamed, replaced_by_another_run, replaced_by_a_link):
        assert there.split() == files_in(run)  # nothing of the run is in another's folder
        run = old
    elif blow is checkpoints_replaced:
        shutil.rmtree(run / "checkpoints")
        (run / "old").rename(run / "checkpoints")
    assert main(["--resume", str(run), *OUTPUT]) == 0
    assert differences(run, whole) == []
