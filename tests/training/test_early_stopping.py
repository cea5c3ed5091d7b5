import numpy as np
import pytest

from xpnet.errors import InputError
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.history import Record


def records(accuracies):
    return [Record(100 * n, 1.0, 0.0, 1.0, 0.5, accuracy, 1.0, 0.1) for n, accuracy in enumerate(accuracies, 1)]


def run(stopping, accuracies):
    """The best after each record until it is over; θ and state are the record's number."""
    best, history = None, []
    for record in records(accuracies):
        values = np.array([record.iteration])
        best = stopping.update(best, record, values, {"batchnorm1": {"mean": values}})
        history.append(best)
        if stopping.is_over(best):
            break
    return history


@pytest.mark.parametrize(
    ("patience", "accuracies", "length", "best_iteration"),
    [
        (1, [0.5, 0.6, 0.6, 0.9], 3, 200),  # as good is not better
        (2, [0.5, 0.6, 0.5, 0.6, 0.9], 4, 200),
        (2, [0.5, 0.4, 0.6, 0.4, 0.7], 5, 500),  # never two in a row
        (3, [0.9, 0.1, 0.2, 0.3, 0.4], 4, 100),
        (3, [0.0, 0.0], 2, 100),
    ],
)
def test_it_stops_after_so_many_reports_that_are_no_better(patience, accuracies, length, best_iteration):
    history = run(EarlyStopping(patience), accuracies)
    assert len(history) == length
    best = history[-1]
    assert best.record == records(accuracies)[best_iteration // 100 - 1]
    assert best.theta.tolist() == best.state["batchnorm1"]["mean"].tolist() == [best_iteration]


@pytest.mark.parametrize("patience", [0, -1, 1.5, True])
def test_patience_is_a_whole_number_of_at_least_one(patience):
    with pytest.raises(InputError, match="EarlyStopping: expected patience to be an integer of at least 1"):
        EarlyStopping(patience)
