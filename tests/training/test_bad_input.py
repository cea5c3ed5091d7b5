"""Mistakes with data and settings: one line that says what was expected, what came and what to do; nothing is lost."""

import copy

import numpy as np
import pytest

from tests.helpers import refused
from xpnet import Network, models
from xpnet.datasets import Dataset, split_indices
from xpnet.datasets.augment import HorizontalFlip
from xpnet.errors import InputError
from xpnet.layers import Conv2D, Dense, Flatten, Layer, ReLU
from xpnet.losses import BinaryCrossEntropy, Huber, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.optimizers import Adam
from xpnet.training import Callback, EarlyStopping, TrainConfig, Trainer

X = np.random.default_rng(0).normal(size=(12, 2)) + 2
Y = np.arange(12) % 3


def with_nan(array, row):
    array = array.astype(float)
    array[row] = np.nan
    return array


HELD_OUT = split_indices(12, 3, 0)[1]


def only_for(rows):
    """A weight of 1 for these examples, 0 for the others."""
    return np.isin(np.arange(12), rows).astype(float)


class Unchecked:
    """A loss that somebody has not finished."""

    target = "classes"
    forward = backward = predictions = probabilities = None

    def __repr__(self):
        return "Unchecked()"


class HalfCallback:
    def on_step(self, trainer):
        """Not all that a callback has."""


class Misspelled(Callback):
    def on_epoch_end(self, trainer):
        """Would never be called."""


def generator(count):
    yield from [(X, Y)] * count


@pytest.fixture(scope="module")
def learned():
    """A network that has learned something, which no mistake may spoil."""
    net = Network([Dense(4), ReLU(), Dense(3)], (2,))
    net.fit(X, Y, epochs=3, progress=False)
    return net


