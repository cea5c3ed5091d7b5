"""A moving average of the weights: what it is, that training goes on without it, and where it is used."""

import numpy as np
import pytest

from tests.helpers import assert_same_bits, refused
from tests.training.runs import AfterReport, AfterStep, StopAfter, make_trainer
from xpnet.backend import to_numpy
from xpnet.layers import Dense, ReLU
from xpnet.network import Network
from xpnet.optimizers import SGD
from xpnet.training import TrainConfig
from xpnet.training.average import moved, share_of_newest

BACKENDS = ["numpy", "torch", "jax"]
NORMALIZED = {"model": "mlp", "model_options": {"hidden": (8,), "batch_norm": True}, "batch_size": 16}


def values_of(state):
    """θ and the layers' state as they are now."""
    return {"theta": np.array(to_numpy(state.theta)), **_flat(state.state)}


def _flat(tree):
    return {f"{layer}.{name}": np.array(to_numpy(x)) for layer, part in tree.items() for name, x in part.items()}


def test_it_is_the_mean_at_first_and_then_decays(digits):
    """The formula of the papers on all values that training goes through."""
    trainer = make_trainer(digits, **NORMALIZED, dtype="float64", ema=0.75, iterations=9)
    seen = []
    trainer.run([AfterStep(lambda iteration: seen.append(values_of(trainer._position.state)))])
    for name, first in seen[0].items():
        mean = np.mean([values[name] for values in seen[:4]], axis=0)
        for values in seen[4:]:
            mean = 0.75 * mean + 0.25 * values[name]
        actual = {"theta": trainer.network.theta, **_flat(trainer.network.state)}[name]
        np.testing.assert_allclose(actual, mean, rtol=1e-12, atol=1e-15, err_msg=name)
        assert name.startswith("normalize") or not np.array_equal(first, mean)
    assert [share_of_newest(0.75, step) for step in range(6)] == [1, 1 / 2, 1 / 3, 1 / 4, 1 / 4, 1 / 4]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_training_goes_on_without_it(digits, backend, precision):
    if backend != "numpy":
        pytest.importorskip(backend, exc_type=ImportError)
    settings = {**NORMALIZED, "backend": backend, "precision": precision, "optimizer": "adam"}
    plain, averaged = make_trainer(digits, **settings), make_trainer(digits, **settings, ema=0.9)
    losses = [[record.loss for record in trainer.run()] for trainer in (plain, averaged)]
    if backend == "numpy":  # a compiler may fuse what it sees into something else
        assert losses[0] == losses[1]
        assert_same_bits(tuple(averaged._position.state)[:3], tuple(plain._position.state)[:3])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    theta, average = averaged._position.state.theta, averaged._position.state.average["theta"]
    assert np.any(to_numpy(theta) != to_numpy(average))
    assert average.dtype == theta.dtype


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_average_the_same(digits, backend):
    pytest.importorskip(backend, exc_type=ImportError)
    ours, theirs = (make_trainer(digits, **NORMALIZED, ema=0.8, backend=b) for b in ("numpy", backend))
    for one, other in zip(ours.run(), theirs.run(), strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-4)
    np.testing.assert_allclose(to_numpy(theirs.network.theta), ours.network.theta, atol=1e-4)


def test_nothing_is_compiled_again(digits):
    pytest.importorskip("jax", exc_type=ImportError)
    trainer = make_trainer(digits, backend="jax", ema=0.9)
    trainer.run()
    assert trainer._step._cache_size() == 1


def test_records_early_stopping_and_files_have_the_average(digits, tmp_path):
    trainer, averages = make_trainer(digits, **NORMALIZED, ema=0.9, early_stopping=9), []

    def check(record):
        average = trainer._position.state.average
        assert trainer.network.theta is average["theta"]
        assert trainer.network.state is average["state"]
        predicted = trainer.network.predict(trainer.data.validation.inputs)
        assert record.validation_score == np.mean(predicted == trainer.data.validation.targets)
        averages.append(np.array(average["theta"]))

    records = trainer.run([AfterReport(check)])
    place = [record.iteration for record in records].index(trainer.best.record.iteration)
    np.testing.assert_array_equal(trainer.network.theta, averages[place])
    trainer.network.save(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(Network.load(tmp_path / "weights.safetensors").theta, averages[place])


def test_a_snapshot_has_both_and_belongs_to_runs_with_an_average(digits):
    averaged, plain = make_trainer(digits, **NORMALIZED, ema=0.9), make_trainer(digits, **NORMALIZED)
    averaged.run([StopAfter(7)])
    plain.run([StopAfter(7)])
    snapshot = averaged.snapshot()
    tensors = snapshot.tensors
    assert not np.array_equal(tensors["network/dense1.weight"], tensors["average/dense1.weight"])
    np.testing.assert_array_equal(tensors["network/dense1.weight"], plain.snapshot().tensors["network/dense1.weight"])
    restored = make_trainer(digits, **NORMALIZED, ema=0.9)
    restored.restore(snapshot)
    np.testing.assert_array_equal(restored.network.theta, averaged.network.theta)
    with refused("Snapshot: expected 'average/", "to be missing"):
        make_trainer(digits, **NORMALIZED).restore(snapshot)
    with refused("Snapshot", "weight"):
        make_trainer(digits, **NORMALIZED, ema=0.9).restore(plain.snapshot())


def test_what_does_not_change_keeps_its_bits():
    theta = np.array([0.1, 0.3, 1e-30], np.float32)
    average = {"theta": theta, "state": {"normalize1": {"mean": theta}}}
    for step in range(50):
        average = moved(average, theta, {"normalize1": {"mean": theta}}, share_of_newest(0.9, step))
    assert_same_bits((average["theta"], average["state"]["normalize1"]["mean"]), (theta, theta))


def test_another_fit_begins_with_the_average(digits):
    net = Network([Dense(8), ReLU(), Dense(3)], (2,))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 2)), np.arange(60) % 3
    net.fit(x, y, epochs=3, ema=0.9, optimizer=SGD(0.1), progress=False)
    first = net.theta
    net.fit(x, y, epochs=3, ema=0.9, optimizer=SGD(0.0), progress=False)
    np.testing.assert_array_equal(net.theta, first)


def test_it_does_better_than_weights_that_jump_about(digits):
    """Steps that are too long for the weights to settle."""
    settings = {"learning_rate": 0.2, "batch_size": 4, "validation": 100, "iterations": 300, "report_every": 20}
    runs = [make_trainer(digits, **settings, ema=ema).run() for ema in (None, 0.95)]
    plain, averaged = (np.mean([record.validation_loss for record in run][8:]) for run in runs)
    assert averaged < 0.9 * plain


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, np.nan, "0.9", True])
def test_a_decay_out_of_range_is_refused(decay):
    with refused("Training: expected ema above 0 and below 1"):
        TrainConfig(ema=decay)
