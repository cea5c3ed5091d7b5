import csv

import numpy as np
import pytest

from xpnet.training.history import HistoryFile, MovingAverage, Record, columns

RECORDS = [Record(100, 1.5, 0.2, 1.7, 0.5, 0.6, 3.25, 0.1), Record(200, 1.0, 0.1, 1.1, 0.75, 0.7, 6.5, 0.05)]


def test_moving_average_is_the_plain_mean_of_the_first_twenty():
    values = np.random.default_rng(0).normal(size=20)
    average = MovingAverage()
    for count, value in enumerate(values, 1):
        average.add(value)
        assert average.value == pytest.approx(values[:count].mean())


def test_moving_average_forgets_by_a_two_hundredth_from_then_on():
    values = np.random.default_rng(1).normal(size=200)
    average, expected = MovingAverage(), values[:20].mean()
    for value in values:
        average.add(value)
    for value in values[20:]:
        expected = 0.995 * expected + 0.005 * value
    assert average.value == pytest.approx(expected)


def test_history_file_holds_each_record_at_once(tmp_path):
    history = HistoryFile(tmp_path / "history.csv")
    for count, record in enumerate(RECORDS, 1):
        history.append(record)
        with open(tmp_path / "history.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == list(Record._fields)
        assert [tuple(map(float, row)) for row in rows[1:]] == RECORDS[:count]
    history.close()


def test_columns_by_name():
    assert columns(RECORDS)["validation_accuracy"] == [0.6, 0.7]
    assert list(columns(RECORDS)) == list(Record._fields)
