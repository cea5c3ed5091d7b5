"""Checkpoints on disks that are full, read-only, or gone; the run itself must not suffer."""

import dataclasses
import errno
import json
import math
import os
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from tests.helpers import refused
from tests.training.runs import AfterStep, StopAfter, timeless
from xpnet import kernels
from xpnet.errors import InputError
from xpnet.runs import RunConfig
from xpnet.runs import checkpoint as checkpoint_module
from xpnet.runs.checkpoint import CheckpointPlan, CheckpointWriter, load, load_newest, resume, resumed_config, save
from xpnet.runs.folder import RunFolder
from xpnet.runs.records import HistoryFile
from xpnet.runs.settings import make_run
from xpnet.serialization import read_tensors, write_tensors
from xpnet.training import Callback

NOBODY = 65534


RUN = make_run("mlp", iterations=12, report_every=5, batch_size=30, hidden=(6,), batch_norm=True)


@pytest.fixture
def trainer(digits):
    return RUN.make_trainer(digits)


@pytest.fixture
def make_writer(tmp_path):
    """Makes the writer of a run, every three iterations unless told otherwise, in the folder ``run``."""
    histories = []

    def make(**plan):
        folder = RunFolder.create(tmp_path / "run")
        folder.make_checkpoints()
        histories.append(HistoryFile(tmp_path / "run" / "history.csv"))
        plan = CheckpointPlan(**(plan or {"every": 3}))
        return CheckpointWriter(folder, RUN, histories[0], plan)

    yield make
    for history in histories:
        history.close()


def written(tmp_path):
    return sorted(int(path.stem[-9:]) for path in tmp_path.glob("run/checkpoints/iteration-*"))


