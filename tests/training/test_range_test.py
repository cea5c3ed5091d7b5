import dataclasses

import pytest

from xpnet.training import TrainConfig
from xpnet.training.range_test import range_test


@pytest.mark.parametrize(
    "schedule",
    [
        {"schedule": "cosine", "schedule_minimum": 0.1},
        {"schedule": "plateau", "schedule_patience": 3},
        {"schedule": "step", "schedule_every": 5, "schedule_gamma": 0.1},
        {"warmup": 5},
    ],
)
def test_the_runs_own_schedule_counts_for_nothing(digits, schedule):
    plain = TrainConfig.for_model("mlp", iterations=50, model_options={"hidden": (8,)})
    expected = range_test(plain, digits, 1e-4, 0.1, 10)
    assert range_test(dataclasses.replace(plain, **schedule), digits, 1e-4, 0.1, 10) == expected
