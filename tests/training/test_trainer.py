import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.helpers import refused
from tests.training.runs import AfterReport, AfterStep, StopAfter, make_trainer, timeless
from xpnet.backend import to_numpy
from xpnet.datasets import BatchSampler, Dataset, image_folder, split_indices
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.losses import MeanSquaredError, SoftmaxCrossEntropy
from xpnet.optimizers import OPTIMIZERS
from xpnet.training import EarlyStopping, TrainConfig
from xpnet.training.data import split

BACKENDS = ["numpy", "torch", "jax"]


@pytest.fixture
def scripted(digits):
    """Trainers that report every five iterations and find the validation accuracies they are told to."""

    def make(accuracies, **settings):
        trainer = make_trainer(digits, iterations=5 * len(accuracies), **settings)
        told = iter(accuracies)
        trainer._evaluate = lambda *arguments: SimpleNamespace(score=next(told), loss=1.0)
        return trainer

    return make


def test_overfits_one_batch(digits):
    trainer = make_trainer(digits, iterations=120, limit=16)
    trainer.run()
    theta, state = trainer.network.theta, trainer.network.state
    chosen, _ = split_indices(300, 30, seed=0)
    images, labels = digits.train_inputs[chosen[:16]], digits.train_targets[chosen[:16]]
    evaluation = trainer._evaluate(theta, state, images, labels)
    assert evaluation.accuracy == 1.0
    assert evaluation.loss < 0.1


def test_records_come_every_few_iterations_and_at_the_end(digits):
    iterations = []
    history = make_trainer(digits).run([AfterStep(iterations.append)])
    assert [record.iteration for record in history] == [5, 10, 12]
    assert iterations == list(range(1, 13))
    assert [record.seconds for record in history] == sorted(record.seconds for record in history)


def test_measured_training_score_is_that_of_all_training_images_with_the_weights_of_the_report(digits):
    trainer, averaged = (make_trainer(digits, limit=50, measure_training=measured) for measured in (True, False))
    chosen, seen = split_indices(300, 30, seed=0)[0][:50], []
    images, labels = digits.train_inputs[chosen], digits.train_targets[chosen]
    history = trainer.run([AfterReport(lambda record: seen.append(np.mean(trainer.network.predict(images) == labels)))])
    for record, other, expected in zip(history, averaged.run(), seen, strict=True):
        assert record.train_score == expected
        assert record.train_score != other.train_score
        assert record[:4] == other[:4]


def test_figures_equal_a_loop_written_out(digits):
    """The trainer against the published algorithm in plain NumPy steps, on the same batches."""
    trainer = make_trainer(digits)
    network = trainer.network
    train, validation = split_indices(300, 30, 0)
    assert np.asarray(network.state["normalize1"]["mean"]) == pytest.approx(digits.train_inputs[train].mean(), rel=1e-6)
    assert np.asarray(network.state["normalize1"]["scale"]) == pytest.approx(1 / 255)
    theta, velocity, losses = network.theta.copy(), 0.0, []
    sampler = BatchSampler(270, 16, 0)
    for step in range(12):
        chosen = train[sampler.batch(step)]
        images = digits.train_inputs[chosen].astype(np.float32)
        loss, gradient, _, _ = network.loss_and_gradient(theta, network.state, images, digits.train_targets[chosen])
        velocity = 0.9 * velocity + 0.1 * gradient
        theta = theta - 0.1 * (velocity + 0.005 * theta)
        losses.append(float(loss))

    record = trainer.run()[-1]
    np.testing.assert_allclose(trainer.network.theta, theta, rtol=1e-4, atol=1e-6)
    assert record.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert record.weight_decay_loss == pytest.approx(0.0025 * np.sum(theta.astype(np.float64) ** 2), rel=1e-5)
    assert record.total_loss == record.loss + record.weight_decay_loss
    predicted = trainer.network.predict(digits.train_inputs[validation])
    assert record.validation_score == np.mean(predicted == digits.train_targets[validation])


