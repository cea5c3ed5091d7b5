"""Files that a run's records are written to as they come."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from xpnet.errors import InputError
from xpnet.files import atomic_write, check_held, identity, require_regular_file, writing
from xpnet.training.callbacks import Callback
from xpnet.training.history import METRICS, Record, column_name
from xpnet.training.trainer import Trainer

_log = logging.getLogger(__name__)
_LONGEST_LINE = 1000  # in bytes; a real one has about a hundred


class HistoryFile(Callback):
    """A CSV file that holds every record as soon as it is made, after those that are in it already.

    If it was deleted, replaced or changed by somebody else, it is written again with all records of the training.

    Raises InputError if it cannot be written.
    """

    def __init__(self, path: Path, metric: str = "accuracy") -> None:
        self._path, self._head = path, ",".join(_columns(metric))
        self._known: Sequence[Record] = ()
        self._open()

    def on_begin(self, trainer: Trainer) -> None:
        """Know the records that the file should have."""
        self._known = trainer.history

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Write one record, with all digits of its numbers; what was not measured is left empty."""
        self._repair(but=record)
        self._file.write_line(_line(record))

    def sync(self) -> None:
        """Wait until what was written would outlast a power failure."""
        self._repair()
        self._file.sync()

    def _open(self) -> None:
        self._file = RecordFile(self._path)
        if self._file.size == 0:
            self._file.write_line(self._head)

    def _repair(self, but: Record | None = None) -> None:
        """Write all records that are known again, but the one that is about to be written, if they are gone."""
        if self._file.is_in_place() and self._path.stat().st_size == self._file.size:
            return
        self._file.close()
        lines = [self._head, *(_line(record) for record in self._known if record is not but)]
        atomic_write(self._path, "".join(f"{line}\n" for line in lines).encode())
        _log.warning("%s: was deleted or changed in mid-run; written again from the records so far.", self._path)
        self._open()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class MetricsFile(Callback):
    """A file of JSON lines, one for each record, for programs that follow a run.

    It is only ever added to: where a run was resumed, iterations may come again, and the last line of each holds.
    ``time`` is that of writing, in seconds since 1970. If it was moved or deleted, the next record begins another.

    Raises InputError if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, RecordFile(path)

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Write one record."""
        if not self._file.is_in_place():
            self._file.close()
            self._file = RecordFile(self._path)
        names = _columns(trainer.history.metric)
        self._file.write_line(json.dumps({**dict(zip(names, record, strict=True)), "time": time.time()}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class RecordFile:
    """A file of lines that are there for others to read as soon as they are written.

    ``size`` is how many bytes it has if nobody else writes to it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        require_regular_file(path)
        check_held(path)
        with writing(path):
            self._file: TextIO = path.open("a", newline="", encoding="utf-8")
            self.size = path.stat().st_size
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
        self.size += len(line.encode()) + 1

    def is_in_place(self) -> bool:
        """Whether the path still leads to the file that is written to. Raises InputError if the folder is another."""
        check_held(self._path)
        status = os.fstat(self._file.fileno())
        return identity(self._path) == (status.st_dev, status.st_ino)

    def sync(self) -> None:
        """Wait until what was written would outlast a power failure."""
        with writing(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; what could not be written has been reported already, and is not tried again."""
        with contextlib.suppress(OSError):
            self._file.close()


def _line(record: Record) -> str:
    return ",".join("" if value is None else str(value) for value in record)


def _columns(metric: str = METRICS[0]) -> list[str]:
    return [column_name(field, metric) for field in Record._fields]


def _is_torn(path: Path) -> bool:
    """Whether a file ends in the middle of a line."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def cut_back(path: Path, iteration: int, every: int) -> list[Record]:
    """Cut a history after the record of an iteration (0: before the first one) and return what stays.

    Raises InputError unless there are records of rising iterations up to that one, at least one each ``every``, or if
    the file cannot be read or written.
    """
    require_regular_file(path)
    if iteration == 0:
        with writing(path):
            path.write_bytes(b"")
        return []
    records: list[Record] = []
    last, due = 0, min(every, iteration)
    try:
        with path.open("rb") as file:
            header = file.readline(_LONGEST_LINE).decode().strip().split(",")
            if header not in [_columns(metric) for metric in METRICS]:
                raise InputError(f"{path}: expected the columns {', '.join(_columns())}. Put back the run's file.")
            while last < iteration:
                record = Record.parse(file.readline(_LONGEST_LINE).decode().rstrip("\n").split(","))
                if not last < record.iteration <= due:
                    raise ValueError("a record is missing, or out of order")
                records.append(record)
                last = record.iteration
                due = min((last // every + 1) * every, iteration)
            length = file.tell()
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{path}: expected the run's records, got: {error.strerror}. Put back the run's file, readable."
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: expected records up to iteration {iteration}, found them up to {last}, then not {due}. "
            "Put back the run's file."
        ) from error
    with writing(path):
        os.truncate(path, length)
    return records
