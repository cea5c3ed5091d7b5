"""The metrics of a training as it goes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xpnet.checks import pick

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("accuracy", "r2")
_OPTIONAL = ("validation_loss", "validation_score")
_FORGETTING, _PLAIN = 0.995, 20


class Record(NamedTuple):
    """One line of the history.

    A score is the accuracy for classes and 0/1 targets and R² for real targets; larger is better.

    Parameters
    ----------
    iteration
        Steps so far.
    loss, weight_decay_loss, total_loss
        A moving average over the batches so far (0.995·a + 0.005·x), λ/2·‖θ‖², and their sum.
    train_score
        A moving average too, unless it was measured.
    validation_loss, validation_score
        None without validation data.
    seconds
        Since the start.
    learning_rate
        Of the last step.
    """

    iteration: int
    loss: float
    weight_decay_loss: float
    total_loss: float
    train_score: float
    validation_loss: float | None
    validation_score: float | None
    seconds: float
    learning_rate: float

    @classmethod
    def parse(cls, values: Sequence[Any]) -> Record:
        """From numbers or their texts; None and "" stand for what was not measured.

        Raises
        ------
        TypeError, ValueError
            Unless they are as many finite numbers.
        """
        iteration, *others = values
        numbers: list[Any] = [None if value in (None, "") else float(value) for value in others]
        record = cls(int(iteration), *numbers)
        measured: list[Any] = [v for name, v in record._asdict().items() if v is not None or name not in _OPTIONAL]
        if not all(map(math.isfinite, measured)):  # TypeError: None
            raise ValueError("a number is not finite")
        return record

    @property
    def monitored(self) -> float:
        """What training tries to raise: the validation score, or without one the negative loss."""
        return -self.loss if self.validation_score is None else self.validation_score


class MovingAverage(NamedTuple):
    """Average that forgets: a = 0.995·a + 0.005·x, but the plain mean of the first 20 values."""

    value: float = math.nan
    values: int = 0  # how many so far

    def add(self, x: float) -> MovingAverage:
        """The average after one more value."""
        count = self.values + 1
        if count == 1:
            return MovingAverage(x, 1)
        weight = 1 / count if count <= _PLAIN else 1 - _FORGETTING
        return MovingAverage(self.value + weight * (x - self.value), count)


class History(Sequence[Record]):
    """The records of a training, in order; ``history["loss"]`` is a column of them, by the names of ``to_dict``.

    ``metric`` names the score: "accuracy" or "r2".
    """

    def __init__(self, records: Sequence[Record] = (), metric: str = "accuracy", batches_per_epoch: int | None = None):
        self.records = list(records)
        self.metric = metric
        self.batches_per_epoch = batches_per_epoch

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: Any) -> Any:
        return pick("History, column", self.to_dict(), index) if isinstance(index, str) else self.records[index]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __repr__(self) -> str:
        last = f": {self.records[-1]}" if self.records else ""
        return f"<History of {len(self)} records{last}>"

    def to_dict(self) -> dict[str, list[Any]]:
        """The records as columns, such as ``pandas.DataFrame`` takes; scores by the metric's name.

        >>> History([Record(1, 0.5, 0.0, 0.5, 0.75, None, None, 0.1, 0.01)]).to_dict()["train_accuracy"]
        [0.75]
        """
        return {
            column_name(field, self.metric): [getattr(record, field) for record in self.records]
            for field in Record._fields
        }

    def plot(self) -> Figure:
        """A figure of losses and scores, by epochs."""
        from xpnet import plots  # here: matplotlib takes a second to import

        return plots.history(self)


def column_name(field: str, metric: str) -> str:
    """What a field of a record is called where people read it: ``train_score`` is ``train_accuracy``."""
    return field.replace("score", metric)