def test_clipping_schedule_and_biases_without_decay_equal_a_loop_written_out(digits):
    trainer = make_trainer(
        digits,
        dtype="float64",
        clip_norm=0.5,
        schedule="step",
        schedule_every=4,
        schedule_gamma=0.5,
        warmup=2,
        weight_decay=0.5,
        decay_biases=False,
    )
    network, clipped = trainer.network, 0
    train, _ = split_indices(300, 30, 0)
    theta, velocity = network.theta.copy(), 0.0
    biases = np.zeros(network.parameter_count, bool)
    biases[[*range(400, 416), *range(6816, 6832), *range(14_672, 14_682)]] = True
    rates = 0.1 * np.array([1 / 3, 2 / 3, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25])
    for rate, chosen in zip(rates, map(BatchSampler(270, 16, 0).batch, range(12)), strict=True):
        images, labels = digits.train_inputs[train[chosen]], digits.train_targets[train[chosen]]
        _, gradient, _, _ = network.loss_and_gradient(theta, network.state, images.astype(np.float64), labels)
        norm = np.linalg.norm(gradient)
        if norm > 0.5:
            gradient, clipped = gradient * 0.5 / (norm + 1e-6), clipped + 1
        velocity = 0.9 * velocity + 0.1 * gradient
        theta = theta - rate * (velocity + 0.5 * np.where(biases, 0, theta))

    records = trainer.run()
    assert clipped > 0
    np.testing.assert_allclose(trainer.network.theta, theta, rtol=1e-7, atol=1e-9)
    assert [record.learning_rate for record in records] == pytest.approx([0.1, 0.05, 0.025])
    squares = np.sum(theta[~biases] ** 2)
    assert records[-1].weight_decay_loss == pytest.approx(0.25 * squares, rel=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(digits, optimizer):
    rate = 0.001 if optimizer == "rmsprop" else None  # its first steps are 1/√(1 - ρ) = 10 times as long
    first, last = make_trainer(digits, optimizer=optimizer, learning_rate=rate, iterations=40, report_every=20).run()
    assert last.loss < first.loss
    assert last.validation_score > 0.5  # five times what guessing gives


def test_the_rate_changes_without_a_new_compilation(digits):
    pytest.importorskip("jax", exc_type=ImportError)
    settings = {"backend": "jax", "schedule": "cosine", "warmup": 3, "decay_biases": False}
    trainer = make_trainer(digits, **settings)
    records = trainer.run()
    assert len({record.learning_rate for record in records}) == len(records)
    assert trainer._step._cache_size() == 1


def test_a_plateau_lowers_the_rate_of_the_steps_after_it(scripted):
    settings = {"schedule": "plateau", "schedule_patience": 2, "schedule_gamma": 0.5, "warmup": 1}
    trainer = scripted([0.5, 0.6, 0.6, 0.1, 0.2, 0.7], **settings)
    rates, step = [], trainer._step

    def spy(state, x, targets, weights, key, iteration, lr_scale, decay_mask):
        rates.append(lr_scale)
        return step(state, x, targets, weights, key, iteration, lr_scale, decay_mask)

    trainer._step = spy
    records = trainer.run()
    assert rates == pytest.approx([0.05] + 19 * [0.1] + 10 * [0.05])
    assert [record.learning_rate for record in records] == [0.1, 0.1, 0.1, 0.1, 0.05, 0.05]


def test_early_stopping_ends_with_the_best_values(scripted):
    trainer = scripted([0.5, 0.7, 0.6, 0.7, 0.9], early_stopping=2)
    thetas, states = [], []

    def keep(record):
        thetas.append(trainer.network.theta)
        states.append(trainer.network.state)

    assert len(trainer.run([AfterReport(keep)])) == 4
    assert not np.array_equal(thetas[1], thetas[3])
    np.testing.assert_array_equal(trainer.network.theta, thetas[1])
    assert trainer.network.state is states[1]
    assert (trainer.best.record.iteration, trainer.best.record.validation_score) == (10, 0.7)


def test_early_stopping_ignores_gains_below_its_least(scripted):
    trainer = scripted([0.5, 0.55, 0.6, 0.65, 0.9], early_stopping=2)
    trainer.config = dataclasses.replace(trainer.config, early_stopping=EarlyStopping(2, min_delta=0.12))
    assert [record.validation_score for record in trainer.run()] == [0.5, 0.55, 0.6]
    assert trainer.best.record.iteration == 5


def test_early_stopping_keeps_the_best_when_the_run_ends_otherwise(scripted):
    trainer = scripted([0.5, 0.7, 0.6], early_stopping=5)
    assert len(trainer.run()) == 3
    np.testing.assert_array_equal(trainer.network.theta, trainer.best.theta)
    assert trainer.best.record.iteration == 10

    trainer = scripted([0.5, 0.7, 0.6, 0.8], early_stopping=5)
    trainer.run([StopAfter(12)])
    np.testing.assert_array_equal(trainer.network.theta, trainer.best.theta)
    assert trainer.best.record.iteration == 10


def test_without_early_stopping_the_last_values_stay(scripted):
    trainer, seen = scripted([0.9, 0.1]), []
    trainer.run([AfterReport(lambda record: seen.append(trainer.network.theta))])
    assert trainer.best is None
    assert trainer.network.theta is seen[-1]


def test_the_same_seed_gives_the_same_bits_and_another_does_not(digits):
    def trained(seed):
        trainer = make_trainer(digits, seed=seed)
        trainer.run()
        return trainer.network.theta

    np.testing.assert_array_equal(trained(3), trained(3))
    assert not np.array_equal(trained(3), trained(4))


@pytest.mark.parametrize("backend", BACKENDS[1:])
@pytest.mark.parametrize("settings", [{}, {"model": "mlp", "model_options": {"hidden": (8,), "dropout": 0.5}}])
def test_backends_learn_the_same(digits, backend, settings):
    """Also what Dropout draws, other numbers in each step."""
    pytest.importorskip(backend, exc_type=ImportError)

    def history(backend):
        return make_trainer(digits, backend=backend, **settings).run()

    for ours, theirs in zip(history("numpy"), history(backend), strict=True):
        assert ours._replace(seconds=0) == pytest.approx(theirs._replace(seconds=0), abs=1e-4)


def test_dropout_draws_other_numbers_in_each_step(digits):
    """On one image and without learning, nothing else differs from step to step."""
    settings = {"model_options": {"dropout": 0.5}, "learning_rate": 0.0, "batch_size": 1, "limit": 1, "model": "mlp"}
    trainer = make_trainer(digits, **settings)
    losses = []
    step = trainer._step
    trainer._step = lambda *arguments: (result := step(*arguments), losses.append(float(result[1].loss)))[0]
    trainer.run()
    assert len(set(losses)) == trainer.iterations


def test_what_is_frozen_neither_learns_nor_decays(digits):
    trainer = make_trainer(digits, weight_decay=0.5)
    trainer.network.freeze("conv1.*")
    before = {name: tensor.copy() for name, tensor in trainer.network.parameters().items()}
    trainer.run()
    for name, tensor in trainer.network.parameters().items():
        assert np.array_equal(tensor, before[name]) == name.startswith("conv1."), name


def test_float64_is_used_throughout(digits):
    trainer = make_trainer(digits, dtype="float64")
    trainer.run()
    assert trainer.network.theta.dtype == np.float64


def test_epochs_count_batches_with_a_smaller_last_one(digits):
    trainer = make_trainer(digits, epochs=2, batch_size=100)
    trainer.run()
    assert trainer.iteration == 2 * 3  # 270 images in batches of 100
    assert trainer.progress.examples_seen == 2 * 270


def test_stop_ends_it_after_the_iteration_in_progress(digits):
    trainer = make_trainer(digits)
    records = trainer.run([StopAfter(7)])
    assert [record.iteration for record in records] == [5, 7]
    assert np.array_equal(to_numpy(trainer.network.theta), to_numpy(trainer._position.state.theta))
    assert 0 <= trainer.network.evaluate(digits).accuracy <= 1


def test_a_loss_that_is_not_finite_ends_it_with_advice(digits):
    trainer = make_trainer(digits, learning_rate=1e20)
    with pytest.raises(
        TrainingDivergedError, match=r"became (nan|inf) in iteration \d.*learning rate.*Try learning_rate=1e\+19"
    ):
        trainer.run()


def test_a_published_validation_part_is_used_and_all_training_images_are_trained_on(digits):
    with_part = dataclasses.replace(
        digits, validation_inputs=digits.test_inputs[:40], validation_targets=digits.test_targets[:40]
    )
    trainer = make_trainer(with_part)
    assert trainer.data.count == 300
    (*_, record) = trainer.run()
    predicted = trainer.network.predict(digits.test_inputs[:40])
    assert record.validation_score == np.mean(predicted == digits.test_targets[:40])


@pytest.mark.parametrize("validation_folder", [True, False])
def test_images_in_files_train_as_those_in_memory(digits, tmp_path, monkeypatch, validation_folder):
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
        trainer = make_trainer(dataset)
        return timeless(trainer.run()), trainer.network.theta, trainer.network.evaluate(dataset).probabilities

    in_memory, in_files = trained(1 << 30), trained(0)
    assert in_memory[0] == in_files[0]
    np.testing.assert_array_equal(in_memory[1], in_files[1])
    np.testing.assert_array_equal(in_memory[2], in_files[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": 271}, "at most 270"),
        ({"seed": -1}, "Seed"),
        ({"model": "unknown"}, "cifar10_starter"),
        ({"model_options": {"hidden": (8,)}}, "Model 'mnist_starter': expected no options"),
        ({"dtype": "float16"}, "float32, float64"),
        ({"epochs": 1, "warmup": 17}, "fewer steps than the run.s 17 iterations"),
        ({"iterations": 12, "warmup": 12}, "fewer steps than the run.s 12 iterations"),
        ({"validation": 300}, "at least one of the 300"),
    ],
)
def test_settings_that_do_not_fit_are_refused(digits, settings, message):
    with pytest.raises(InputError, match=message):
        make_trainer(digits, **settings)


def test_a_batch_larger_than_the_data_is_all_of_them(digits):
    trainer = make_trainer(digits, batch_size=1000, iterations=2)
    trainer.run()
    assert trainer.progress.examples_seen == 2 * 270


def test_a_last_batch_that_batch_normalisation_cannot_take_is_refused_before_training(digits):
    """33 images leave one for the ninth batch of four; a run that ends before that batch never sees it."""
    settings = {"model": "mlp", "data": "mnist", "limit": 33, "batch_size": 4, "iterations": 9}
    settings |= {"model_options": {"hidden": (8,), "batch_norm": True}}
    with refused("batch normalisation", "'bn1'", "last one of 33 examples in batches of 4"):
        make_trainer(digits, **settings)
    with refused("33 examples in batches of 1"):
        make_trainer(digits, **{**settings, "batch_size": 1, "iterations": 33})
    for change in ({"iterations": 8}, {"limit": 34}, {"freeze": ("bn1.*",)}, {"model_options": {"hidden": (8,)}}):
        assert make_trainer(digits, **{**settings, **change}).run()


def test_images_too_small_for_the_network_name_the_layer():
    images, labels = np.zeros((20, 3, 3, 1), np.uint8), np.arange(20) % 2
    tiny = Dataset("tiny", images, labels, images, labels, ("a", "b"))
    with pytest.raises(InputError, match="MaxPool2D 'pool2': window 2x2 is larger than its padded input 1x1"):
        make_trainer(tiny)


def test_augmentation_changes_what_is_trained_on_and_nothing_else(digits):
    changed = make_trainer(digits, crop_padding=2, flip=True, cutout=4)
    plain = make_trainer(digits)
    before = digits.train_inputs.copy()
    record, expected = (trainer.run()[-1] for trainer in (changed, plain))
    assert record.loss != expected.loss
    np.testing.assert_array_equal(digits.train_inputs, before)
    again = make_trainer(digits, crop_padding=2, flip=True, cutout=4)
    again.run()
    np.testing.assert_array_equal(again.network.theta, changed.network.theta)


@pytest.mark.parametrize(
    ("settings", "loss"),
    [({"label_smoothing": 0.1}, SoftmaxCrossEntropy(0.1)), ({"loss": "mean-squared-error"}, MeanSquaredError())],
)
def test_loss_is_the_one_asked_for_in_training_and_in_the_test(digits, settings, loss):
    trainer = make_trainer(digits, iterations=1, **settings)
    images, labels, _ = trainer.data.feed.batch(0)
    network = trainer.network
    outputs = network.forward(network.theta, network.state, images.astype(np.float32)).y
    assert trainer.step().loss == pytest.approx(loss.forward(outputs, labels).loss, rel=1e-5)
    expected = loss.forward(network(digits.test_inputs).astype(np.float64), digits.test_targets).loss
    assert trainer.network.evaluate(digits).loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("validation", "count"), [("auto", 30), (120, 120), (0.25, 75), (0.001, 1), (1, 1), (299, 299), (None, 0)]
)
def test_as_many_images_are_for_validation_as_asked_for(digits, validation, count):
    train, apart = split(digits, TrainConfig(validation=validation))
    assert len(train.targets) == 300 - count
    assert (0 if apart is None else len(apart.targets)) == count


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_draw_the_same_random_numbers(digits, backend):
    pytest.importorskip(backend, exc_type=ImportError)
    settings = {"crop_padding": 1, "flip": True, "model": "fer_cnn", "learning_rate": 0.001, "iterations": 3}
    records = [make_trainer(digits, backend=b, **settings).run()[-1] for b in ("numpy", backend)]
    assert records[0][1:5] == pytest.approx(records[1][1:5], abs=1e-4)


