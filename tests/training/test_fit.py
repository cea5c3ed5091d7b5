"""What a user does first: data of any library learned in a few lines, and learning that goes on."""

import numpy as np
import pytest

import xpnet
from tests.training.runs import AfterStep
from xpnet import Network
from xpnet.backend import backend_of, resolve, to_numpy
from xpnet.datasets import Dataset
from xpnet.layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, Normalize, ReLU
from xpnet.losses import BinaryCrossEntropy, Huber, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.optimizers import SGD, Adam, Momentum
from xpnet.random import generator
from xpnet.schedules import Cosine, ReduceOnPlateau
from xpnet.training import Callback, EarlyStopping


@pytest.fixture(params=["numpy", "torch", "jax"])
def library(request):
    if request.param != "numpy":
        pytest.importorskip(request.param, exc_type=ImportError)
    return resolve("cpu", request.param)


def points(count=60, seed=0):
    """Three clouds of points in the plane, and which of them each point is of."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 3
    return np.array([[0.0, 2.0], [2.0, -1.0], [-2.0, -1.0]])[y] + rng.normal(scale=0.3, size=(count, 2)), y


def small(**settings):
    return Network([Dense(8), ReLU(), Dense(3)], (2,), **settings)


# Data of one's own, in under ten lines


def test_the_first_script(digits, tmp_path):
    net = xpnet.Network(
        [Conv2D(8, 5, padding="same"), ReLU(), MaxPool2D(4), Flatten(), Dense(10)], input_shape=digits.input_shape
    )
    history = net.fit(digits, optimizer=xpnet.optimizers.Adam(1e-2), epochs=6, batch_size=32, progress=False)
    assert net.evaluate(digits).accuracy > 0.7
    net.save(tmp_path / "digits.safetensors")

    assert history[-1].loss < history[0].loss
    loaded = Network.load(tmp_path / "digits.safetensors")
    np.testing.assert_array_equal(loaded.predict(digits.test_inputs), net.predict(digits.test_inputs))
    assert loaded.class_names == digits.class_names


def test_iris(library):
    x, y = map(library.asarray, pytest.importorskip("sklearn.datasets").load_iris(return_X_y=True))
    net = Network([Dense(16), ReLU(), Dense(3)], input_shape=(4,))
    net.fit(x, y, optimizer=Adam(0.02), epochs=30, progress=False)
    assert net.evaluate(x, y).accuracy > 0.95
    assert backend_of(net.predict(x)).name == backend_of(net.theta).name == library.name


def test_diabetes(library):
    x, y = map(library.asarray, pytest.importorskip("sklearn.datasets").load_diabetes(return_X_y=True))
    net = Network([Dense(32), ReLU(), Dense(1)], input_shape=(10,))
    history = net.fit(x, y, optimizer=Adam(0.03), epochs=60, progress=False)
    assert history.metric == "r2"
    assert net.evaluate(x, y).r2 > 0.5
    assert tuple(net.predict(x).shape) == (442,)
    assert isinstance(net.loss, MeanSquaredError)


def test_digits_without_a_channel_axis(library):
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    x, y = library.asarray(digits.images), library.asarray(digits.target)  # float64 (N, 8, 8) and int64
    net = Network([Conv2D(8, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(10)], input_shape=(8, 8, 1))
    net.fit(x[:1500], y[:1500], optimizer=Adam(0.01), epochs=4, validation=0.1, progress=False)
    assert net.evaluate(x[1500:], y[1500:]).accuracy > 0.88
    assert tuple(net.predict_proba(x[:5]).shape) == (5, 10)


def test_a_csv_of_numbers(library, tmp_path):
    x, y = points()
    np.savetxt(tmp_path / "points.csv", np.column_stack([y, x]), delimiter=",")
    table = np.loadtxt(tmp_path / "points.csv", delimiter=",")
    x, y = library.asarray(table[:, 1:]), library.asarray(table[:, 0].astype(int))
    net = Network([Dense(8), ReLU(), Dense(3)], input_shape=(2,))
    net.fit(x, y, optimizer=Adam(0.05), epochs=20, progress=False)
    assert net.evaluate(x, y).accuracy == 1.0


def test_lists_and_names_of_classes():
    x, y = points()
    names = np.array(["top", "right", "left"])
    net = small()
    net.fit(x.tolist(), names[y].tolist(), optimizer=Adam(0.05), epochs=20, progress=False)
    assert net.class_names == ("left", "right", "top")
    assert [net.class_names[number] for number in net.predict(x)] == names[y].tolist()
    assert net.evaluate(x, names[y]).accuracy == 1.0


@pytest.mark.parametrize("shape", [(), (1,), (2,)])
def test_labels_that_are_0_or_1(library, shape):
    x, _ = points()
    y = (x[:, : shape[0]] if shape else x[:, 0]) > 0.5
    net = Network([Dense(8), ReLU(), Dense(*shape or (1,))], (2,))
    net.fit(library.asarray(x), library.asarray(y), optimizer=Adam(0.05), epochs=40, progress=False)
    assert isinstance(net.loss, BinaryCrossEntropy)
    assert net.evaluate(library.asarray(x), library.asarray(y)).accuracy > 0.95
    np.testing.assert_array_equal(
        to_numpy(net.predict(library.asarray(x))).reshape(-1),
        (to_numpy(net.predict_proba(library.asarray(x))) > 0.5).reshape(-1),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_any_real_dtype_is_taken(library, dtype):
    x, y = points()
    x = np.round(x * 10 + 100)
    results = []
    for kind in ("float64", dtype):
        net = small()
        net.fit(library.asarray(x.astype(kind)), library.asarray(y), epochs=2, progress=False)
        results.append(to_numpy(net.theta))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_arrays_in_memory_maps_give_the_same_bits(tmp_path, library):
    x, y = points()
    x = x.astype(np.float32)
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.float32, "r", shape=x.shape)
    thetas = []
    for inputs in (x, mapped):
        net = small(device="cpu", backend=library.name)
        net.fit(inputs, y, epochs=2, batch_size=16, validation=0.2, progress=False)
        thetas.append(to_numpy(net.theta))
    np.testing.assert_array_equal(*thetas)


# Where it is trained, and what a network is made to do


def test_a_network_goes_to_its_data_unless_it_was_placed(library):
    x, y = points()
    net, placed = small(), small(device="cpu", backend="numpy")
    for one in (net, placed):
        one.fit(library.asarray(x), library.asarray(y), epochs=1, progress=False)
    assert backend_of(net.theta).name == library.name
    assert backend_of(placed.theta).name == "numpy"
    assert backend_of(placed.predict(library.asarray(x))).name == library.name


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_a_network_goes_to_the_library_of_its_batches(library, kind):
    pairs = [(library.asarray(x), library.asarray(y)) for x, y in batches()]
    net = small()
    history = net.fit(pairs if kind == "list" else iter(pairs), iterations=4, report_every=1, progress=False)
    assert backend_of(net.theta).name == library.name
    there = small(device="cpu", backend=library.name)
    assert there.fit(pairs, iterations=4, report_every=1, progress=False)[-1].loss == history[-1].loss


def test_the_loss_says_what_targets_are(library):
    x, y = points()
    x, integers = library.asarray(x), library.asarray(y)
    reals = library.xp.astype(integers, library.xp.float32)
    line = Network([Dense(1)], (2,))
    line.fit(x, integers, loss=Huber(), progress=False)
    assert line.evaluate(x, integers).loss == line.evaluate(x, reals).loss
    for net in (small(loss=SoftmaxCrossEntropy()), small()):
        net.fit(x, reals, progress=False)
        assert net.evaluate(x, reals).accuracy == net.evaluate(x, integers).accuracy
    yes_or_no = Network([Dense(1)], (2,))
    yes_or_no.fit(x, library.xp.astype(integers > 0, library.xp.float32), loss=BinaryCrossEntropy(), progress=False)
    assert yes_or_no.predict(x).dtype == library.xp.bool


def test_a_network_from_a_file_takes_the_targets_of_its_loss(tmp_path):
    x, y = points()
    line = Network([Dense(1)], (2,))
    line.fit(x, y, loss=Huber(), progress=False)
    line.save(tmp_path / "line.safetensors")
    loaded = Network.load(tmp_path / "line.safetensors")
    assert loaded.evaluate(x, y).loss == line.evaluate(x, y.astype(np.float64)).loss


def test_integers_as_targets_keep_their_digits_in_float64():
    x, y = np.ones((4, 1)), np.asarray([2**24 + 1, 2**24 + 3, 2**24 + 5, 2**24 + 7])
    net = Network([Dense(1)], (1,), dtype="float64", loss=MeanSquaredError())
    np.testing.assert_array_equal(net.evaluate(x, y).targets[:, 0], y)


def test_integers_that_are_sequences_get_no_channel():
    x = np.arange(120).reshape(10, 4, 3)
    net = Network([Flatten(), Dense(2)], (4, 3))
    net.fit(x, np.arange(10) % 2, progress=False)
    assert net.predict(x.astype(np.float32)).shape == (10,)


def test_sequences_in_float64_are_trained_on_in_float64():
    x = np.random.default_rng(0).normal(size=(12, 4, 3))
    kept, rounded = (Network([Flatten(), Dense(2)], (4, 3), dtype="float64") for _ in range(2))
    kept.fit(x, np.arange(12) % 2, progress=False)
    rounded.fit(x.astype(np.float32), np.arange(12) % 2, progress=False)
    assert not np.array_equal(kept.theta, rounded.theta)


def test_a_training_that_diverges_leaves_the_values_of_before():
    x, y = points()
    net = small()
    net.fit(x, y, epochs=5, progress=False)
    before = net.theta
    with pytest.raises(xpnet.TrainingDivergedError):
        net.fit(x, y, epochs=5, optimizer=SGD(1e30), progress=False)
    np.testing.assert_array_equal(net.theta, before)
    net.fit(x, y, epochs=5, progress=False)


def test_a_fresh_network_takes_mean_and_scale_from_its_data():
    x, y = points()
    x = x * [1.0, 1000.0] + [5.0, -100.0]
    net, raw, own = small(), small(), Network([Normalize(), Dense(8), ReLU(), Dense(3)], (2,))
    net.fit(x, y, epochs=1, progress=False)
    raw.fit(x, y, epochs=1, normalize=False, progress=False)
    own.fit(x, y, epochs=1, progress=False)
    assert raw.normalization is None
    for one in (net, own):
        state = one.state[one.normalization]
        np.testing.assert_allclose(state["mean"], x.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(state["scale"], 1 / x.std(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(net.theta, own.theta)


def test_normalisation_that_somebody_set_or_learned_with_stays():
    x, y = points()
    net = Network([Normalize(), Dense(3)], (2,))
    net.set_normalization(3.0, 0.5)
    net.fit(x, y, epochs=1, progress=False)
    assert net.state["normalize1"]["mean"].tolist() == [3.0, 3.0]
    learned = small()
    learned.fit(x, y, epochs=1, progress=False)
    before = learned.state["normalize"]["mean"].copy()
    learned.fit(x + 100, y, epochs=1, progress=False)
    np.testing.assert_array_equal(learned.state["normalize"]["mean"], before)


def test_a_channel_that_never_changes_is_only_shifted():
    x, y = points()
    net = Network([Dense(3)], (3,))
    net.fit(np.column_stack([x, np.full(len(x), 7.0)]), y, epochs=1, progress=False)
    assert net.state["normalize"]["scale"][2] == 1.0
    assert np.isfinite(net.theta).all()


def test_a_networks_own_loss_stays_its_own():
    x, y = points()
    for loss in (MeanSquaredError(), SoftmaxCrossEntropy(0.1)):
        net = small(loss=loss)
        net.fit(x, y, epochs=1, progress=False)
        assert net.loss == loss
    net.fit(x, y, epochs=1, loss=SoftmaxCrossEntropy(), progress=False)
    assert net.loss == SoftmaxCrossEntropy()
    real = Network([Dense(1)], (2,), loss=Huber(2.0))
    real.fit(x, x[:, 0], epochs=1, progress=False)
    assert real.loss == Huber(2.0)


def test_objects_reach_the_training():
    x, y = points()
    seen = []

    class Look(Callback):
        def on_begin(self, trainer):
            seen.append(trainer.config)

    settings = {"optimizer": Momentum(0.2), "schedule": Cosine(), "clip_norm": 1.0, "early_stopping": EarlyStopping(2)}
    small().fit(x, y, **settings, iterations=7, batch_size=9, seed=3, callbacks=[Look()], progress=False)
    (config,) = seen
    assert {name: getattr(config, name) for name in settings} == settings
    assert (config.iterations, config.epochs, config.batch_size, config.seed) == (7, None, 9, 3)


def test_without_a_length_it_is_one_epoch():
    history = small().fit(*points(), batch_size=16, progress=False)
    assert [record.iteration for record in history] == [4]


def test_progress_is_shown_unless_turned_off(capsys):
    small().fit(*points(), epochs=2)
    assert len(capsys.readouterr().out.splitlines()) == 2
    small().fit(*points(), epochs=2, progress=False)
    assert capsys.readouterr().out == ""


# Validation


def test_validation_as_a_fraction_a_number_and_data():
    x, y = points()
    for validation in (0.2, 12, (x[:12], y[:12])):
        seen = []
        history = small().fit(
            x, y, epochs=1, batch_size=1, validation=validation, progress=False, callbacks=[AfterStep(seen.append)]
        )
        assert len(seen) == (60 if isinstance(validation, tuple) else 48)
        assert history[-1].validation_score is not None
    net = small()
    record = net.fit(x, y, epochs=3, validation=(x[:12], y[:12]), progress=False)[-1]
    evaluation = net.evaluate(x[:12], y[:12])
    assert (record.validation_score, record.validation_loss) == (evaluation.accuracy, pytest.approx(evaluation.loss))
    assert small().fit(x, y, progress=False)[-1].validation_score is None


def test_validation_examples_stay_apart_when_it_goes_on():
    """Those that were learned in the first part would look known in the second."""
    x, y = points()
    apart = []

    class Look(Callback):
        def on_begin(self, trainer):
            apart.append(trainer.data.validation.inputs)

    net = small()
    for _ in range(2):
        net.fit(x, y, validation=0.3, callbacks=[Look()], progress=False)
    np.testing.assert_array_equal(*apart)


def test_a_data_sets_own_validation_part_is_used_and_none_given_beside_it():
    x, y = points()
    dataset = Dataset.from_arrays(x, y, validation=(x[:6], y[:6]))
    net = small()
    record = net.fit(dataset, progress=False)[-1]
    assert record.validation_score == net.evaluate(x[:6], y[:6]).accuracy
    with pytest.raises(xpnet.InputError, match="validation"):
        net.fit(dataset, validation=0.5, progress=False)
    plain = Dataset.from_arrays(x, y)
    record = net.fit(plain, validation=(x[6:9], y[6:9]), progress=False)[-1]
    assert record.validation_score == net.evaluate(x[6:9], y[6:9]).accuracy


def test_a_few_examples_or_one_class_can_be_evaluated():
    x, y = points()
    net = small()
    net.fit(x, y, optimizer=Adam(0.05), epochs=20, progress=False)
    assert net.evaluate(x[:1], y[:1]).accuracy == 1.0
    assert net.evaluate(x[y == 2], y[y == 2]).confusion.shape == (3, 3)


def test_early_stopping_leaves_the_best_values():
    x, y = points()
    kept = []

    class Keep(Callback):
        def on_report(self, trainer, record):
            kept.append((record.validation_score, trainer.network.theta.copy()))

    net = small()
    noise = np.random.default_rng(0).integers(0, 3, 30)
    net.fit(
        x, y, optimizer=SGD(2.0), epochs=30, validation=(x[:30], noise), early_stopping=EarlyStopping(3),
        callbacks=[Keep()], progress=False,
    )  # fmt: skip
    scores = [score for score, _ in kept]
    assert len(scores) < 30
    np.testing.assert_array_equal(net.theta, kept[int(np.argmax(scores))][1])


def test_a_plateau_lowers_the_rate():
    x, y = points()
    history = small().fit(
        x, y, optimizer=SGD(0.1), schedule=ReduceOnPlateau(patience=1, gamma=0.5), epochs=5, progress=False,
        validation=(x[:3], np.array([1, 2, 0])), report_every=1,
    )  # fmt: skip
    assert history[-1].learning_rate < 0.1


# Weights


def trained(x, y, *, batch_size=1000, **settings):
    net = Network([Dense(4), ReLU(), Dense(3)], (2,), dtype="float64")
    net.fit(x, y, iterations=20, batch_size=batch_size, normalize=False, progress=False, **settings)
    return net


def test_weights_are_what_repeated_examples_would_be(library):
    """In batches of all examples, where order does not matter."""
    x, y = points(20)
    counts = np.random.default_rng(1).integers(0, 4, len(y))
    weighted = trained(library.asarray(x), library.asarray(y), sample_weight=library.asarray(counts.astype(float)))
    repeated = trained(library.asarray(np.repeat(x, counts, axis=0)), library.asarray(np.repeat(y, counts)))
    np.testing.assert_allclose(to_numpy(weighted.theta), to_numpy(repeated.theta), rtol=1e-9, atol=1e-12)
    assert not np.allclose(to_numpy(weighted.theta), to_numpy(trained(library.asarray(x), library.asarray(y)).theta))


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_weights_of_classes_are_weights_of_their_examples(batch_size):
    x, y = points(20)
    spec, weights = {0: 2.0, 2: 0.5}, np.array([2.0, 1.0, 0.5])
    by_class = trained(x, y, class_weight=spec, batch_size=batch_size)
    by_example = trained(x, y, sample_weight=weights[y], batch_size=batch_size)
    np.testing.assert_allclose(by_class.theta, by_example.theta, rtol=1e-9, atol=1e-12)
    names = np.array(["a", "b", "c"])
    by_name = trained(x, names[y], class_weight={"a": 2.0, "c": 0.5}, batch_size=batch_size)
    np.testing.assert_array_equal(by_name.theta, by_class.theta)


def test_balanced_classes_have_the_same_weight_in_total():
    x, y = points(30)
    kept = (y > 0) | (np.arange(30) < 6)
    x, y = x[kept], y[kept]
    weights = len(y) / (3 * np.bincount(y))
    balanced, by_hand = trained(x, y, class_weight="balanced"), trained(x, y, sample_weight=weights[y])
    np.testing.assert_allclose(balanced.theta, by_hand.theta, rtol=1e-9, atol=1e-12)


# Going on


class Watch(Callback):
    """The first batch and the optimizer's state at the beginning of each training."""

    def __init__(self):
        self.batches, self.states, self.configs = [], [], []

    def on_begin(self, trainer):
        self.batches.append(to_numpy(trainer.data.feed.batch(0).x))
        self.states.append(trainer._position.state.optimizer)
        self.configs.append(trainer.config)