@contextmanager
def full_disk(path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


@contextmanager
def read_only(path, monkeypatch):
    """For root, whom permissions do not stop, as another user."""
    path.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        for folder in (path, *path.parents):
            if not os.stat(folder).st_mode & 1:
                pytest.skip(f"another user cannot get through {folder}")
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        path.chmod(0o755)


@contextmanager
def vanished(path, monkeypatch):
    away = path.with_name("away")
    path.rename(away)
    try:
        yield
    finally:
        away.rename(path)


@pytest.fixture
def open_tmp_path(tmp_path):
    """The folder and those of this test run around it, passable for other users."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(folder.stat().st_mode | 0o555)
    return tmp_path


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (full_disk, "cannot be written (No space left on device)"),
        (read_only, "cannot be written (Permission denied)"),
        (vanished, "cannot be written (No such file or directory)"),
    ],
)
def test_a_failed_checkpoint_costs_nothing_but_itself(
    trainer, digits, open_tmp_path, make_writer, monkeypatch, trouble, message
):
    """The good one stays, nothing else is left, and the run goes on to the end it would have had."""
    writer, folder = make_writer(), open_tmp_path / "run" / "checkpoints"

    class Troubled(Callback):
        def on_begin(self, trainer):
            writer.on_begin(trainer)

        def on_step(self, trainer):
            with trouble(folder, monkeypatch) if trainer.iteration == 6 else nullcontext():
                writer.on_step(trainer)

    with pytest.raises(InputError) as caught:
        trainer.run([Troubled()])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.iterdir()] == ["iteration-000000003.safetensors"]
    assert load(folder / "iteration-000000003.safetensors").snapshot.progress.iteration == 3

    records = timeless(trainer.run([writer]))
    assert written(open_tmp_path) == [3, 9, 12]
    alone = RUN.make_trainer(digits)
    assert records == timeless(alone.run())
    np.testing.assert_array_equal(trainer.network.theta, alone.network.theta)


def test_the_newest_are_kept(trainer, tmp_path, make_writer):
    trainer.run([make_writer(every=1, keep=2)])
    assert written(tmp_path) == [11, 12]


def test_by_the_clock(trainer, tmp_path, make_writer, monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)

    def wait(iteration):
        nonlocal now
        now += 50

    trainer.run([AfterStep(wait), make_writer(minutes=2.0)])
    assert written(tmp_path) == [6, 9, 12]  # and 3, which is not kept


def test_what_is_kept_is_never_what_cannot_be_read(trainer, digits, tmp_path, make_writer):
    """A damaged checkpoint of a later iteration must not push out the one that the run goes on from."""
    writer = make_writer(every=3, keep=1)
    damaged = tmp_path / "run" / "checkpoints" / "iteration-000000099.safetensors"
    damaged.write_bytes(b"torn")
    trainer.run([writer, StopAfter(6)])
    assert written(tmp_path) == [6, 99]
    newest = load_newest(RunFolder(tmp_path / "run"))
    assert newest is not None
    assert newest.checkpoint.snapshot.progress.iteration == 6
    assert [str(error).split(":")[0] for error in newest.unreadable] == [f"Checkpoint {damaged}"]


def test_the_history_is_on_the_disk_before_the_checkpoint_that_follows_it(trainer, tmp_path, make_writer, monkeypatch):
    seen = []
    monkeypatch.setattr(HistoryFile, "sync", lambda self: seen.append(written(tmp_path)))
    trainer.run([make_writer()])
    assert seen == [[], [3], [3, 6], [3, 6, 9]]


def test_a_record_out_of_turn_is_not_the_best(trainer, tmp_path, make_writer):
    """It is not in a resumed run, so its weights must not be either."""
    writer, best = make_writer(every=100), tmp_path / "run" / "checkpoints" / "best.safetensors"
    trainer.run([writer, StopAfter(3)])
    assert not best.exists()
    trainer.run([writer])
    assert best.exists()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"every": 0}, "Checkpoints: expected number of iterations between two to be an integer of at least 1"),
        ({"minutes": 0.0}, "Checkpoints: expected a finite number of minutes between two"),
        ({"keep": 0}, "Checkpoints: expected number to keep to be an integer of at least 1"),
    ],
)
def test_plans_that_make_no_sense(plan, message):
    with refused(message):
        CheckpointPlan(**plan)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("iteration", "12"),
        ("iteration", -1),
        ("reported", 13),
        ("examples_seen", None),
        ("seconds", "soon"),
        ("seconds", math.nan),
        ("training_seconds", 1e-300),
        ("training_seconds", -1),
        ("examples_seen", 10**400),
        ("loss", [math.nan, 3]),
        ("score", [0.5, -5]),
        ("plateau", [0.5, 1, math.inf]),
        ("plateau", [math.nan, 1, 1.0]),
        ("best", [1, *[math.nan] * 8]),
        ("loss", [1.0]),
        ("score", 3),
        ("plateau", {}),
        ("best", 5),
        ("extra", 1),
        ("a line\nbreak", 1),
    ],
)
def test_a_header_that_makes_no_sense(trainer, tmp_path, name, value):
    path = tmp_path / "checkpoint.safetensors"
    trainer.run()
    save(path, trainer, RUN)
    tensors, header = read_tensors(path)
    assert load(path).snapshot.progress == trainer.snapshot().progress
    header["progress"][name] = value
    write_tensors(path, tensors, header)
    with refused(f"Checkpoint {path}: its header is not one of this version ("):
        load(path)


def test_where_and_how_long_may_change_and_nothing_else():
    config = make_run("mlp", iterations=12)
    changed = resumed_config(config, {"device": "cuda", "backend": "torch", "data_dir": "/x", "epochs": 3})
    assert (changed.runtime.device, changed.runtime.backend, changed.data_dir) == ("cuda", "torch", "/x")
    assert (changed.train.iterations, changed.train.epochs) == (None, 3)
    for backend, expected in {"numpy": None, "cupy": None, "torch": "torch"}.items():
        on = make_run("mlp", iterations=12, backend=backend)
        assert resumed_config(on, {"device": "cuda"}).runtime.backend == expected
        assert resumed_config(on, {"iterations": 9}).runtime.backend == backend
    with refused("expected the run's own seed (0), got 1"):
        resumed_config(config, {"seed": 1})
    with refused("expected the run's own hidden"):
        resumed_config(config, {"hidden": [9]})
    cosine = make_run("mlp", epochs=3, schedule="cosine")
    assert resumed_config(cosine, {"epochs": 3}) == cosine
    with refused("expected the run's own 3 epochs", "cosine"):
        resumed_config(cosine, {"epochs": 4})


@pytest.mark.parametrize("as_given", [list, tuple])
def test_the_runs_own_settings_may_be_said_again(as_given):
    config = make_run("mlp", hidden=(8, 9), data="folder", image_size=(8, 8), freeze=("a*",))
    config = RunConfig.from_json(json.loads(json.dumps(config.to_json())))
    again = {"hidden": as_given((8, 9)), "image_size": as_given((8, 8)), "freeze": as_given(("a*",)), "device": None}
    assert resumed_config(config, again) == config


def test_other_data_are_told_by_their_labels(trainer, digits, tmp_path, make_writer):
    trainer.run([make_writer()])
    newest = load_newest(RunFolder(tmp_path / "run"))
    assert newest is not None
    half = {name: getattr(digits, name)[:, ::2, ::2] for name in ("train_inputs", "test_inputs")}
    for changes in ({"train_targets": digits.train_targets[::-1]}, {"class_names": digits.class_names[::-1]}, half):
        other = RUN.make_trainer(dataclasses.replace(digits, **changes))
        with refused(f"Checkpoint {newest.path}", "the training data that the run began with"):
            resume(other, RUN, newest.path, newest.checkpoint)
    assert resume(RUN.make_trainer(digits), RUN, newest.path, newest.checkpoint) == []


def test_another_number_of_threads_or_another_blas_is_told(trainer, tmp_path, monkeypatch, digits):
    trainer.run()
    save(tmp_path / "c.safetensors", trainer, RUN)
    monkeypatch.setattr(checkpoint_module, "blas", lambda: [{"library": "openblas", "version": "0.1", "kernel": "Z80"}])
    monkeypatch.setattr(kernels, "in_use", lambda: {"kernels": "pure"})
    monkeypatch.setattr(checkpoint_module, "threads_in_use", lambda backend: 64)
    path = tmp_path / "c.safetensors"
    changed = resume(RUN.make_trainer(digits), RUN, path, load(path))
    assert [text.split()[0] for text in changed] == ["BLAS", "kernels", "threads"]
    assert changed[0].endswith("openblas 0.1 Z80 now")


def test_checkpoints_that_cannot_be_listed_are_not_taken_for_none(trainer, tmp_path, make_writer):
    trainer.run([make_writer()])
    folder = RunFolder(tmp_path / "run")
    (folder.checkpoints_path / "iteration-backup.safetensors").write_bytes(b"")  # somebody's own
    assert load_newest(folder).path.name == "iteration-000000012.safetensors"
    folder.checkpoints_path.rename(tmp_path / "elsewhere")
    with refused(f"{folder.checkpoints_path}", "the folder of the run's checkpoints, got: No such file"):
        load_newest(folder)
    folder.checkpoints_path.symlink_to(tmp_path / "not mounted")
    with refused(f"{folder.checkpoints_path}", "the folder of the run's checkpoints, got: No such file"):
        load_newest(folder)
