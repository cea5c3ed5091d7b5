"""Early stopping: an end when validation no longer improves, with the values that did best there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from xpnet.backend import Array
from xpnet.checks import check_at_least_zero
from xpnet.layers.base import State
from xpnet.shapes import check_positive
from xpnet.training.history import Record


class Best(NamedTuple):
    """The record of the best score so far, its θ and layers' state, and the number of reports since.

    The arrays are not copies: a training step makes new ones and writes into none.
    """

    record: Record
    theta: Array
    state: State
    reports_since: int = 0


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when ``patience`` reports in a row have not improved the validation score by more than ``min_delta``.

    Without validation data the training loss is watched. Of equally good values the first are kept.

    Raises
    ------
    InputError
        Unless patience is an integer of at least 1 and min_delta at least 0.

    References
    ----------
    Goodfellow, Bengio and Courville, "Deep Learning", 2016, algorithm 7.1.
    """

    patience: int
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        check_positive("EarlyStopping", "patience", self.patience)
        check_at_least_zero("EarlyStopping", "min_delta", self.min_delta)

    def update(self, best: Best | None, record: Record, theta: Array, state: State) -> Best:
        """The best so far after a new record; before the first one it is None."""
        if best is None or record.monitored > best.record.monitored + self.min_delta:
            return Best(record, theta, state)
        return best._replace(reports_since=best.reports_since + 1)

    def is_over(self, best: Best) -> bool:
        """Whether patience has run out."""
        return best.reports_since >= self.patience