MISTAKES = {
    "empty list": (([], Y), {}, ["x", "at least one example", "(0,)"]),
    "lengths": ((X, Y[:7]), {}, ["12", "7"]),
    "lengths of lists": ((X.tolist(), Y.tolist()[:7]), {}, ["12", "7"]),
    "NaN in x": ((with_nan(X, 5), Y), {}, ["NaN or infinity in 1 of 12 rows", "5"]),
    "infinity in x": ((np.where(X[3] == X, np.inf, X), Y), {}, ["NaN or infinity"]),
    "NaN in y": ((X, with_nan(Y, 4)), {}, ["integer dtype", "float64"]),
    "strings as pixels": ((np.full((12, 2), "black"), Y), {}, ["x", "real numbers", "<U5"]),
    "objects as pixels": ((np.full((12, 2), {}), Y), {}, ["x", "real numbers", "object"]),
    "complex": ((X * 1j, Y), {}, ["x", "real numbers", "complex128"]),
    "ragged": (([[1, 2], [3]], [0, 1]), {}, ["x", "equal length"]),
    "one class": ((X, np.zeros(12, int)), {}, ["two classes", "'0' for all 12"]),
    "a class too many": ((X, np.arange(12) % 4), {}, ["0 to 2", "3"]),
    "a negative class": ((X, Y - 1), {}, ["-1"]),
    "real targets for three classes": ((X, X), {}, ["integer dtype", "float64 of shape (12, 2)"]),
    "one axis": ((X[:, 0], Y), {}, ["x", "(12,)", "(-1, 1)"]),
    "another width": ((np.ones((12, 5)), Y), {}, ["(2,)", "(5,)"]),
    "no y": ((X,), {}, ["targets y", "without y"]),
    "not data": ((3,), {}, ["targets y", "int"]),
    "validation of another width": ((X, Y), {"validation": (np.ones((3, 5)), Y[:3])}, ["validation", "(5,)", "(2,)"]),
    "validation of an unknown class": ((X, Y), {"validation": (X[:3], Y[:3] + 5)}, ["validation", "5"]),
    "validation as three arrays": ((X, Y), {"validation": (X, Y, Y)}, ["validation", "3"]),
    "validation of all": ((X, Y), {"validation": 12}, ["12"]),
    "a fraction above 1": ((X, Y), {"validation": 1.5}, ["validation", "1.5"]),
    "weights too few": ((X, Y), {"sample_weight": np.ones(5)}, ["sample_weight", "(12,)", "(5,)"]),
    "no weight": ((X, Y), {"sample_weight": np.zeros(12)}, ["sample_weight", "0 for all"]),
    "no weight but for validation": ((X, Y), {"sample_weight": only_for(HELD_OUT), "validation": 3}, ["0 for all"]),
    "negative weights": ((X, Y), {"sample_weight": -np.ones(12)}, ["sample_weight", "-1"]),
    "a class without name": ((X, Y), {"class_weight": {"cat": 2.0}}, ["class_weight", "'cat'"]),
    "a class too high": ((X, Y), {"class_weight": {7: 2.0}}, ["class_weight", "0 to 2", "7"]),
    "a negative class weight": ((X, Y), {"class_weight": {0: -1.0}}, ["class_weight", "-1"]),
    "an unknown way of weights": ((X, Y), {"class_weight": "even"}, ["class_weight", "balanced", "'even'"]),
    "class weights without classes": ((X, Y), {"class_weight": {0: 2.0}, "loss": MeanSquaredError()}, ["class_weight"]),
    "a name as optimizer": ((X, Y), {"optimizer": "adam"}, ["optimizer", "'adam'", "Adam("]),
    "a class as optimizer": ((X, Y), {"optimizer": Adam}, ["optimizer", "Adam("]),
    "a name as schedule": ((X, Y), {"schedule": "cosine"}, ["schedule", "'cosine'"]),
    "a name as loss": ((X, Y), {"loss": "huber"}, ["loss", "'huber'"]),
    "a class as loss": ((X, Y), {"loss": Huber}, ["loss", "class Huber", "Huber()"]),
    "a loss without check": ((X, Y), {"loss": Unchecked()}, ["loss", "without check"]),
    "a name as runtime": ((X, Y), {"runtime": "cuda"}, ["runtime", "'cuda'", "Runtime(device="]),
    "a function as callback": ((X, Y), {"callbacks": [print]}, ["Callback", "builtin_function_or_method"]),
    "half a callback": ((X, Y), {"callbacks": [HalfCallback()]}, ["Callback", "HalfCallback", "on_report"]),
    "a class as callback": ((X, Y), {"callbacks": [Callback]}, ["class Callback", "Callback()"]),
    "a callback without a list": ((X, Y), {"callbacks": Callback()}, ["callbacks", "Callback", "list"]),
    "no callbacks": ((X, Y), {"callbacks": None}, ["callbacks", "None", "list"]),
    "a misspelled hook": ((X, Y), {"callbacks": [Misspelled()]}, ["Misspelled", "on_epoch_end", "on_report"]),
    "early stopping as callback": ((X, Y), {"callbacks": [EarlyStopping(3)]}, ["EarlyStopping", "early_stopping="]),
    "a number as early stopping": ((X, Y), {"early_stopping": 3}, ["early_stopping", "3"]),
    "augmentation without brackets": ((X, Y), {"augmentation": HorizontalFlip()}, ["augmentation", "list"]),
    "augmentation of vectors": ((X, Y), {"augmentation": [HorizontalFlip()]}, ["(H, W, C)"]),
    "both lengths": ((X, Y), {"epochs": 1, "iterations": 1}, ["epochs", "iterations"]),
    "no epochs": ((X, Y), {"epochs": 0}, ["epochs", "0"]),
    "a batch of none": ((X, Y), {"batch_size": 0}, ["batch_size", "0"]),
    "a generator without length": ((generator(3),), {"epochs": 2}, ["iterations"]),
    "a generator that ends early": ((generator(3),), {"iterations": 5}, ["batch for step 4,", "end of the iterable"]),
    "batches of another width": (([(X, Y), (X[:, :1], Y)],), {}, ["Batch 1", "(2,)", "(1,)"]),
    "batches of other lengths": (([(X, Y), (X[:4], Y)],), {}, ["Batch 1", "4", "12"]),
    "batches without targets": (([X, X],), {}, ["Batch 0", "(x, y)"]),
    "batches with NaN": (([(X, Y), (with_nan(X, 2), Y)],), {}, ["Batch 1", "NaN"]),
    "batches with an unknown class": (([(X, Y), (X, Y + 1)],), {}, ["Batch 1", "0 to 2", "3"]),
    "weights beside batches": (([(X, Y)],), {"sample_weight": np.ones(12)}, ["sample_weight", "(x, y, weights)"]),
    "class weights beside batches": (([(X, Y)],), {"class_weight": "balanced"}, ["class_weight"]),
    "validation beside batches": (([(X, Y)],), {"validation": 0.1}, ["validation"]),
    "y beside a data set": ((Dataset.from_arrays(X, Y), Y), {}, ["data set", "y"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_loses_nothing(learned, mistake):
    arguments, settings, parts = MISTAKES[mistake]
    before, score = learned.theta.copy(), learned.evaluate(X, Y).accuracy
    settings = {"optimizer": Adam(1e-9), **settings}
    with refused(*parts):
        learned.fit(*arguments, progress=False, **settings)
    np.testing.assert_allclose(learned.theta, before, atol=1e-6)  # steps before a bad batch were so small
    assert learned.evaluate(X, Y).accuracy == score
    assert learned.class_names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (([Dense(3)], TrainConfig(epochs=1), None), ["network", "Network", "[Dense("]),
        ((Network([Dense(3)], (2,)), {"epochs": 1}, None), ["config", "TrainConfig", "{'epochs': 1}"]),
        ((Network([Dense(3)], (2,)), TrainConfig(epochs=1), "cuda"), ["runtime", "Runtime(", "'cuda'"]),
    ],
    ids=["network", "config", "runtime"],
)
def test_a_trainer_says_what_it_takes(arguments, words):
    network, *settings = arguments
    with refused(*words):
        Trainer(network, Dataset.from_arrays(X, Y), *settings)


@pytest.mark.parametrize("callbacks", [[print], Callback(), [Misspelled()]])
def test_a_trainer_checks_its_callbacks(callbacks):
    trainer = Trainer(Network([Dense(3)], (2,)), Dataset.from_arrays(X, Y), TrainConfig(iterations=1))
    with refused("on_report" if isinstance(callbacks, list) else "list"):
        trainer.run(callbacks)
    assert trainer.iteration == 0


def test_a_size_that_batches_do_not_have_is_refused():
    """It would be accepted and ignored otherwise."""
    net = Network([Dense(3)], (2,))
    with refused("expected no batch_size", "12 examples", "got 4"):
        net.fit(generator(2), iterations=2, batch_size=4, progress=False)
    net.fit(generator(3), iterations=2, batch_size=12, progress=False)


def test_steps_before_a_bad_batch_are_kept():
    net = Network([Dense(3)], (2,))
    other = Network([Dense(3)], (2,))
    with refused("Batch 2"):
        net.fit([(X, Y), (X, Y), (X, Y[:3])], progress=False)
    other.fit([(X, Y), (X, Y)], progress=False)
    np.testing.assert_array_equal(net.theta, other.theta)


@pytest.mark.parametrize(
    ("layers", "shape", "parts"),
    [
        ([], (2,), ["layer"]),
        ([Dense(4), 3], (2,), ["3"]),
        ([Dense(4), "relu"], (2,), ["relu"]),
        ([Conv2D(4, 3)], (8,), ["Conv2D 'conv1'", "(N, H, W, C)"]),
        ([Dense(4), Conv2D(4, 3)], (8,), ["Conv2D 'conv1'"]),
        ([Conv2D(4, 9)], (8, 8, 1), ["Conv2D 'conv1'", "9x9", "8x8"]),
        ([ReLU(), Flatten()], (2,), ["parameters"]),
        ([Dense(4)], (0,), ["input_shape", "0"]),
        ([Dense(4)], 2, ["input_shape", "2"]),
    ],
)
def test_layers_that_do_not_fit(layers, shape, parts):
    with refused(*parts):
        Network(layers, shape)


@pytest.mark.parametrize(
    ("loss", "outputs", "y"),
    [
        (SoftmaxCrossEntropy(), 1, X[:, 0]),
        (SoftmaxCrossEntropy(), 2, X > 2),
        (BinaryCrossEntropy(), 1, X[:, 0]),
        (BinaryCrossEntropy(), 3, Y),
        (Huber(), 3, np.arange(len(X)) % 3),
    ],
)
def test_targets_of_a_kind_that_the_loss_does_not_take(loss, outputs, y):
    net = Network([Dense(outputs)], (2,), loss=loss)
    before = net.theta.copy()
    with refused(type(loss).__name__):
        net.fit(X, y, progress=False)
    np.testing.assert_array_equal(net.theta, before)


def test_arrays_of_two_libraries_are_named(learned):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    with refused("torch", "numpy", "Move one"):
        learned.fit(torch.asarray(X), Y, progress=False)
    with refused("torch", "numpy"):
        learned.fit(X, Y, validation=(torch.asarray(X), torch.asarray(Y)), progress=False)
    with refused("torch", "numpy"):
        learned.evaluate(torch.asarray(X), Y)


def test_evaluating_what_does_not_fit(learned):
    with refused("targets y"):
        learned.evaluate(X)
    with refused("(5,)", "(2,)"):
        learned.evaluate(np.ones((3, 5)), Y[:3])
    with refused("3"):
        learned.evaluate(X, Y + 1)
    with refused("test part"):
        learned.evaluate(Dataset.from_arrays(X, Y))


def test_a_regression_has_no_probabilities():
    net = Network([Dense(1)], (2,))
    net.fit(X, X[:, 0], progress=False)
    with refused("MeanSquaredError", "predict"):
        net.predict_proba(X)


def test_real_targets_that_do_not_fit():
    net = Network([Dense(1)], (2,))
    with refused("NaN or infinity in 1 of 12 rows", "4"):
        net.fit(X, with_nan(X[:, 0], 4), progress=False)
    with refused("2 outputs", "1 output", "Dense(2)"):
        net.fit(X, X, progress=False)
    with refused("Batch 1", "NaN"):
        net.fit([(X, X[:, :1]), (X, with_nan(X[:, :1], 2))], progress=False)


def test_early_stopping_and_settings_are_checked_where_they_are_made():
    with refused("patience"):
        EarlyStopping(0)


def test_values_of_settings_are_shortened():
    for name in ("validation", "optimizer", "schedule", "early_stopping", "loss", "augmentation"):
        with pytest.raises(InputError, match=name) as error:
            TrainConfig(**{name: {"rows": np.ones((99, 9)).tolist()}})
        assert len(str(error.value)) < 300
        with refused(name, "(99, 9)"):
            TrainConfig(**{name: np.ones((99, 9))})


@pytest.mark.parametrize("validation", [None, 4])
def test_a_row_of_a_memory_map_is_named_as_it_is_counted_there(tmp_path, validation):
    rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(20, 50))
    rows[:] = np.arange(20)[:, None]
    rows[7, 3] = np.nan
    settings = {"validation": validation, "seed": 1, "progress": False}
    with refused("NaN", "first in row 7"):
        Network([Dense(2)], (50,)).fit(rows, np.arange(20) % 2, **settings)
    with refused("NaN", "first in row 7"):
        Network([Dense(2)], (50,)).fit(rows, np.arange(20) % 2, normalize=False, **settings)


