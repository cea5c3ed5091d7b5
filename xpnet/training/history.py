"""The figures of a run as it goes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple, TextIO


class Record(NamedTuple):
    """One line of the history: losses of the objective, accuracies as fractions, seconds since the start.

    Classification loss and training accuracy are moving averages over the batches so far (``MovingAverage``); the
    accuracy may be measured instead. The learning rate is that of the last step: the base learning rate times the
    schedule's factor.
    """

    iteration: int
    classification_loss: float
    weight_decay_loss: float
    total_loss: float
    train_accuracy: float
    validation_accuracy: float
    seconds: float
    learning_rate: float


class MovingAverage:
    """Average that forgets: a = 0.995·a + 0.005·x, but the plain mean of the first 20 values."""

    def __init__(self, decay: float = 0.995, plain: int = 20) -> None:
        self.value = float("nan")
        self._decay, self._plain, self._count = decay, plain, 0

    def add(self, x: float) -> None:
        """Take in the next value."""
        self._count += 1
        if self._count == 1:
            self.value = x
            return
        weight = 1 / self._count if self._count <= self._plain else 1 - self._decay
        self.value += weight * (x - self.value)


class HistoryFile:
    """A CSV file that holds every record as soon as it is made."""

    def __init__(self, path: Path) -> None:
        self._file: TextIO = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self._write(Record._fields)

    def append(self, record: Record) -> None:
        """Write one record."""
        self._write(record)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, row: tuple) -> None:
        self._writer.writerow(row)
        self._file.flush()


def columns(records: list[Record]) -> dict[str, list[float]]:
    """Records by column name, as the plots take them."""
    return {name: [getattr(record, name) for record in records] for name in Record._fields}
