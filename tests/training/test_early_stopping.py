import numpy as np
import pytest

from xpnet.errors import InputError
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.history import Record


def records(accuracies):
    return [Record(100 * n, 1.0, 0.0, 1.0, 0.5, 0.8, accuracy, 1.0, 0.1) for n, accuracy in enumerate(accuracies, 1)]


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
def test_patience_is_at_least_one(patience):
    with pytest.raises(InputError, match=r"EarlyStopping: expected patience .* of at least 1"):
        EarlyStopping(patience)


def test_gains_of_no_more_than_the_least_do_not_count():
    history = run(EarlyStopping(2, min_delta=0.1), [0.5, 0.6, 0.55, 0.9])
    assert [best.record.validation_score for best in history] == [0.5, 0.5, 0.5]
    assert len(run(EarlyStopping(2, min_delta=0.1), [0.5, 0.625, 0.7, 0.65, 0.9])) == 4


def test_without_validation_data_the_loss_is_watched():
    stopping, best = EarlyStopping(3), None
    for loss in (1.0, 0.5, 0.7):
        record = Record(1, loss, 0.0, loss, 0.5, None, None, 1.0, 0.1)
        best = stopping.update(best, record, np.zeros(1), {})
    assert best.record.loss == 0.5
    assert best.reports_since == 1


@pytest.mark.parametrize("least", [-0.1, np.nan, "much"])
def test_the_least_gain_is_a_number_of_at_least_zero(least):
    with pytest.raises(InputError, match=r"EarlyStopping: expected .*min_delta"):
        EarlyStopping(1, least)