def test_outputs_that_do_not_fit_are_counted():
    with refused("3 classes in y", "2 outputs", "Dense(3)"):
        Network([Dense(2)], (2,)).fit(X, Y, progress=False)
    with refused("2 classes in y", "1 output", "BinaryCrossEntropy()"):
        Network([Dense(1)], (2,)).fit(X, Y % 2, progress=False)
    with refused("12 classes in y", "1 output", "regression"):
        Network([Dense(1)], (2,)).fit(X, np.arange(12), progress=False)
    with refused("(12, 3) and (12,)", "SoftmaxCrossEntropy"):
        Network([Dense(3)], (2,)).fit(X, Y, loss=Huber(), progress=False)
    with refused("SoftmaxCrossEntropy", "integer"):
        Network([Dense(3)], (2,)).fit(X, X[:, 0], loss=SoftmaxCrossEntropy(), progress=False)


def test_dates_are_no_targets():
    with refused("y", "datetime64", "Convert"):
        Network([Dense(3)], (2,)).fit(X, np.full(12, "2020-01-01", "datetime64[D]"), progress=False)


def test_numbers_too_large_are_refused_without_a_warning_before():
    """Warnings are errors here."""
    with refused("Training inputs", "standard deviation", "feature 0", "Scale the inputs."):
        Network([Dense(3)], (2,), dtype="float64").fit(np.full((12, 2), 1e308), Y, progress=False)
    with refused("Network", "scale to be finite float32 numbers", "got 1e+308"):
        Network([Dense(3)], (2,)).fit(X, Y, normalize=1e308, progress=False)
    with refused("x: ", "within the range of float32", "row 0", "Scale them"):
        Network([Dense(3)], (2,)).fit(X * 1e100, Y, progress=False)
    with refused("y: ", "within the range of float32", "row 0"):
        Network([Dense(1)], (2,)).fit(X, X[:, 0] * 1e300, progress=False)


