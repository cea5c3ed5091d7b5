"""What a run's folder says about it. The folder may be in the middle of a run, damaged, or made to do harm."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.errors import InputError
from xpnet.files import is_file
from xpnet.metrics import Calibration
from xpnet.report.records import RecordReader
from xpnet.report.start import Start
from xpnet.report.values import as_count, as_number, as_share, as_texts
from xpnet.runs import RunConfig
from xpnet.runs.folder import START, SUMMARY, RunFolder, read_class_names, reading
from xpnet.runs.lock import is_held
from xpnet.training import History

_MOST_CLASSES = 1000
_MOST_BINS = 100


class State(Enum):
    """Where a run is, as people read it."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted by Ctrl-C"
    STOPPED = "stopped before its end"


@dataclass(frozen=True, eq=False)
class Results:
    """What the summary of a finished run says; None or empty where it does not."""

    test_accuracy: float
    test_loss: float | None
    seconds: float | None
    images_per_second: float | None
    weights_of_iteration: int | None
    versions: Mapping[str, str]
    confusion: np.ndarray | None
    calibration: Calibration | None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Results:
        """From what ``train`` writes. Raises LookupError, TypeError or ValueError for anything else."""
        numbers = ("test_loss", "seconds", "images_per_second")
        iteration = values.get("weights_of_iteration")
        return cls(
            test_accuracy=as_share(values["test_accuracy"]),
            weights_of_iteration=None if iteration is None else as_count(iteration),
            versions=as_texts(values.get("versions", {})),
            confusion=_as_confusion(values["confusion_matrix"]) if "confusion_matrix" in values else None,
            calibration=_as_calibration(values["calibration"]) if "calibration" in values else None,
            **{name: None if values.get(name) is None else as_number(values[name]) for name in numbers},
        )


@dataclass(frozen=True, eq=False)
class Run:
    """A run as its folder has it; ``problems`` are lines about what could not be read."""

    folder: RunFolder
    state: State
    config: RunConfig | None
    history: History
    start: Start | None = None
    results: Results | None = None
    class_names: list[str] | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.folder.path.resolve().name


def titles(folders: Sequence[RunFolder]) -> list[str]:
    """What tells runs apart: the names of their folders, or as much of their paths as differs."""
    paths = [folder.path.resolve() for folder in folders]
    names = [path.name for path in paths]
    if len(set(names)) == len(names):
        return names
    common_part = os.path.commonpath(paths)
    return [str(path.relative_to(common_part)) if path != Path(common_part) else path.name for path in paths]


def state_of(folder: RunFolder) -> State:
    """Where a run is: its lock is held as long as it goes on, and its summary is written at the end.

    Raises InputError if the folder cannot be read.
    """
    held, has_summary = is_held(folder.path), is_file(folder.path / SUMMARY)
    if held or (held is None and not has_summary):
        return State.RUNNING
    if not has_summary:
        return State.STOPPED
    try:
        summary = folder.read_json(SUMMARY)
    except InputError:
        return State.FINISHED
    return State.INTERRUPTED if isinstance(summary, dict) and summary.get("interrupted") is True else State.FINISHED


def read_run(folder: RunFolder, state: State, records: RecordReader | None = None) -> Run:
    """All that a run's folder says; of one that goes on, not the results of an earlier end.

    ``records`` is a reader that has read some of them already.
    """
    problems: list[str] = []

    def attempt(read: Any) -> Any:
        try:
            return read()
        except InputError as error:
            problems.append(str(error))
            return None

    records = records or RecordReader(folder.metrics_path)
    records.update()
    config = attempt(folder.read_config)
    start = attempt(lambda: _read(folder, START, Start.from_json))
    has_results = state in (State.FINISHED, State.INTERRUPTED)
    results = attempt(lambda: _read(folder, SUMMARY, Results.from_json)) if has_results else None
    names = None
    if results and results.confusion is not None and is_file(folder.class_names_path):
        names = attempt(lambda: read_class_names(folder.class_names_path, len(results.confusion)))
    if records.broken:
        problems.append(f"{folder.metrics_path}: {records.broken:,} lines are not records of a run, and are left out.")
    if not records.is_complete:
        problems.append(f"{folder.metrics_path}: is read in parts; the rest is still to come.")
    history = records.history(start.batches_per_epoch if start else None)
    return Run(folder, state, config, history, start, results, names, problems)


def _read(folder: RunFolder, name: str, parse: Any) -> Any:
    """The content of one of the run's files; None where there is no such file."""
    path = folder.path / name
    if not is_file(path):
        return None
    content = folder.read_json(name)
    with reading(path, "what a run wrote", "Put back the run's file."):
        return parse(content)


def _as_confusion(rows: Any) -> np.ndarray:
    if not isinstance(rows, list) or not 0 < len(rows) <= _MOST_CLASSES or any(len(row) != len(rows) for row in rows):
        raise ValueError(f"the confusion matrix is not square, or of more than {_MOST_CLASSES} classes")
    return np.asarray([[as_count(count) for count in row] for row in rows], np.int64)


def _as_calibration(bins: Any) -> Calibration:
    counts, confidence, accuracy = (list(bins[name]) for name in Calibration._fields)
    if not 0 < len(counts) <= _MOST_BINS or not len(counts) == len(confidence) == len(accuracy):
        raise ValueError("the bins of the calibration are not of one number")
    return Calibration(
        np.asarray([as_count(count) for count in counts], np.int64),
        np.asarray([as_share(value) for value in confidence]),
        np.asarray([as_share(value) for value in accuracy]),
    )
