import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.helpers import refused
from xpnet.backend import to_numpy
from xpnet.datasets import BatchSampler, Dataset, image_folder, split_indices
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.losses import MeanSquaredError, SoftmaxCrossEntropy
from xpnet.optimizers import OPTIMIZERS
from xpnet.training import TrainConfig, Trainer
from xpnet.training.trainer import split_data

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
    images, labels = digits.train_inputs[chosen[:16]], digits.train_targets[chosen[:16]]
    evaluation = trainer._evaluate(theta, state, images, labels)
    assert evaluation.accuracy == 1.0
    assert evaluation.loss < 0.1


def test_records_come_every_few_iterations_and_at_the_end(config, digits):
    iterations = []
    records = list(Trainer(config, digits).run(iterations.append))
    assert [record.iteration for record in records] == [5, 10, 12]
    assert iterations == list(range(1, 13))
    assert [record.seconds for record in records] == sorted(record.seconds for record in records)


def test_measured_training_accuracy_is_that_of_all_training_images_with_the_weights_of_the_report(config, digits):
    trainer = Trainer(dataclasses.replace(config, limit=50, measure_training=True), digits)
    averaged = Trainer(dataclasses.replace(config, limit=50), digits)
    chosen = split_indices(300, 30, config.seed)[0][:50]
    images, labels = digits.train_inputs[chosen], digits.train_targets[chosen]
    for record, other in zip(trainer.run(), averaged.run(), strict=True):
        predicted = trainer.network.predict(images).argmax(axis=1)
        assert record.train_accuracy == np.mean(predicted == labels)
        assert record.train_accuracy != other.train_accuracy
        assert record[:4] == other[:4]


def test_figures_equal_a_loop_written_out(config, digits):
    """The trainer against the published algorithm in plain NumPy steps, on the same batches."""
    trainer = Trainer(config, digits)
    network = trainer.network
    train, validation = split_indices(300, 30, config.seed)
    assert np.asarray(network.state["normalize1"]["mean"]) == pytest.approx(digits.train_inputs[train].mean(), rel=1e-6)
    assert np.asarray(network.state["normalize1"]["scale"]) == pytest.approx(1 / 255)
    theta, velocity, losses = network.theta.copy(), 0.0, []
    sampler = BatchSampler(270, 16, config.seed)
    for step in range(12):
        chosen = train[sampler.batch(step)]
        images = digits.train_inputs[chosen].astype(np.float32)
        loss, gradient, _, _ = network.loss_and_gradient(theta, network.state, images, digits.train_targets[chosen])
        velocity = 0.9 * velocity + 0.1 * gradient
        theta = theta - 0.1 * (velocity + 0.005 * theta)
        losses.append(float(loss))

    record = list(trainer.run())[-1]
    np.testing.assert_allclose(trainer.network.theta, theta, rtol=1e-4, atol=1e-6)
    assert record.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert record.weight_decay_loss == pytest.approx(0.0025 * np.sum(theta.astype(np.float64) ** 2), rel=1e-5)
    assert record.total_loss == record.loss + record.weight_decay_loss
    predicted = trainer.network.predict(digits.train_inputs[validation]).argmax(axis=1)
    assert record.validation_accuracy == np.mean(predicted == digits.train_targets[validation])


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
        images, labels = digits.train_inputs[train[chosen]], digits.train_targets[train[chosen]]
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
    assert last.loss < first.loss
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
    rates, step = [], trainer._step

    def spy(values, images, labels, key, iteration, schedule, decay_mask):
        rates.append(schedule)
        return step(values, images, labels, key, iteration, schedule, decay_mask)

    trainer._step = spy
    records = list(trainer.run())
    assert rates == pytest.approx([0.05] + 19 * [0.1] + 10 * [0.05])
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
    assert trainer.network.state is states[1]
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
@pytest.mark.parametrize("settings", [{}, {"model": "mlp", "model_options": {"hidden": (8,), "dropout": 0.5}}])
def test_backends_learn_the_same(config, digits, backend, settings):
    """Also what Dropout draws, anew in each step."""
    pytest.importorskip(backend, exc_type=ImportError)
    config = dataclasses.replace(config, **settings)

    def history(backend):
        return list(Trainer(dataclasses.replace(config, backend=backend), digits).run())

    for ours, theirs in zip(history("numpy"), history(backend), strict=True):
        assert ours._replace(seconds=0) == pytest.approx(theirs._replace(seconds=0), abs=1e-4)


