import math

import numpy as np
import pytest

from tests.helpers import refused
from xpnet.training import History, Record
from xpnet.training.history import MovingAverage

RECORDS = [
    Record(100, 4 / 3, 0.2, 4 / 3 + 0.2, 0.5, 0.9, 0.6, 3.25, 0.1),
    Record(200, 1.0, 0.1, 1.1, 0.75, None, None, 6.5, 0.05),
]


def test_moving_average_is_the_plain_mean_of_the_first_twenty():
    values = np.random.default_rng(0).normal(size=20)
    average = MovingAverage()
    for count, value in enumerate(values, 1):
        average = average.add(value)
        assert average.value == pytest.approx(values[:count].mean())


def test_moving_average_forgets_by_a_two_hundredth_from_then_on():
    values = np.random.default_rng(1).normal(size=200)
    average, expected = MovingAverage(), values[:20].mean()
    for value in values:
        average = average.add(value)
    for value in values[20:]:
        expected = 0.995 * expected + 0.005 * value
    assert average.value == pytest.approx(expected)


def test_moving_average_is_not_a_number_before_its_first_value():
    assert math.isnan(MovingAverage().value)
    assert MovingAverage().add(3.0) == MovingAverage(3.0, 1)


def test_a_history_is_a_sequence_of_its_records():
    history = History(RECORDS)
    assert [*history] == RECORDS
    assert (len(history), history[0], history[-1], history[1:]) == (2, RECORDS[0], RECORDS[1], RECORDS[1:])
    assert not History()
    assert "2 records" in repr(history)


@pytest.mark.parametrize("metric", ["accuracy", "r2"])
def test_columns_have_the_metrics_name(metric):
    columns = History(RECORDS, metric).to_dict()
    assert list(columns) == [
        "iteration", "loss", "weight_decay_loss", "total_loss", f"train_{metric}", "validation_loss",
        f"validation_{metric}", "seconds", "learning_rate",
    ]  # fmt: skip
    assert columns[f"validation_{metric}"] == [0.6, None]
    assert columns["iteration"] == [100, 200]


def test_a_column_goes_by_its_name():
    history = History(RECORDS)
    assert history["loss"] == [4 / 3, 1.0]
    assert history["train_accuracy"] == [0.5, 0.75]
    with refused("History, column", "'los'", "Did you mean 'loss'?"):
        history["los"]


def test_pandas_takes_a_history():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(History(RECORDS).to_dict())
    assert frame["train_accuracy"].max() == 0.75
    assert frame["validation_loss"].isna().tolist() == [False, True]


def test_a_history_plots_itself():
    pytest.importorskip("matplotlib")
    figure = History(RECORDS, "r2", batches_per_epoch=50).plot()
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    assert any(np.allclose(line.get_ydata(), [4 / 3, 1.0]) for line in lines)


def test_what_is_watched_is_the_validation_score_or_the_loss_turned_round():
    assert [record.monitored for record in RECORDS] == [0.6, -1.0]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_survives_as_numbers_and_as_text(record):
    assert Record.parse(list(record)) == record
    assert Record.parse(["" if value is None else str(value) for value in record]) == record


@pytest.mark.parametrize(
    "change", [{"loss": math.nan}, {"seconds": math.inf}, {"loss": None}, {"iteration": "x"}, {"train_score": None}]
)
def test_a_record_that_is_not_all_there_is_refused(change):
    with pytest.raises((TypeError, ValueError)):
        Record.parse(list(RECORDS[0]._replace(**change)))
