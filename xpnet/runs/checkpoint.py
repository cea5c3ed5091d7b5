"""Checkpoints: files from which a run goes on, written as it goes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xpnet import kernels
from xpnet.backend import Array
from xpnet.checks import check_above_zero
from xpnet.datasets import Dataset
from xpnet.errors import InputError
from xpnet.files import check_held, remove_partial
from xpnet.layers.base import State
from xpnet.provenance import blas, versions
from xpnet.runs.config import RunConfig
from xpnet.runs.folder import RunFolder
from xpnet.runs.records import HistoryFile
from xpnet.runs.settings import flatten
from xpnet.runtime import Runtime, threads_in_use
from xpnet.schedules import depends_on_length
from xpnet.serialization import read_tensors, write_tensors
from xpnet.shapes import check_positive
from xpnet.training.callbacks import Callback
from xpnet.training.history import Record
from xpnet.training.snapshot import Progress, Snapshot
from xpnet.training.trainer import Trainer

FORMAT_VERSION = 3  # 2 had every setting of optimizers and schedules beside the others
BEST = "best.safetensors"

_log = logging.getLogger(__name__)
# Settings that a resumed run may have of its own: where it computes, and for how long.
_PLACE = [field.name for field in dataclasses.fields(Runtime) if field.name not in ("dtype", "precision")]
_LENGTH = {"iterations", "epochs"}


class Checkpoint(NamedTuple):
    """What a checkpoint holds: the snapshot, the run's settings, and what it was made on.

    ``data`` tells other training data apart; ``made_on`` are the device and the versions that results depend on.
    """

    snapshot: Snapshot
    config: RunConfig
    data: str
    made_on: Mapping[str, str]


def save(path: Path, trainer: Trainer, config: RunConfig) -> None:
    """Write the state of a run's trainer to a safetensors file, whole or not at all.

    Raises InputError if it cannot be written.
    """
    snapshot = trainer.snapshot()
    header = {
        "checkpoint": FORMAT_VERSION,
        "config": config.to_json(),
        "data": _fingerprint(_dataset_of(trainer)),
        "made_on": _made_on(trainer),
        "progress": snapshot.progress._asdict(),
    }
    write_tensors(path, snapshot.tensors, header, what="Checkpoint")


def load(path: Path) -> Checkpoint:
    """Read what ``save`` wrote.

    Raises InputError if the file is not a checkpoint, damaged, or of another version of the format.
    """
    tensors, header = read_tensors(path, what="Checkpoint")
    if header.get("checkpoint") != FORMAT_VERSION:
        found = f"version {header['checkpoint']!r}" if "checkpoint" in header else "a file of weights"
        raise InputError(
            f"Checkpoint {path}: expected a checkpoint of format version {FORMAT_VERSION}, got {found}. "
            "Use the xpnet version that wrote it."
        )
    try:
        snapshot = Snapshot(tensors, Progress.from_json(header["progress"]))
        made_on = {str(name): str(value) for name, value in header["made_on"].items()}
        return Checkpoint(snapshot, RunConfig.from_json(header["config"]), header["data"], made_on)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(  # whose names may have line breaks
            f"Checkpoint {path}: its header is not one of this version ({error!r}). Use the version that wrote it."
        ) from error


class Newest(NamedTuple):
    """A run's newest checkpoint that can be read, and what is wrong with those after it."""

    path: Path
    checkpoint: Checkpoint
    unreadable: list[InputError]


def load_newest(folder: RunFolder) -> Newest | None:
    """A run's newest checkpoint that can be read; None if there is none yet.

    Raises the newest one's InputError if none can be read.
    """
    unreadable: list[InputError] = []
    for path in reversed(_checkpoints(folder)):
        try:
            return Newest(path, load(path), unreadable)
        except InputError as error:
            unreadable.append(error)
    if unreadable:
        raise unreadable[0]
    return None