def test_dropout_draws_anew_in_each_step(config, digits):
    """On one image and without learning, nothing else differs from step to step."""
    settings = {"model_options": {"dropout": 0.5}, "learning_rate": 0.0, "batch_size": 1, "limit": 1}
    trainer = Trainer(dataclasses.replace(config, model="mlp", **settings), digits)
    losses = []
    step = trainer._step
    trainer._step = lambda *arguments: (result := step(*arguments), losses.append(float(result[1].loss)))[0]
    list(trainer.run())
    assert len(set(losses)) == trainer.iterations


def test_what_is_frozen_neither_learns_nor_decays(config, digits):
    trainer = Trainer(dataclasses.replace(config, weight_decay=0.5), digits)
    trainer.network.freeze("conv1.*")
    before = {name: tensor.copy() for name, tensor in trainer.network.parameters().items()}
    list(trainer.run())
    for name, tensor in trainer.network.parameters().items():
        assert np.array_equal(tensor, before[name]) == name.startswith("conv1."), name


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


def test_a_published_validation_part_is_used_and_all_training_images_are_trained_on(config, digits):
    with_part = dataclasses.replace(
        digits, validation_inputs=digits.test_inputs[:40], validation_targets=digits.test_targets[:40]
    )
    trainer = Trainer(config, with_part)
    assert trainer.sampler.count == 300
    (*_, record) = trainer.run()
    predicted = trainer.network.predict(digits.test_inputs[:40]).argmax(axis=1)
    assert record.validation_accuracy == np.mean(predicted == digits.test_targets[:40])


@pytest.mark.parametrize("validation_folder", [True, False])
def test_images_in_files_train_as_those_in_memory(config, digits, tmp_path, monkeypatch, validation_folder):
    parts = {"train": (digits.train_inputs, digits.train_targets), "test": (digits.test_inputs, digits.test_targets)}
    if validation_folder:
        parts["val"] = digits.train_inputs[:50], digits.train_targets[:50]
    for part, (images, labels) in parts.items():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = tmp_path / part / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)

    def trained(limit):
        monkeypatch.setattr(image_folder, "IN_MEMORY_BYTES", limit)
        dataset = image_folder.load(tmp_path)
        assert isinstance(dataset.train_inputs, np.ndarray) == (limit > 0)
        trainer = Trainer(config, dataset)
        records = [record._replace(seconds=0.0) for record in trainer.run()]
        return records, trainer.network.theta, trainer.test().probabilities

    in_memory, in_files = trained(1 << 30), trained(0)
    assert in_memory[0] == in_files[0]
    np.testing.assert_array_equal(in_memory[1], in_files[1])
    np.testing.assert_array_equal(in_memory[2], in_files[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 271}, "at most 270"),
        ({"batch_size": 271}, "1 to 270"),
        ({"seed": -1}, "Seed"),
        ({"model": "unknown"}, "cifar10_starter"),
        ({"model_options": {"hidden": (8,)}}, "Model 'mnist_starter': expected no options"),
        ({"dtype": "float16"}, "float32 or float64"),
        ({"iterations": None, "epochs": 1, "warmup": 17}, "a warmup of less than 17 iterations"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config, digits, settings, message):
    with pytest.raises(InputError, match=message):
        Trainer(dataclasses.replace(config, **settings), digits)


def test_a_last_batch_that_batch_normalisation_cannot_take_is_refused_before_training(digits):
    """33 images leave one for the ninth batch of four; a run that ends before that batch never sees it."""
    options = {"hidden": (8,), "batch_norm": True}
    config = TrainConfig.for_model("mlp", data="mnist", limit=33, batch_size=4, iterations=9, model_options=options)
    message = r"\('bn1'\), got 1 in the last one of 33 images in batches of 4. Choose another batch size or limit"
    with pytest.raises(InputError, match=message):
        Trainer(config, digits)
    with pytest.raises(InputError, match="33 images in batches of 1"):
        Trainer(dataclasses.replace(config, batch_size=1, iterations=33), digits)
    for settings in ({"iterations": 8}, {"limit": 34}, {"freeze": ("bn1.*",)}, {"model_options": {"hidden": (8,)}}):
        assert list(Trainer(dataclasses.replace(config, **settings), digits).run())


