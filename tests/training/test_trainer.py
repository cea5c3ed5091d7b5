import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.backend import to_numpy
from xpnet.datasets import BatchSampler, Dataset, split_indices
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.optimizers import OPTIMIZERS
from xpnet.training import TrainConfig, Trainer

BACKENDS = ["numpy", "torch", "jax"]


@pytest.fixture
def scripted(config, digits):
    """Trainers that report every five iterations and find the validation accuracies they are told to."""

    def make(accuracies, **settings):
        trainer = Trainer(dataclasses.replace(config, iterations=5 * len(accuracies), **settings), digits)
        told = iter(accuracies)
        trainer._evaluate = lambda *arguments: SimpleNamespace(accuracy=next(told))
        return trainer

    return make


def test_overfits_one_batch(digits):
    config = TrainConfig.for_model("mnist_starter", iterations=120, limit=16)
    trainer = Trainer(config, digits)
    list(trainer.run())
    theta, state = trainer.network.theta, trainer.network.state
    chosen, _ = split_indices(300, 30, seed=0)
    images, labels = digits.train_images[chosen[:16]], digits.train_labels[chosen[:16]]
    evaluation = trainer._evaluate(theta, state, images, labels)
    assert evaluation.accuracy == 1.0
    assert evaluation.loss < 0.1


def test_records_come_every_few_iterations_and_at_the_end(config, digits):
    iterations = []
    records = list(Trainer(config, digits).run(iterations.append))
    assert [record.iteration for record in records] == [5, 10, 12]
    assert iterations == list(range(1, 13))
    assert [record.seconds for record in records] == sorted(record.seconds for record in records)


def test_figures_equal_a_loop_written_out(config, digits):
    """The trainer against the published algorithm in plain NumPy steps, on the same batches."""
    trainer = Trainer(config, digits)
    network = trainer.network
    train, validation = split_indices(300, 30, config.seed)
    assert np.asarray(network.state["normalize1"]["mean"]) == pytest.approx(digits.train_images[train].mean(), rel=1e-6)
    assert np.asarray(network.state["normalize1"]["scale"]) == pytest.approx(1 / 255)
    theta, velocity, losses = network.theta.copy(), 0.0, []
    sampler = BatchSampler(270, 16, config.seed)
    for step in range(12):
        chosen = train[sampler.batch(step)]
        images = digits.train_images[chosen].astype(np.float32)
        loss, gradient, _, _ = network.loss_and_gradient(theta, network.state, images, digits.train_labels[chosen])
        velocity = 0.9 * velocity + 0.1 * gradient
        theta = theta - 0.1 * (velocity + 0.005 * theta)
        losses.append(float(loss))

    record = list(trainer.run())[-1]
    np.testing.assert_allclose(trainer.network.theta, theta, rtol=1e-4, atol=1e-6)
    assert record.classification_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert record.weight_decay_loss == pytest.approx(0.0025 * np.sum(theta.astype(np.float64) ** 2), rel=1e-5)
    assert record.total_loss == record.classification_loss + record.weight_decay_loss
    predicted = trainer.network.predict(digits.train_images[validation]).argmax(axis=1)
    assert record.validation_accuracy == np.mean(predicted == digits.train_labels[validation])


def test_clipping_schedule_and_spared_biases_equal_a_loop_written_out(config, digits):
    config = dataclasses.replace(
        config,
        dtype="float64",
        clip_norm=0.5,
        schedule="step",
        schedule_every=4,
        schedule_gamma=0.5,
        warmup=2,
        weight_decay=0.5,
        decay_biases=False,
    )
    trainer = Trainer(config, digits)
    network, clipped = trainer.network, 0
    train, _ = split_indices(300, 30, config.seed)
    theta, velocity = network.theta.copy(), 0.0
    biases = np.zeros(network.parameter_count, bool)
    biases[[*range(400, 416), *range(6816, 6832), *range(14_672, 14_682)]] = True
    rates = 0.1 * np.array([1 / 3, 2 / 3, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])
    for rate, chosen in zip(rates, map(BatchSampler(270, 16, config.seed).batch, range(12)), strict=True):
        images, labels = digits.train_images[train[chosen]], digits.train_labels[train[chosen]]
        _, gradient, _, _ = network.loss_and_gradient(theta, network.state, images.astype(np.float64), labels)
        norm = np.linalg.norm(gradient)
        if norm > 0.5:
            gradient, clipped = gradient * 0.5 / (norm + 1e-6), clipped + 1
        velocity = 0.9 * velocity + 0.1 * gradient
        theta = theta - rate * (velocity + 0.5 * np.where(biases, 0, theta))

    records = list(trainer.run())
    assert clipped > 0
    np.testing.assert_allclose(trainer.network.theta, theta, rtol=1e-7, atol=1e-9)
    assert [record.learning_rate for record in records] == pytest.approx([0.1, 0.05, 0.025])
    squares = np.sum(theta[~biases] ** 2)
    assert records[-1].weight_decay_loss == pytest.approx(0.25 * squares, rel=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(digits, optimizer):
    rate = 0.001 if optimizer == "rmsprop" else None  # its first steps are 1/√(1 - ρ) = 10 times as long
    config = TrainConfig.for_model(
        "mnist_starter", optimizer=optimizer, learning_rate=rate, iterations=40, report_every=20
    )
    first, last = Trainer(config, digits).run()
    assert last.classification_loss < first.classification_loss
    assert last.validation_accuracy > 0.5  # five times what guessing gives


def test_the_rate_changes_without_a_new_compilation(config, digits):
    pytest.importorskip("jax", exc_type=ImportError)
    settings = {"backend": "jax", "schedule": "cosine", "warmup": 3, "decay_biases": False}
    trainer = Trainer(dataclasses.replace(config, **settings), digits)
    records = list(trainer.run())
    assert len({record.learning_rate for record in records}) == len(records)
    assert trainer._step._cache_size() == 1


def test_a_plateau_lowers_the_rate_of_the_steps_after_it(scripted):
    settings = {"schedule": "plateau", "schedule_patience": 2, "schedule_gamma": 0.5, "warmup": 1}
    trainer = scripted([0.5, 0.6, 0.6, 0.1, 0.2, 0.7], **settings)
    factors, step = [], trainer._step

    def spy(values, images, labels, schedule, decays):
        factors.append(schedule)
        return step(values, images, labels, schedule, decays)

    trainer._step = spy
    records = list(trainer.run())
    assert factors == [0.5] + 19 * [1.0] + 10 * [0.5]
    assert [record.learning_rate for record in records] == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05]


