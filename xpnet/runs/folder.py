"""The folder that a run leaves behind: settings, history, weights, plots, a report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xpnet.errors import InputError
from xpnet.files import atomic_write, is_file, require_regular_file
from xpnet.runs.config import VERSIONS, RunConfig

CONFIG, HISTORY, SUMMARY, WEIGHTS = "config.json", "history.csv", "summary.json", "weights.safetensors"
EVALUATION, PLOTS, METRICS, CLASS_NAMES = "evaluation.json", "plots", "metrics.jsonl", "classes.txt"
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
START, REPORT = "start.json", "report.html"
_IN_EVERY_SUMMARY = ("device", "backend", "test_accuracy")
_MAX_CHARACTERS = 1 << 20  # a real file has about a thousand


class RunFolder:
    """Paths and files of one run."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / CONFIG
        self.history_path = self.path / HISTORY
        self.weights_path = self.path / WEIGHTS
        self.plots_path = self.path / PLOTS
        self.checkpoints_path = self.path / CHECKPOINTS
        self.metrics_path = self.path / METRICS
        self.class_names_path = self.path / CLASS_NAMES

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Make a new folder.

        Raises InputError if it holds a run already or cannot be made.
        """
        folder = cls(path)
        with _making(folder.path):
            found = [name for name in (CONFIG, HISTORY, SUMMARY, WEIGHTS) if (folder.path / name).exists()]
            found += [CHECKPOINTS] if any(folder.checkpoints_path.glob("*")) else []
        if found:
            raise InputError(
                f"Run folder {path}: expected a new folder, found {', '.join(found)} of an earlier run. "
                "Choose another folder."
            )
        with _making(folder.path):
            folder.path.mkdir(parents=True, exist_ok=True)
        return folder

    @classmethod
    def create_default(cls, model: str) -> RunFolder:
        """Make runs/<time>-<model>, with a number behind it where another run began in the same second."""
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{model}"
        number = 1
        while True:
            path = Path("runs") / (name if number == 1 else f"{name}-{number}")
            with _making(path):
                try:
                    path.mkdir(parents=True)
                except FileExistsError:
                    number += 1
                    continue
            return cls.create(path)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> RunFolder:
        """An existing run.

        Raises InputError if there are no settings or weights in it.
        """
        folder = cls(path)
        folder._check_for(folder.config_path, folder.weights_path, of="a finished run")
        return folder

    @classmethod
    def open_begun(cls, path: str | os.PathLike[str]) -> RunFolder:
        """An existing run, at whatever point it is. Raises InputError if there are no settings in it."""
        folder = cls(path)
        folder._check_for(folder.config_path, of="a run")
        return folder

    @classmethod
    def weights_in(cls, path: str | os.PathLike[str]) -> Path:
        """The weights file of a run, if that is what the path leads to; else the path."""
        return cls.open(path).weights_path if os.path.isdir(path) else Path(path)

    def make_checkpoints(self) -> None:
        """Make the folder of checkpoints. Raises InputError if it cannot be made."""
        with _making(self.path):
            self.checkpoints_path.mkdir(exist_ok=True)

    def read_config(self) -> RunConfig:
        """The settings that the run was made with. Raises InputError if the file is not one of settings."""
        with reading(self.config_path, "the settings of a run", "Use the folder of a run."):
            return RunConfig.from_json(_read_json(self.config_path))

    def write_config(self, config: RunConfig, versions: Mapping[str, str]) -> None:
        """Write everything that is needed to repeat the run, and the versions that its rounding depends on."""
        self.write_json(CONFIG, {**config.to_json(), VERSIONS: versions})

    def read_summary(self) -> dict[str, Any]:
        """The results at the end of the run. Raises InputError if the file is missing or not one of results."""
        path = self.path / SUMMARY
        with reading(path, "the results of a finished run", "Run it again."):
            summary = _read_json(path)
            missing = [name for name in _IN_EVERY_SUMMARY if name not in summary]
            if missing:
                raise ValueError(f"no {', '.join(missing)}")
            return summary

    def read_json(self, name: str) -> Any:
        """What is in a JSON file of the run. Raises InputError if it is missing, too large, or not JSON."""
        path = self.path / name
        with reading(path, "a run's JSON file", "Put back the run's file."):
            return _read_json(path)

    def write_class_names(self, names: Sequence[str]) -> None:
        """Write what the classes of the data are called, a name on each line. Raises InputError if that fails."""
        atomic_write(self.class_names_path, "".join(f"{name}\n" for name in names).encode())

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file that people can read, whole or not at all. Raises InputError if that fails."""
        atomic_write(self.path / name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

    def _check_for(self, *needed: Path, of: str) -> None:
        for path in needed:
            if not is_file(path):
                raise InputError(
                    f"Run folder {self.path}: expected the folder of {of}, found no {path.name} in it. "
                    "Use the folder of a run."
                )


@contextmanager
def _making(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"Run folder {path}: cannot be made ({error.strerror}). Choose another folder.") from error


@contextmanager
def reading(path: Path, what: str, advice: str) -> Iterator[None]:
    """Turn whatever the file leads to into one line; values of wrong types, together, can lead to any error."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(f"{path}: expected {what}, got something else ({reason}). {advice}") from error


def read_class_names(path: Path, classes: int) -> list[str]:
    """What classes are called, a name on each line of a text file.

    Raises InputError for another number of names and for one that cannot be printed, or if the file is not text.
    """
    with reading(path, f"the names of {classes} classes, one on each line", "Correct it."):
        names = _read_text(path).splitlines()
        if len(names) != classes:
            raise ValueError(f"{len(names)} lines")
        for name in names:
            if not name.isprintable():  # it could command the terminal
                raise ValueError(f"a name that cannot be printed, {name[:50]!r}")
        return names


def _read_json(path: Path) -> Any:
    return json.loads(_read_text(path))


def _read_text(path: Path) -> str:
    require_regular_file(path)
    with path.open(encoding="utf-8") as file:
        text = file.read(_MAX_CHARACTERS + 1)
    if len(text) > _MAX_CHARACTERS:
        raise ValueError(f"more than {_MAX_CHARACTERS:,} characters")
    return text
