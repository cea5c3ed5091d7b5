"""The records of a run as they come, from a file that may be of any size and hold anything."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from xpnet.report.values import as_count, as_number
from xpnet.training import History, Record
from xpnet.training.history import METRICS, column_name

MOST_RECORDS = 2000  # more than that a plot of a page's width does not show
MOST_BYTES = 1 << 26  # read at a time, which takes seconds
_LONGEST_LINE = 1000  # bytes; a real one has about three hundred
_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # a pipe would wait for a writer


class RecordReader:
    """Reads what was added to a run's ``metrics.jsonl`` since it last looked.

    ``history`` has the records, of long histories every second, fourth and so on; ``broken`` counts the lines that are
    not records. Where iterations come again after a run was resumed, the last ones hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._forget(None)

    def _forget(self, identity: tuple[int, int] | None) -> None:
        self._identity, self._offset, self._rest, self._is_too_long = identity, 0, b"", False
        self._records: list[Record] = []
        self._newest: Record | None = None
        self._seen, self._stride = 0, 1
        self.metric, self.broken, self.is_complete = METRICS[0], 0, True

    @property
    def records(self) -> list[Record]:
        """The records, with the newest at the end whatever was left out before it."""
        newest = [self._newest] if self._newest and self._records[-1:] != [self._newest] else []
        return [*self._records, *newest]

    def history(self, batches_per_epoch: int | None = None) -> History:
        """The records as a history."""
        return History(self.records, self.metric, batches_per_epoch)

    def update(self) -> bool:
        """Read on, at most 64 MiB; returns whether there was anything new."""
        try:
            file = os.open(self._path, _OPEN)
        except OSError:
            return self._begin_again(None)
        with os.fdopen(file, "rb") as opened:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                return self._begin_again(None)
            identity = (status.st_dev, status.st_ino)
            is_new = identity != self._identity or status.st_size < self._offset
            if is_new:
                self._begin_again(identity)
            opened.seek(self._offset)
            end = self._offset + MOST_BYTES
            before = self._offset
            while self._offset < end and (block := opened.read(1 << 16)):
                self._offset += len(block)
                self._take(block)
            self.is_complete = self._offset >= status.st_size
            return is_new or self._offset > before

    def _begin_again(self, identity: tuple[int, int] | None) -> bool:
        had_any = self._identity is not None
        self._forget(identity)
        return had_any

    def _take(self, block: bytes) -> None:
        """Take the lines of a block, and keep the beginning of a last one that has no end yet."""
        *lines, rest = (self._rest + block).split(b"\n")
        for line in lines:
            if self._is_too_long:
                self._is_too_long = False  # this is how it ends
            elif line:
                self._add(line)
        self._rest = rest
        if len(rest) > _LONGEST_LINE:
            self.broken += not self._is_too_long
            self._rest, self._is_too_long = b"", True

    def _add(self, line: bytes) -> None:
        try:
            if len(line) > _LONGEST_LINE:
                raise ValueError("a line is too long")
            record, self.metric = _parse(json.loads(line))
        except (LookupError, TypeError, ValueError, RecursionError):
            self.broken += 1
            return
        while self._records and self._records[-1].iteration >= record.iteration:
            self._records.pop()
        self._newest = record
        self._seen += 1
        if self._seen % self._stride:
            return
        self._records.append(record)
        if len(self._records) >= MOST_RECORDS:
            self._records, self._stride = self._records[1::2], 2 * self._stride


def _parse(values: Any) -> tuple[Record, str]:
    metric = next((metric for metric in METRICS if column_name("train_score", metric) in values), METRICS[0])
    fields = {field: values[column_name(field, metric)] for field in Record._fields}
    iteration = as_count(fields.pop("iteration"))
    numbers: dict[str, Any] = {name: None if value is None else as_number(value) for name, value in fields.items()}
    record = Record.parse([iteration, *numbers.values()])
    scores = [score for score in (record.train_score, record.validation_score) if score is not None]
    if max(scores) > 1 or (metric == "accuracy" and min(scores) < 0):
        raise ValueError("a score is out of range")
    return record, metric