def test_early_stopping_ends_with_the_best_values(scripted):
    trainer = scripted([0.5, 0.7, 0.6, 0.7, 0.9], early_stopping=2)
    thetas, states = [], []
    for _ in trainer.run():
        thetas.append(trainer.network.theta)
        states.append(trainer.network.state)
    assert len(thetas) == 4
    assert not np.array_equal(thetas[1], thetas[3])
    np.testing.assert_array_equal(trainer.network.theta, thetas[1])
    np.testing.assert_array_equal(trainer._values.theta, thetas[1])  # which ``test`` evaluates
    assert trainer.network.state is trainer._values.state is states[1]
    assert (trainer.best.record.iteration, trainer.best.record.validation_accuracy) == (10, 0.7)


def test_early_stopping_keeps_the_best_when_the_run_ends_otherwise(scripted):
    trainer = scripted([0.5, 0.7, 0.6], early_stopping=5)
    assert len([*trainer.run()]) == 3
    np.testing.assert_array_equal(trainer.network.theta, trainer.best.theta)
    assert trainer.best.record.iteration == 10

    trainer = scripted([0.5, 0.7, 0.6, 0.8], early_stopping=5)
    list(trainer.run(lambda iteration: trainer.stop() if iteration == 12 else None))
    np.testing.assert_array_equal(trainer.network.theta, trainer.best.theta)
    assert trainer.best.record.iteration == 10


def test_without_early_stopping_the_last_values_stay(scripted):
    trainer = scripted([0.9, 0.1])
    for _ in trainer.run():
        last = trainer.network.theta
    assert trainer.best is None
    assert trainer.network.theta is last


def test_the_same_seed_gives_the_same_bits_and_another_does_not(config, digits):
    def trained(seed):
        trainer = Trainer(dataclasses.replace(config, seed=seed), digits)
        list(trainer.run())
        return trainer.network.theta

    np.testing.assert_array_equal(trained(3), trained(3))
    assert not np.array_equal(trained(3), trained(4))


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_learn_the_same(config, digits, backend):
    pytest.importorskip(backend, exc_type=ImportError)

    def history(backend):
        return list(Trainer(dataclasses.replace(config, backend=backend), digits).run())

    for ours, theirs in zip(history("numpy"), history(backend), strict=True):
        assert ours._replace(seconds=0) == pytest.approx(theirs._replace(seconds=0), abs=1e-4)


def test_float64_is_used_throughout(config, digits):
    trainer = Trainer(dataclasses.replace(config, dtype="float64"), digits)
    list(trainer.run())
    assert trainer.network.theta.dtype == np.float64


def test_epochs_count_batches_with_a_smaller_last_one(digits):
    config = TrainConfig.for_model("mnist_starter", epochs=2, batch_size=100)
    trainer = Trainer(config, digits)
    list(trainer.run())
    assert trainer.iteration == 2 * 3  # 270 images in batches of 100
    assert trainer.images_seen == 2 * 270


def test_stop_ends_it_after_the_iteration_in_progress(config, digits):
    trainer = Trainer(config, digits)
    records = list(trainer.run(lambda iteration: trainer.stop() if iteration == 7 else None))
    assert [record.iteration for record in records] == [5, 7]
    assert np.array_equal(to_numpy(trainer.network.theta), to_numpy(trainer._values.theta))
    assert 0 <= trainer.test().accuracy <= 1


def test_a_loss_that_is_not_finite_ends_it_with_advice(config, digits):
    trainer = Trainer(dataclasses.replace(config, learning_rate=1e20), digits)
    with pytest.raises(
        TrainingDivergedError, match=r"became (nan|inf) in iteration \d.*learning rate.*Try --lr 1e\+19"
    ):
        list(trainer.run())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 271}, "at most 270"),
        ({"batch_size": 271}, "1 to 270"),
        ({"seed": -1}, "Seed"),
        ({"model": "unknown"}, "mnist_starter, cifar10_starter"),
        ({"dtype": "float16"}, "float32 or float64"),
        ({"iterations": None, "epochs": 1, "warmup": 17}, "a warmup of less than 17 iterations"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config, digits, settings, message):
    with pytest.raises(InputError, match=message):
        Trainer(dataclasses.replace(config, **settings), digits)


def test_images_too_small_for_the_network_name_the_layer(config):
    images, labels = np.zeros((20, 3, 3, 1), np.uint8), np.zeros(20, np.int32)
    tiny = Dataset("tiny", images, labels, images, labels, ("a", "b"))
    with pytest.raises(InputError, match="MaxPool2D 'pool2': window 2x2 is larger than its padded input 1x1"):
        Trainer(config, tiny)
