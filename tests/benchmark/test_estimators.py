"""The table of estimators: both are fitted to the same data with the same settings."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9")

from xpnet.benchmark import estimators
from xpnet.benchmark.estimators import Measurement, Task


def tiny():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    return X, X[:, 0]


@pytest.mark.parametrize("library", ["sklearn", "xpnet"])
def test_a_fit_is_timed_and_scored(library):
    seconds, score = estimators._fit(library, Task("tiny", "Regressor", 100, tiny), "float32")
    assert seconds > 0
    assert score > 0.5


@pytest.mark.parametrize("task", estimators.TASKS, ids=lambda task: task.name)
def test_data_are_of_the_size_that_the_name_says(task):
    sizes = {"digits": (1797, 64), "like Covertype": (581_012, 54), "like California housing": (20_640, 8)}
    if task.name == "like Covertype":
        pytest.skip("takes seconds and a quarter of a gigabyte to draw")
    X, y = task.data()
    assert X.shape == sizes[task.name]
    assert len(y) == len(X)


def test_the_table():
    lines = list(estimators.table([Measurement("digits", "float64", 3, 2.0, 1.0, 0.9, 0.95)]))
    assert lines[-1] == "| digits | float64 | 3 | 2.00 | 1.00 | **0.50** | 0.9000, 0.9500 |"
    assert len({line.count("|") for line in lines}) == 1
