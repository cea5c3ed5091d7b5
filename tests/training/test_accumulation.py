"""Batches that are computed in parts whose gradients are added: the result of the whole, in the memory of a part."""

import tracemalloc

import numpy as np
import pytest

from tests.helpers import assert_same_bits, refused
from tests.training.runs import make_trainer, timeless
from xpnet.backend import to_numpy
from xpnet.datasets.augment import Cutout, HorizontalFlip, RandomCrop
from xpnet.errors import TrainingDivergedError
from xpnet.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU
from xpnet.network import Network
from xpnet.optimizers import SGD, Momentum
from xpnet.parallel import ALONE
from xpnet.training import Mixup, TrainConfig, Trainer
from xpnet.training.rows import RowSampler
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step

BACKENDS = ["numpy", "torch", "jax"]
LAYERS = [Conv2D(4, 3), ReLU(), Dropout(0.3), Flatten(), Dense(10)]
SETTINGS = {
    "optimizer": Momentum(0.1),
    "augmentation": (RandomCrop(2), HorizontalFlip(), Cutout(5)),
    "clip_norm": 1.0,
    "batch_size": 16,
    "limit": 43,  # batches of 16, 16 and 11
    "iterations": 7,
    "report_every": 7,
}


def train(digits, backend="numpy", layers=LAYERS, sample_weight=None, dtype="float64", **changes):
    network = Network(layers, (28, 28, 1), dtype=dtype, backend=backend)
    trainer = Trainer(network, digits, TrainConfig(**{**SETTINGS, **changes}), sample_weight=sample_weight)
    trainer.run()
    return trainer


def assert_equal(ours, theirs, tolerance=1e-12):
    assert ours.history[-1][:4] == pytest.approx(theirs.history[-1][:4], abs=tolerance)
    assert ours.history[-1].train_score == pytest.approx(theirs.history[-1].train_score, abs=tolerance)
    np.testing.assert_allclose(to_numpy(ours.network.theta), to_numpy(theirs.network.theta), rtol=0, atol=tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parts", [2, 3, 16])
def test_parts_give_what_the_whole_batch_gives(digits, backend, parts):
    """With crops, cutout, dropout, clipping and parts of unequal size; the last batch has fewer than 16 examples."""
    if backend != "numpy":
        pytest.importorskip(backend, exc_type=ImportError)
    assert_equal(train(digits, backend, accumulate=parts), train(digits, backend))


def test_parts_count_by_their_weights(digits):
    weights = np.arange(300) % 3 * 0.7  # of some parts, all are 0
    settings = {"sample_weight": weights, "class_weight": {0: 0.5, 1: 2.0, 3: 0.0}}
    parts = train(digits, accumulate=8, **settings)
    assert_equal(parts, train(digits, **settings))
    with pytest.raises(AssertionError):
        assert_equal(parts, train(digits))


def test_parts_of_iterables_too(digits):
    batches = [(digits.train_inputs[i : i + 10], digits.train_targets[i : i + 10]) for i in range(0, 45, 10)]
    whole, parts = (train(batches, limit=None, batch_size=10, accumulate=n) for n in (1, 3))
    assert_equal(parts, whole)


def test_the_last_of_several_epochs_counts_examples_once(digits):
    trainer = train(digits, accumulate=4, iterations=None, epochs=2)
    assert trainer.progress.examples_seen == 2 * 43
    assert trainer.iteration == 2 * 3


def test_batch_normalisation_sees_each_part(digits):
    """Written out: gradients of parts by their share, and running statistics that go from part to part."""
    layers = [Flatten(), Dense(6), BatchNorm(), Dense(10)]
    network = Network(layers, (28, 28, 1), dtype="float64")
    x, y = digits.train_inputs[:11].astype(np.float64) / 255, digits.train_targets[:11]
    state, gradient = network.state, 0.0
    for part in (slice(0, 3), slice(3, 7), slice(7, 11)):
        result = network.loss_and_gradient(network.theta, state, x[part], y[part])
        gradient, state = gradient + result.gradient * (len(y[part]) / 11), result.state
    step = make_step(network, SGD(1.0), accuracy, accumulate=3)
    sampler = _Whole(11)
    rows = RowSampler(sampler, ALONE, None, 3).rows(0)
    before = TrainState(network.theta, network.state, {})
    after, _ = step(before, x, y, rows=rows)
    np.testing.assert_allclose(after.theta, network.theta - gradient, atol=1e-14)
    assert_same_bits(after.state, state)


class _Whole:
    """A sampler of all of so few examples."""

    def __init__(self, count):
        self.count = count

    def batch(self, step):
        return np.arange(self.count)


@pytest.mark.parametrize("parts", [1, 8])
def test_memory_is_that_of_one_part(digits, parts):
    network = Network([Conv2D(16, 3), ReLU(), Conv2D(16, 3), ReLU(), Flatten(), Dense(10)], (28, 28, 1))
    config = TrainConfig(batch_size=128, accumulate=parts, iterations=5)
    trainer = Trainer(network, digits, config)
    trainer.step()
    tracemalloc.start()
    trainer.step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    activations = 128 * 4 * 16 * (2 * 26 * 26 + 2 * 24 * 24)
    assert (peak > activations / 2) if parts == 1 else (peak < activations / 2)


def test_float16_learns_what_float32_learns(digits):
    settings = {"model": "mlp", "model_options": {"hidden": (16,), "dropout": 0.2}, "batch_size": 32, "accumulate": 4}
    half, full = (make_trainer(digits, precision=p, **settings).run()[-1] for p in ("float16", "float32"))
    assert half.loss != full.loss
    assert half.loss == pytest.approx(full.loss, rel=0.01)


def test_a_step_that_goes_wrong_is_looked_into_part_by_part(digits):
    plain, watched = (make_trainer(digits, accumulate=3) for _ in range(2))
    assert timeless(watched.run(detect_nonfinite=True)) == timeless(plain.run())
    trainer = make_trainer(digits, accumulate=3, learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match=r"in iteration \d, '?\w+"):
        trainer.run(detect_nonfinite=True)


@pytest.mark.parametrize("parts", [0, -1, 1.5, "2", True])
def test_a_number_of_parts_out_of_range_is_refused(parts):
    with refused("Training: expected accumulate"):
        TrainConfig(accumulate=parts)


def test_parts_without_examples_are_refused():
    with refused("Training", "accumulate to be at most batch_size, 16", "got 17"):
        TrainConfig(batch_size=16, accumulate=17)


def test_parts_that_batch_normalisation_cannot_take_are_refused(digits):
    settings = {"model": "mlp", "model_options": {"hidden": (6,), "batch_norm": True}}
    with refused("at least 2 examples in every batch", "in a part of", "smaller accumulate"):
        make_trainer(digits, batch_size=16, accumulate=9, **settings)


def test_parts_do_not_see_the_partners_of_their_examples(digits):
    with refused("Mixup: expected whole batches, got 4 parts"):
        train(digits, mixing=Mixup(1.0), accumulate=4)
