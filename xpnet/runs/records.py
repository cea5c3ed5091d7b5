"""Files that a run's records are written to as they come."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import TextIO

from xpnet.errors import InputError
from xpnet.files import require_regular_file, writing
from xpnet.training.callbacks import Callback
from xpnet.training.history import METRICS, Record, column_name
from xpnet.training.trainer import Trainer

_LONGEST_LINE = 1000  # in bytes; a real one has about a hundred


class HistoryFile(Callback):
    """A CSV file that holds every record as soon as it is made, after those that are in it already.

    Raises InputError if it cannot be written.
    """

    def __init__(self, path: Path, metric: str = "accuracy") -> None:
        self._file = RecordFile(path)
        if path.stat().st_size == 0:
            self._file.write_line(",".join(_columns(metric)))

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Write one record, with all digits of its numbers; what was not measured is left empty."""
        self._file.write_line(",".join("" if value is None else str(value) for value in record))

    def sync(self) -> None:
        """Wait until what was written would outlast a power failure."""
        self._file.sync()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MetricsFile(Callback):
    """A file of JSON lines, one for each record, for programs that follow a run.

    It is only ever added to: where a run was resumed, iterations may come again, and the last line of each holds.
    ``time`` is that of writing, in seconds since 1970.

    Raises InputError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = RecordFile(path)

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Write one record."""
        names = _columns(trainer.history.metric)
        self._file.write_line(json.dumps({**dict(zip(names, record, strict=True)), "time": time.time()}))

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


def _columns(metric: str = METRICS[0]) -> list[str]:
    return [column_name(field, metric) for field in Record._fields]


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
            header = file.readline(_LONGEST_LINE).decode().strip().split(",")
            if header not in [_columns(metric) for metric in METRICS]:
                raise InputError(f"{path}: expected the columns {', '.join(_columns())}. Put back the run's file.")
            while not records or records[-1].iteration < iteration:
                records.append(Record.parse(file.readline(_LONGEST_LINE).decode().rstrip("\n").split(",")))
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