def test_fit_again_goes_on(library):
    x, y = (library.asarray(array) for array in points())
    net, watch = small(), Watch()
    first = net.fit(x, y, epochs=3, batch_size=16, callbacks=[watch], progress=False)
    theta = to_numpy(net.theta)
    second = net.fit(x, y, epochs=3, batch_size=16, callbacks=[watch], progress=False)
    assert to_numpy(watch.states[1]["steps"])[0] == 12  # Adam counts on
    assert second[0].loss < first[0].loss
    assert not np.array_equal(to_numpy(net.theta), theta)
    assert not np.array_equal(*watch.batches)  # another order
    net.fit(x, y, optimizer=Adam(0.5), callbacks=[watch], progress=False)
    assert to_numpy(watch.states[2]["steps"])[0] == 24  # another rate is no reason to forget
    for optimizer in (Momentum(0.1), Adam()):
        net.fit(x, y, optimizer=optimizer, callbacks=[watch], progress=False)
    assert to_numpy(watch.states[4]["steps"])[0] == 0  # another optimizer in between is


def test_fit_twice_gives_the_same_bits_each_time():
    def twice(seed):
        net = Network([Dense(8), Dropout(0.3), Dense(3)], (2,))
        for _ in range(2):
            net.fit(*points(), epochs=2, batch_size=16, seed=seed, progress=False)
        return net.theta

    np.testing.assert_array_equal(twice(1), twice(1))
    assert not np.array_equal(twice(1), twice(2))