def test_images_too_small_for_the_network_name_the_layer(config):
    images, labels = np.zeros((20, 3, 3, 1), np.uint8), np.zeros(20, np.int32)
    tiny = Dataset("tiny", images, labels, images, labels, ("a", "b"))
    with pytest.raises(InputError, match="MaxPool2D 'pool2': window 2x2 is larger than its padded input 1x1"):
        Trainer(config, tiny)


def test_augmentation_changes_what_is_trained_on_and_nothing_else(config, digits):
    changed = Trainer(dataclasses.replace(config, crop_padding=2, flip=True, cutout=4), digits)
    plain = Trainer(config, digits)
    before = digits.train_inputs.copy()
    record, expected = (list(trainer.run())[-1] for trainer in (changed, plain))
    assert record.loss != expected.loss
    np.testing.assert_array_equal(digits.train_inputs, before)
    again = Trainer(changed.config, digits)
    list(again.run())
    np.testing.assert_array_equal(again.network.theta, changed.network.theta)


@pytest.mark.parametrize(
    ("settings", "loss"),
    [({"label_smoothing": 0.1}, SoftmaxCrossEntropy(0.1)), ({"loss": "mean-squared-error"}, MeanSquaredError())],
)
def test_loss_is_the_one_asked_for_in_training_and_in_the_test(config, digits, settings, loss):
    trainer = Trainer(dataclasses.replace(config, iterations=1, **settings), digits)
    images, labels, _ = trainer._feed.batch(0)
    network = trainer.network
    logits = network.forward(network.theta, network.state, images.astype(np.float32)).y
    assert trainer.step().loss == pytest.approx(loss.forward(logits, labels).loss, rel=1e-5)
    expected = loss.forward(network.predict(digits.test_inputs).astype(np.float64), digits.test_targets).loss
    assert trainer.test().loss == pytest.approx(expected, rel=1e-5)


def test_as_many_images_are_for_validation_as_asked_for(config, digits):
    assert len(split_data(config, digits)[2]) == 30
    assert len(split_data(dataclasses.replace(config, validation_images=120), digits)[2]) == 120
    with refused("validation images: expected 0 to 299 of the 300 training images, got 300."):
        split_data(dataclasses.replace(config, validation_images=300), digits)


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_draw_the_same_random_numbers(config, digits, backend):
    pytest.importorskip(backend, exc_type=ImportError)
    settings = dataclasses.replace(
        config, crop_padding=1, flip=True, model="fer_cnn", learning_rate=0.001, iterations=3
    )
    records = [list(Trainer(dataclasses.replace(settings, backend=b), digits).run())[-1] for b in ("numpy", backend)]
    assert records[0][1:5] == pytest.approx(records[1][1:5], abs=1e-4)


def test_a_stopped_run_goes_on_as_if_nothing_had_been(config, digits):
    """Bit for bit, with dropout, batch normalisation, augmentation, a schedule and Adam."""
    settings = dataclasses.replace(
        TrainConfig.for_model("mlp", optimizer="adam", schedule="cosine", epochs=1),
        model_options={"hidden": (12,), "dropout": 0.3, "batch_norm": True},
        batch_size=16,
        report_every=5,
        crop_padding=2,
    )
    whole, stopped = Trainer(settings, digits), Trainer(settings, digits)
    expected = list(whole.run())
    first = list(stopped.run(lambda iteration: stopped.stop() if iteration == 10 else None))
    records = [*first, *stopped.run()]
    assert [record._replace(seconds=0.0) for record in records] == [r._replace(seconds=0.0) for r in expected]
    np.testing.assert_array_equal(stopped.network.theta, whole.network.theta)
    assert whole.iteration == stopped.iteration == 17


@pytest.mark.parametrize(("learning_rate", "iterations"), [(1e30, 1), (1e15, 2)])
def test_weights_that_are_not_finite_end_it_before_anything_is_reported(config, digits, learning_rate, iterations):
    trainer = Trainer(dataclasses.replace(config, learning_rate=learning_rate, iterations=iterations), digits)
    with pytest.raises(TrainingDivergedError, match=r"became (inf|nan) in iteration"):
        list(trainer.run())
