"""The figures of a run as it goes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from xpnet.errors import InputError
from xpnet.files import require_regular_file, writing

_LONGEST_LINE = 1000  # in bytes; a real one has about a hundred


class Record(NamedTuple):
    """One line of the history: losses of the objective, accuracies as fractions, seconds since the start.

    Classification loss and training accuracy are moving averages over the batches so far (``MovingAverage``); the
    accuracy may be measured instead. The learning rate is that of the last step: the base learning rate times the
    schedule's factor.
    """

    iteration: int
    loss: float
    weight_decay_loss: float
    total_loss: float
    train_accuracy: float
    validation_accuracy: float
    seconds: float
    learning_rate: float

    @classmethod
    def parse(cls, values: Sequence[Any]) -> Record:
        """From numbers or their texts. Raises TypeError or ValueError unless they are as many finite numbers."""
        iteration, *figures = values
        record = cls(int(iteration), *map(float, figures))
        if not all(map(math.isfinite, record)):
            raise ValueError("a figure is not finite")
        return record


class MovingAverage:
    """Average that forgets: a = 0.995·a + 0.005·x, but the plain mean of the first 20 values."""

    def __init__(self, decay: float = 0.995, plain: int = 20) -> None:
        self.value = float("nan")
        self.count = 0
        self._decay, self._plain = decay, plain

    def add(self, x: float) -> None:
        """Take in the next value."""
        self.count += 1
        if self.count == 1:
            self.value = x
            return
        weight = 1 / self.count if self.count <= self._plain else 1 - self._decay
        self.value += weight * (x - self.value)


class HistoryFile:
    """A CSV file that holds every record as soon as it is made, after those that are in it already.

    Raises InputError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = RecordFile(path)
        if path.stat().st_size == 0:
            self._file.write_line(",".join(Record._fields))

    def append(self, record: Record) -> None:
        """Write one record, with all digits of its numbers."""
        self._file.write_line(",".join(map(str, record)))

    def sync(self) -> None:
        """Wait until what was written would outlast a power failure."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MetricsFile:
    """A file of JSON lines, one for each record, for programs that follow a run.

    It is only ever added to: where a run was resumed, iterations may come again, and the last line of each holds.
    ``time`` is that of writing, in seconds since 1970.

    Raises InputError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = RecordFile(path)

    def append(self, record: Record) -> None:
        """Write one record."""
        self._file.write_line(json.dumps({**record._asdict(), "time": time.time()}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RecordFile:
    """A file of lines that are there for others to read as soon as they are written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        require_regular_file(path)
        with writing(path):
            self._file: TextIO = path.open("a", newline="", encoding="utf-8")
            is_torn = _is_torn(path)
        if is_torn:
            self.write_line("")  # or the half line that a crash left would spoil the next one

    def write_line(self, line: str) -> None:
        """Add a line."""
        try:
            with writing(self._path):
                self._file.write(f"{line}\n")
                self._file.flush()
        except InputError:
            self.close()
            raise

    def sync(self) -> None:
        """Wait until what was written would outlast a power failure."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what could not be written has been reported already, and is not tried again."""
        with contextlib.suppress(OSError):
            self._file.close()


def _is_torn(path: Path) -> bool:
    """Whether a file ends in the middle of a line."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def cut_back(path: Path, iteration: int) -> list[Record]:
    """Cut a history after the record of an iteration (0: before the first one) and return what stays.

    Raises InputError if there is no such record, or the file cannot be written.
    """
    require_regular_file(path)
    if iteration == 0:
        with writing(path):
            path.write_bytes(b"")
        return []
    records: list[Record] = []
    try:
        with path.open("rb") as file:
            if tuple(file.readline(_LONGEST_LINE).decode().strip().split(",")) != Record._fields:
                raise InputError(f"{path}: expected the columns {', '.join(Record._fields)}. Put back the run's file.")
            while not records or records[-1].iteration < iteration:
                records.append(Record.parse(file.readline(_LONGEST_LINE).decode().split(",")))
            length = file.tell()
    except (OSError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: expected records up to iteration {iteration}, found them up to "
            f"{records[-1].iteration if records else 0}. Put back the run's file."
        ) from error
    with writing(path):
        os.truncate(path, length)
    return records


def columns(records: list[Record]) -> dict[str, list[float]]:
    """Records by column name, as the plots take them."""
    return {name: [getattr(record, name) for record in records] for name in Record._fields}