def test_class_weights_of_one_training_are_not_those_of_the_next():
    x, y = points()
    for loss in (None, SoftmaxCrossEntropy(0.1)):
        net = small(loss=loss)
        net.fit(x, y, class_weight={0: 5.0}, progress=False)
        net.fit(x, y, progress=False)
        assert net.loss.class_weights is None


@pytest.mark.parametrize("where", ["callback", "step"])
def test_ctrl_c_leaves_a_usable_network(where, monkeypatch):
    x, y = points()
    net, thetas = small(), []

    class Interrupt(Callback):
        def on_begin(self, trainer):
            self.step, self.calls = trainer._step, 0
            trainer._step = self.interrupted

        def interrupted(self, *arguments):
            self.calls += 1
            if where == "step" and self.calls == 8:
                raise KeyboardInterrupt
            after = self.step(*arguments)
            thetas.append(after[0].theta.copy())
            return after

        def on_step(self, trainer):
            if where == "callback" and trainer.iteration == 7:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, epochs=5, batch_size=10, optimizer=Adam(0.02), callbacks=[Interrupt()], progress=False)
    assert len(thetas) == 7
    np.testing.assert_array_equal(net.theta, thetas[6])
    assert 0 <= net.evaluate(x, y).accuracy <= 1
    net.fit(x, y, epochs=20, optimizer=Adam(0.02), progress=False)
    assert net.evaluate(x, y).accuracy > 0.9