def with_huge(array, row=5):
    array = array.astype(float)
    array[row] = -1e300
    return array


HUGE = with_huge(X)
BEYOND = ["within the range of float32", "-1e+300 in row 5", "dtype='float64'"]
SUM_BEYOND = ["a sum within the range of float32", "e+30", "Divide the weights"]

TOO_LARGE = {
    "calling": (lambda net: net(HUGE), ["Network, inputs", *BEYOND]),
    "in a second batch": (lambda net: net(HUGE, batch_size=4), ["Network, inputs", *BEYOND]),
    "predict": (lambda net: net.predict(HUGE), ["Network, inputs", *BEYOND]),
    "predict_proba": (lambda net: net.predict_proba(HUGE), ["Network, inputs", *BEYOND]),
    "features": (lambda net: net.features(HUGE, "dense1"), ["Network, inputs", *BEYOND]),
    "evaluate": (lambda net: net.evaluate(HUGE, Y), ["x: ", *BEYOND]),
    "evaluate a test part": (lambda net: net.evaluate(Dataset.from_arrays(X, Y, test=(HUGE, Y))), ["test x", *BEYOND]),
    "another fit": (lambda net: net.fit(HUGE, Y), ["x: ", *BEYOND]),
    "validation": (lambda net: net.fit(X, Y, validation=(HUGE, Y)), ["validation x", *BEYOND]),
    "batches": (lambda net: net.fit([(X, Y), (HUGE, Y)]), ["Batch 1, x", *BEYOND]),
    "batches' weights": (lambda net: net.fit([(X, Y, 1e300 * Y)]), ["Batch 0", "sample_weight", *SUM_BEYOND]),
    "sample_weight": (lambda net: net.fit(X, Y, sample_weight=1e300 * Y), ["sample_weight", *SUM_BEYOND]),
    "class_weight": (lambda net: net.fit(X, Y, class_weight={1: 1e300}), ["class_weight", *SUM_BEYOND]),
    "class_weights": (
        lambda net: net.fit([(X, Y)], loss=SoftmaxCrossEntropy(class_weights=(1, 1e300, 1))),
        ["class_weight", *SUM_BEYOND],
    ),
}