def resumed_config(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """The settings of a run that goes on: its own, but for flat settings of where it computes and for how long.

    Raises InputError for any other change, and for another length of a cosine, whose past steps it would have changed.
    """
    train, runtime = config.train, config.runtime
    own = {**{name: getattr(runtime, name) for name in _PLACE}, **{name: getattr(train, name) for name in _LENGTH}}
    own["data_dir"] = config.data_dir
    flat = {**flatten(config), **own}
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    flat = {name: tuple(value) if isinstance(value, list) else value for name, value in flat.items()}
    changes = {name: value for name, value in changes.items() if value != flat.get(name)}
    for name, value in changes.items():
        if name not in own:
            raise InputError(f"Resuming: expected the run's own {name} ({flat.get(name)}), got {value}. Leave it out.")
    if _LENGTH & changes.keys():
        if depends_on_length(train.schedule):
            raise InputError(
                f"Resuming: expected the run's own {train.iterations or train.epochs} "
                f"{'iterations' if train.iterations else 'epochs'}, on which its cosine schedule depends, got another "
                "length. Leave it out."
            )
        length = {name: changes.get(name) for name in _LENGTH}
        train = dataclasses.replace(train, **length)
    if "device" in changes and runtime.backend in ("numpy", "cupy"):  # each is the default of its own devices only
        changes = {"backend": None, **changes}
    if {"device", "backend"} & changes.keys():
        changes = {"threads": None, **changes}
    runtime = dataclasses.replace(runtime, **{name: changes[name] for name in _PLACE if name in changes})
    return dataclasses.replace(config, train=train, runtime=runtime, data_dir=changes.get("data_dir", config.data_dir))


def resume(trainer: Trainer, config: RunConfig, path: Path, checkpoint: Checkpoint) -> list[str]:
    """Let a trainer go on from a checkpoint; returns what is different now, so that results may differ in rounding.

    Raises InputError if the checkpoint is of another network, naming the first tensor that differs, of other settings,
    or of other data.
    """
    if checkpoint.data != _fingerprint(_dataset_of(trainer)):
        raise InputError(
            f"Checkpoint {path}: expected the training data that the run began with, got other labels, names of "
            f"classes or image sizes in {_dataset_of(trainer).name}. Set its folder: data_dir."
        )
    trainer.restore(checkpoint.snapshot, source=f"Checkpoint {path}")
    ours, theirs = _lasting_settings(config), _lasting_settings(checkpoint.config)
    for name in ours:
        if ours[name] != theirs[name]:
            raise InputError(
                f"Checkpoint {path}: expected {name} to be {ours[name]} as in the run's settings, got {theirs[name]}. "
                "Put back the run's own files."
            )
    here, there = _made_on(trainer), {"ranks": "1", **checkpoint.made_on}  # which said nothing about one
    return [
        f"{name} {there.get(name, 'unused')} before, {here[name]} now" for name in here if here[name] != there.get(name)
    ]


@dataclass(frozen=True)
class CheckpointPlan:
    """When checkpoints are written: every so many iterations, if given, and every so many minutes; how many are kept.

    Raises InputError if a setting is out of range.
    """

    every: int | None = None
    minutes: float = 5.0
    keep: int = 3

    def __post_init__(self) -> None:
        if self.every is not None:
            check_positive("Checkpoints", "number of iterations between two", self.every)
        check_above_zero("Checkpoints", "number of minutes between two", self.minutes, "Try 5.")
        check_positive("Checkpoints", "number to keep", self.keep)


class CheckpointWriter(Callback):
    """Writes a run's checkpoints as planned and at its end.

    ``best.safetensors``, which ``Network.load`` reads, has the weights of the best validation score before the newest
    checkpoint. ``history`` is the file of the run's records, which is written first.
    """

    def __init__(self, folder: RunFolder, config: RunConfig, history: HistoryFile, plan: CheckpointPlan) -> None:
        self._folder, self._config = folder, config
        self._history, self._plan = history, plan
        self._best_score = -math.inf
        self._new_best: tuple[Array, State] | None = None
        self._written_at, self._written_iteration = time.monotonic(), 0
        remove_partial(folder.checkpoints_path, "*.safetensors")

    def on_begin(self, trainer: Trainer) -> None:
        """Go by what was recorded and written before the run was resumed."""
        self._best_score = max((record.monitored for record in trainer.history), default=-math.inf)
        self._written_at, self._written_iteration = time.monotonic(), trainer.iteration

    def on_step(self, trainer: Trainer) -> None:
        """Write a checkpoint if it is time for one. Raises InputError if it cannot be written."""
        iteration = trainer.iteration
        is_due = self._plan.every is not None and iteration % self._plan.every == 0
        is_last = iteration == trainer.iterations
        is_time = time.monotonic() - self._written_at >= self._plan.minutes * 60
        if trainer.group.largest(is_due or is_last or is_time):
            self.write(trainer)

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Remember the network's values if they are the best so far."""
        if record.iteration == trainer.progress.reported and record.monitored > self._best_score:
            network = trainer.network
            self._best_score, self._new_best = record.monitored, (network.theta, network.state)

    def on_end(self, trainer: Trainer) -> None:
        """Write the last checkpoint."""
        self.write(trainer)

    def write(self, trainer: Trainer) -> None:
        """Write the state of this moment, and what is the best so far. Raises InputError if that fails."""
        folder = self._folder.checkpoints_path
        if self._new_best:  # first: of a run that is killed in between, the checkpoint repeats the record
            trainer.network.save(folder / BEST, values=self._new_best)
            self._new_best = None
        if trainer.iteration == self._written_iteration:
            return
        self._history.sync()  # or after a power failure the checkpoint might follow records that are lost
        path = folder / f"iteration-{trainer.iteration:09d}.safetensors"
        save(path, trainer, self._config)
        self._written_at, self._written_iteration = time.monotonic(), trainer.iteration
        _log.info("wrote %s", path)
        check_held(path)
        # Not one of a later iteration: it could not be read, or the run would have begun there.
        for old in [other for other in _checkpoints(self._folder) if other <= path][: -self._plan.keep]:
            old.unlink(missing_ok=True)


def _checkpoints(folder: RunFolder) -> list[Path]:
    """A run's checkpoints, the oldest first; a folder that cannot be listed is not one without any."""
    path = folder.checkpoints_path
    try:
        names = os.listdir(path)
    except OSError as error:
        raise InputError(
            f"{path}: expected the folder of the run's checkpoints, got: {error.strerror}. Put it back."
        ) from error
    return [path / name for name in sorted(names) if re.fullmatch(r"iteration-\d{9,}\.safetensors", name)]


def _lasting_settings(config: RunConfig) -> dict[str, Any]:
    """Those that a run keeps, as they are when they have been through JSON: by their flat names, and then whatever has
    none.
    """
    other = {*_LENGTH, *_PLACE, "data_dir"}
    settings = config.to_json()
    for part in ("train", "runtime"):
        settings[part] = {name: value for name, value in settings[part].items() if name not in other}
    del settings["data_dir"]
    flat = {name: value for name, value in flatten(config).items() if name not in other}
    return json.loads(json.dumps({**flat, "settings": settings}))


def _made_on(trainer: Trainer) -> dict[str, str]:
    backend = trainer.network.backend
    products = ", ".join(" ".join(map(str, library.values())) for library in blas())
    place = {"backend": backend.name, "device": backend.device_name()}
    in_use = {**kernels.in_use(), "threads": str(threads_in_use(backend))}
    return {**place, "ranks": str(trainer.group.size), **versions(backend), "BLAS": products, **in_use}


def _dataset_of(trainer: Trainer) -> Dataset:
    """What a trainer learns from. Raises InputError for batches, which nobody could begin again in the middle of."""
    if not isinstance(trainer.dataset, Dataset):
        raise InputError("Checkpoint: expected a training on a data set, got one on batches. Use arrays or files.")
    return trainer.dataset


def _fingerprint(dataset: Dataset) -> str:
    """What differs for other images, or the same ones in another order, as far as labels, names and sizes show it."""
    digest = hashlib.sha256(repr((dataset.input_shape, dataset.class_names, len(dataset.train_targets))).encode())
    digest.update(dataset.train_targets.astype("<i4").tobytes())
    return digest.hexdigest()