def test_a_stopped_run_goes_on_as_if_nothing_had_been(digits):
    """Bit for bit, with dropout, batch normalisation, augmentation, a schedule and Adam."""
    settings = {"model": "mlp", "optimizer": "adam", "schedule": "cosine", "epochs": 1, "batch_size": 16}
    settings |= {"model_options": {"hidden": (12,), "dropout": 0.3, "batch_norm": True}, "crop_padding": 2}
    whole, stopped = make_trainer(digits, **settings), make_trainer(digits, **settings)
    expected = timeless(whole.run())
    assert [record.iteration for record in stopped.run([StopAfter(10)])] == [5, 10]
    assert timeless(stopped.run()) == expected
    np.testing.assert_array_equal(stopped.network.theta, whole.network.theta)
    assert whole.iteration == stopped.iteration == 17


@pytest.mark.parametrize(("learning_rate", "iterations"), [(1e30, 1), (1e15, 2)])
def test_weights_that_are_not_finite_end_it_before_anything_is_reported(digits, learning_rate, iterations):
    trainer = make_trainer(digits, learning_rate=learning_rate, iterations=iterations)
    with pytest.raises(TrainingDivergedError, match=r"became (inf|nan) in iteration"):
        trainer.run()


def test_a_step_without_memory_says_which_and_what_helps(digits):
    trainer = make_trainer(digits, iterations=3)
    trainer.step()
    trainer._step = lambda *arguments: (_ for _ in ()).throw(MemoryError("Out of memory allocating 1,024 bytes."))
    before = trainer.network.theta
    with pytest.raises(MemoryError, match=r"^Training, step 2: Out of memory allocating 1,024 bytes. .*batch_size\.$"):
        trainer.run()
    assert trainer.iteration == 1
    assert not np.array_equal(trainer.network.theta, before)  # the first step's, which was complete