@pytest.mark.parametrize("door", TOO_LARGE)
def test_finite_numbers_that_float32_cannot_hold_are_called_that(learned, door):
    call, parts = TOO_LARGE[door]
    net = copy.deepcopy(learned)
    with refused(*parts):
        call(net)


def test_real_targets_that_float32_cannot_hold():
    net = Network([Dense(1)], (2,))
    net.fit(X, X[:, 0], progress=False)
    y = with_huge(X[:, :1])
    for call in (lambda: net.fit(X, y), lambda: net.evaluate(X, y), lambda: net.fit([(X, y)])):
        with refused("y: ", *BEYOND):
            call()


def test_rows_of_a_memory_map_that_float32_cannot_hold(learned, tmp_path):
    rows = np.memmap(tmp_path / "rows", np.float64, "w+", shape=X.shape)
    rows[:] = HUGE
    net = copy.deepcopy(learned)
    for call in (lambda: net(rows), lambda: net.evaluate(rows, Y), lambda: net.fit(rows, Y)):
        with refused("nputs: ", *BEYOND):
            call()
    rows[5] = np.nan
    with refused("Evaluation inputs", "NaN or infinity", "first in row 5"):
        net.evaluate(rows, Y)


def test_numbers_that_the_dtype_holds_are_taken():
    net = Network([Dense(3)], (2,), dtype="float64")
    net.fit(X, Y, progress=False)
    assert np.isfinite(net(HUGE)).all()
    narrow = Network([Dense(3)], (2,))
    largest = np.float64(np.finfo(np.float32).max)
    assert narrow(np.full((1, 2), largest / 8)).shape == (1, 3)
    assert narrow.evaluate(np.full((12, 2), largest), Y).confusion.sum() == 12