# Batches


def batches(count=4, size=10):
    x, y = points(count * size)
    return [(x[i : i + size].astype(np.float32), y[i : i + size]) for i in range(0, count * size, size)]


def test_a_list_of_batches_is_an_epoch():
    net = small()
    history = net.fit(batches(), epochs=20, optimizer=Adam(0.05), progress=False)
    assert [record.iteration for record in history] == list(range(4, 84, 4))
    assert history[-1].train_score > 0.8


def test_a_generator_of_batches_needs_a_length(library):
    def endless():
        while True:
            for x, y in batches():
                yield library.asarray(x), library.asarray(y)

    net = small(device="cpu", backend=library.name)
    assert len(net.fit(endless(), iterations=6, report_every=3, progress=False)) == 2
    with pytest.raises(xpnet.InputError, match="iterations"):
        net.fit(endless(), epochs=1, progress=False)


def test_batches_with_weights():
    weighted, plain = small(dtype="float64"), small(dtype="float64")
    rng = generator(0, 1)
    pairs = batches(2)
    counts = [rng.integers(1, 4, len(y)) for _, y in pairs]
    settings = {"epochs": 3, "normalize": False, "progress": False}
    weighted.fit([(x, y, n.astype(float)) for (x, y), n in zip(pairs, counts, strict=True)], **settings)
    plain.fit([(np.repeat(x, n, axis=0), np.repeat(y, n)) for (x, y), n in zip(pairs, counts, strict=True)], **settings)
    np.testing.assert_allclose(weighted.theta, plain.theta, rtol=1e-9, atol=1e-12)


def test_batches_of_real_targets():
    pairs = [(x, x[:, :1] * 2) for x, _ in batches()]
    net = Network([Dense(1)], (2,))
    history = net.fit(pairs, epochs=50, optimizer=Adam(0.05), progress=False)
    assert isinstance(net.loss, MeanSquaredError)
    assert history.metric == "r2"
    assert history[-1].train_score > 0.9


def test_an_interrupted_training_on_batches_goes_on_with_the_batch_it_was_at():
    from xpnet.training import TrainConfig, Trainer

    def run(interrupt_at):
        trainer = Trainer(small(), (pair for pair in batches(8)), TrainConfig(iterations=8))
        step, calls = trainer._step, []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) == interrupt_at:
                raise KeyboardInterrupt
            return step(*arguments)

        trainer._step = interrupted
        if interrupt_at:
            with pytest.raises(KeyboardInterrupt):
                trainer.run()
        trainer.run()
        return trainer.network.theta

    np.testing.assert_array_equal(run(4), run(None))
