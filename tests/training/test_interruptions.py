"""Ctrl-C may come anywhere: the network stays usable, and the trainer goes on as if nothing had happened."""

import sys
from pathlib import Path

import numpy as np
import pytest

import xpnet.training.trainer
from tests.helpers import assert_same_bits
from tests.training.runs import timeless
from xpnet.datasets import Dataset
from xpnet.layers import BatchNorm, Dense, Dropout
from xpnet.network import Network
from xpnet.optimizers import Adam
from xpnet.schedules import ReduceOnPlateau
from xpnet.training import EarlyStopping, TrainConfig, Trainer

# Where the loop, the records and the batches are.
TRACED = {str(Path(xpnet.training.trainer.__file__).with_name(f"{name}.py")) for name in ("trainer", "feed", "history")}


def make(batches=False):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 2)), rng.integers(0, 2, 20)
    config = TrainConfig(
        iterations=7,
        batch_size=4,
        optimizer=Adam(0.05),
        schedule=ReduceOnPlateau(patience=1, gamma=0.5),
        early_stopping=EarlyStopping(9),
        report_every=2,
        validation=None if batches else 8,
    )
    pairs = ((x[i : i + 4], y[i : i + 4]) for i in (0, 4, 8, 12, 16, 3, 7))
    network = Network([Dense(3), BatchNorm(), Dropout(0.2), Dense(2)], (2,))
    return Trainer(network, pairs if batches else Dataset.from_arrays(x, y), config)


class Interruption:
    """Raises KeyboardInterrupt before a line of the traced files: the one with this number, counted as they are run."""

    def __init__(self, number):
        self.left = number

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def run_interrupted(trainer, number):
    """Whether the interruption came before the end."""
    sys.settrace(Interruption(number))
    try:
        trainer.run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def progress(trainer):
    """Where a trainer stands, without the seconds."""
    now = trainer.snapshot().progress
    return now._replace(seconds=0, training_seconds=0, best=timeless([now.best]))


@pytest.mark.parametrize("batches", [False, True])
@pytest.mark.parametrize("part", range(3))
def test_a_run_that_was_interrupted_at_any_line_goes_on_bit_for_bit(batches, part):
    whole = make(batches)
    expected, number, interruptions = timeless(whole.run()), part, 0
    while True:
        trainer = make(batches)
        if not run_interrupted(trainer, number):
            break
        interruptions += 1
        done = trainer.iteration
        assert np.isfinite(trainer.network.predict_proba(np.ones((1, 2)))).all()
        if done < trainer.iterations:  # at the end the best ones come
            assert_same_bits((trainer.network.theta, trainer.network.state), trainer._position.state[:2])
        history = trainer.run()
        assert timeless(history) == expected, f"line {number}, after {done} steps"
        assert_same_bits(trainer.snapshot().tensors, whole.snapshot().tensors)
        assert progress(trainer) == progress(whole), f"line {number}, after {done} steps"
        number += 3
    assert interruptions > 20


def test_one_that_comes_again_and_again():
    whole, trainer = make(), make()
    expected, number = timeless(whole.run()), 40
    while run_interrupted(trainer, number):
        number += 3
    assert timeless(trainer.history) == expected
    np.testing.assert_array_equal(trainer.network.theta, whole.network.theta)