def test_logits_that_overflow_leak_no_warning(learned):
    huge = np.full((2, 2), 3e38, np.float32)
    assert learned.predict_proba(huge).shape == (2, 3)
    assert learned.predict(huge).shape == (2,)


@pytest.mark.parametrize(
    ("arguments", "settings", "parts"),
    [
        ((Dense(3), ReLU()), {}, ["several arguments", "Pass a list"]),
        ((Dense(3), ReLU()), {"input_shape": (5,)}, ["several arguments", "Pass a list"]),
        (([Dense(3)],), {}, ["input_shape", "none", "(28, 28, 1)"]),
        (([Dense(3)], (5,)), {"loss": "huber"}, ["loss", "'huber'"]),
        (([Dense(3)], (5,)), {"loss": Huber}, ["class Huber", "Huber()"]),
    ],
)
def test_a_network_that_is_not_made_of_one_list_and_a_shape(arguments, settings, parts):
    with refused("Network", *parts):
        Network(*arguments, **settings)


def test_a_layer_needs_no_prefix():
    class Twice(ReLU):
        prefix = Layer.prefix

    assert list(Network([Twice(), Dense(2), Twice()], (2,)).layer_shapes()) == ["layer1", "dense1", "layer2"]


@pytest.mark.parametrize("hidden", [0, 100, "100"])
def test_hidden_units_are_a_list(hidden):
    with refused("'mlp'", "hidden", repr(hidden), "[100]"):
        models.create("mlp", hidden=hidden)


def test_images_with_channels_first_are_told_to_put_them_last():
    net = Network([Conv2D(2, 3), Flatten(), Dense(3)], (8, 6, 3))
    x, y = np.zeros((4, 3, 8, 6)), np.arange(4) % 3
    for call in (lambda: net(x), lambda: net.fit(x, y), lambda: net.fit([(x, y)]), lambda: net.evaluate(x, y)):
        with refused("Put the channels last", "moveaxis(x, 1, -1)"):
            call()
    with refused("(4, 5, 8, 6)", "at least one example"):
        net(np.zeros((4, 5, 8, 6)))


@pytest.mark.parametrize(("dtype", "kind"), [(int, "0/1 labels"), (bool, "0/1 labels"), (float, "real numbers")])
def test_one_hot_targets_are_warned_of_unless_the_loss_is_given(dtype, kind):
    one_hot = np.eye(3)[Y].astype(dtype)
    with pytest.warns(UserWarning, match=rf"one-hot classes, but is learned as {kind}.*argmax\(axis=1\)") as caught:
        Network([Dense(3)], (2,)).fit(X, one_hot, progress=False)
    assert [one.filename for one in caught] == [__file__]
    one_hot[0] = 1  # an example with three labels: not one-hot
    Network([Dense(3)], (2,)).fit(X, one_hot, progress=False)
    loss = MeanSquaredError() if dtype is float else BinaryCrossEntropy()
    Network([Dense(3)], (2,)).fit(X, np.eye(3)[Y].astype(dtype), loss=loss, progress=False)


@pytest.mark.parametrize("y", [[-1, 1] * 6, [0, 99] * 6])
def test_numbers_that_do_not_count_classes_say_what_to_pass(y):
    with refused("class numbers from 0", "names as text", "np.unique(y, return_inverse=True)"):
        Network([Dense(2)], (2,)).fit(X, y)
