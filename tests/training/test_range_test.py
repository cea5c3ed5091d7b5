import dataclasses

import pytest

from xpnet import layers
from xpnet.network import Network
from xpnet.optimizers import SGD
from xpnet.schedules import Cosine, ReduceOnPlateau, Step, Warmup
from xpnet.training import TrainConfig
from xpnet.training.range_test import range_test


def make_network():
    return Network([layers.Flatten(), layers.Dense(8), layers.ReLU(), layers.Dense(10)], (28, 28, 1))


@pytest.mark.parametrize("schedule", [Cosine(minimum=0.1), ReduceOnPlateau(3), Step(5), Warmup(5, Cosine())])
def test_the_runs_own_schedule_is_left_out(digits, schedule):
    plain = TrainConfig(iterations=50, optimizer=SGD(0.1))
    expected = range_test(make_network(), digits, plain, 1e-4, 0.1, 10)
    assert len(expected.rates) == 10
    assert expected.rates[0] == 1e-4
    assert expected.rates[-1] == pytest.approx(0.1)
    own = dataclasses.replace(plain, schedule=schedule)
    assert range_test(make_network(), digits, own, 1e-4, 0.1, 10) == expected
