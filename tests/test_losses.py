import json
import math
from contextlib import nullcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import assert_close, assert_is_gradient, assert_lives_on, host_copies, refused
from xpnet import kernels
from xpnet.backend import to_numpy
from xpnet.kernels.cross_entropy import one_hot
from xpnet.losses import (
    CLASS_LOSSES,
    LOSSES,
    BinaryCrossEntropy,
    Focal,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)
from xpnet.serialization import from_config, to_config

LOSS = SoftmaxCrossEntropy()
RNG = np.random.default_rng(0)
OUTPUTS = RNG.normal(0.0, 2.0, (6, 4))
CLASSES = np.array([0, 3, 1, 1, 2, 0])
BITS = np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0], [1, 0, 0, 1]])
REALS = OUTPUTS + RNG.choice([-3.0, -1.7, -0.4, 0.2, 1.3, 4.0], (6, 4))  # on no kink
WEIGHTS = np.array([1.0, 0.0, 2.5, 0.5, 3.0, 1.0])
CLASS_WEIGHTS = (0.5, 2.0, 0.0, 1.5)
PIXELS, PIXEL_CLASSES = RNG.normal(0.0, 2.0, (6, 2, 3, 4)), RNG.integers(0, 4, (6, 2, 3))

CASES = {
    "cross-entropy": (SoftmaxCrossEntropy(), OUTPUTS, CLASSES),
    "smoothed": (SoftmaxCrossEntropy(0.2), OUTPUTS, CLASSES),
    "class weights": (SoftmaxCrossEntropy(class_weights=CLASS_WEIGHTS), OUTPUTS, CLASSES),
    "smoothed and class weights": (SoftmaxCrossEntropy(0.2, CLASS_WEIGHTS), OUTPUTS, CLASSES),
    "focal": (Focal(), OUTPUTS, CLASSES),
    "focal of 1/2": (Focal(0.5), OUTPUTS, CLASSES),
    "focal and class weights": (Focal(1.0, CLASS_WEIGHTS), OUTPUTS, CLASSES),
    "pixels": (SoftmaxCrossEntropy(0.2, CLASS_WEIGHTS), PIXELS, PIXEL_CLASSES),
    "pixels, unweighted classes": (SoftmaxCrossEntropy(), PIXELS, PIXEL_CLASSES),
    "pixels, focal": (Focal(), PIXELS, PIXEL_CLASSES),
    "one label": (BinaryCrossEntropy(), OUTPUTS[:, 0], BITS[:, 0].astype(bool)),
    "one label in a column": (BinaryCrossEntropy(), OUTPUTS[:, :1], BITS[:, 0]),
    "labels": (BinaryCrossEntropy(), OUTPUTS, BITS),
    "labels as floats": (BinaryCrossEntropy(), OUTPUTS, BITS.astype(np.float64)),
    "squared": (MeanSquaredError(), OUTPUTS, REALS),
    "squared, one output": (MeanSquaredError(), OUTPUTS[:, 0], REALS[:, :1]),
    "squared, integers": (MeanSquaredError(), OUTPUTS[:, :1], np.array([3, -1, 0, 7, 2, 2], np.int16)),
    "squared, classes": (MeanSquaredError(), OUTPUTS, CLASSES),
    "absolute": (MeanAbsoluteError(), OUTPUTS, REALS),
    "absolute, one output": (MeanAbsoluteError(), OUTPUTS[:, :1], REALS[:, 0]),
    "huber": (Huber(), OUTPUTS, REALS),
    "huber, one output": (Huber(1.5), OUTPUTS[:, 0], REALS[:, 0]),
}
each_case = pytest.mark.parametrize(("loss", "outputs", "targets"), CASES.values(), ids=CASES)
each_weighting = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])


def exact_loss(logits, labels):
    """The formula in Python's floats with exact sums, shifted so that no exponential overflows."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        top = max(row)
        losses.append(math.log(math.fsum(math.exp(z - top) for z in row)) + top - row[label])
    return math.fsum(losses) / len(losses)


def value_and_gradient(loss, outputs, targets, weights=None):
    """Of NumPy arrays, as NumPy arrays."""
    value, cache = loss.forward(outputs, targets, weights)
    return float(value), loss.backward(cache)


def on(backend, array, dtype=None):
    return None if array is None else backend.asarray(array, dtype)


# Every loss


@each_weighting
@each_case
def test_gradient_is_the_derivative(backend, loss, outputs, targets, weights):
    targets, weights = on(backend, targets), on(backend, weights)

    def value(outputs):
        return float(loss.forward(backend.asarray(outputs), targets, weights).loss)

    gradient = loss.backward(loss.forward(backend.asarray(outputs), targets, weights).cache)
    assert tuple(gradient.shape) == outputs.shape
    assert_is_gradient(value, {"outputs": outputs}, {"outputs": gradient})


@each_weighting
@each_case
def test_arrays_keep_dtype_and_device(backend, loss, outputs, targets, weights):
    single = on(backend, outputs, "float32"), on(backend, targets), on(backend, weights)
    value, cache = loss.forward(*single)
    assert tuple(value.shape) == ()
    for array in (value, loss.backward(cache), *cache.values()):
        assert_lives_on(array, backend, "float32")
    exact_value, exact_gradient = value_and_gradient(loss, outputs, targets, weights)
    np.testing.assert_allclose(to_numpy(value), exact_value, rtol=3e-6)
    np.testing.assert_allclose(to_numpy(loss.backward(cache)), exact_gradient, rtol=3e-5, atol=1e-7)


@each_case
def test_nothing_handed_in_is_changed(backend, loss, outputs, targets):
    handed_in = [backend.asarray(array) for array in (outputs, targets, WEIGHTS)]
    before = host_copies(handed_in)
    loss.backward(loss.forward(*handed_in).cache)
    for a, b in zip(before, host_copies(handed_in), strict=True):
        np.testing.assert_array_equal(a, b)


@each_weighting
@each_case
@pytest.mark.parametrize("backend", ["jax"], indirect=True)
def test_jit(backend, loss, outputs, targets, weights):
    import jax

    arrays = [on(backend, array) for array in (outputs, targets, weights)]
    value, cache = loss.forward(*arrays)
    jitted_value, jitted_cache = jax.jit(loss.forward)(*arrays)
    assert_close(jitted_value, value, rtol=1e-14)
    assert_close(jax.jit(loss.backward)(jitted_cache), loss.backward(cache), rtol=1e-13, atol=1e-17)
    loss.forward(*arrays)  # nothing that was made while tracing is left


@each_case
def test_a_weight_counts_an_example_that_often(loss, outputs, targets):
    times = [2, 0, 1, 3, 1, 1]
    weighted, gradient = value_and_gradient(loss, outputs, targets, np.array(times))
    rows = np.repeat(np.arange(6), times)
    repeated, repeated_gradient = value_and_gradient(loss, outputs[rows], targets[rows])
    assert weighted == pytest.approx(repeated, rel=1e-13)
    expected = np.zeros_like(outputs)
    np.add.at(expected, rows, repeated_gradient)
    np.testing.assert_allclose(gradient, expected, rtol=1e-11, atol=1e-16)


@each_case
def test_only_ratios_of_weights_count(loss, outputs, targets):
    value, gradient = value_and_gradient(loss, outputs, targets, WEIGHTS)
    larger, larger_gradient = value_and_gradient(loss, outputs, targets, 1024 * WEIGHTS)
    assert (larger, larger_gradient.tolist()) == (value, gradient.tolist())
    unweighted, _ = value_and_gradient(loss, outputs, targets)
    assert value_and_gradient(loss, outputs, targets, np.full(6, 3))[0] == pytest.approx(unweighted, rel=1e-14)


@each_case
def test_weights_of_0_alone(backend, loss, outputs, targets):
    zero = backend.asarray(np.zeros(6))
    value, cache = loss.forward(backend.asarray(outputs), backend.asarray(targets), zero)
    assert float(value) == 0
    assert not np.any(to_numpy(loss.backward(cache)))


@each_case
def test_settings_survive_as_json(loss, outputs, targets):
    assert from_config(json.loads(json.dumps(to_config(loss)))) == loss
    assert hash(loss) == hash(from_config(to_config(loss)))


def test_the_names_of_losses():
    assert {name: kind().target for name, kind in LOSSES.items()} == {
        "cross-entropy": "classes",
        "binary-cross-entropy": "binary",
        "focal": "classes",
        "mean-squared-error": "real",
        "mean-absolute-error": "real",
        "huber": "real",
    }


# What the outputs say


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), Focal()], ids=str)
def test_predicted_classes_and_their_probabilities(backend, loss):
    logits = backend.asarray(np.array([[0.0, 3.0, 3.0], [1e4, -1e4, 0.0]]))
    assert to_numpy(loss.predictions(logits)).tolist() == [1, 0]
    e = math.exp(-3)
    expected = [[e / (e + 2), 1 / (e + 2), 1 / (e + 2)], [1, 0, 0]]
    assert_close(loss.probabilities(logits), backend.asarray(np.array(expected)), rtol=1e-15)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(), Focal()], ids=str)
def test_every_pixel_is_predicted(loss):
    np.testing.assert_array_equal(loss.predictions(PIXELS), PIXELS.argmax(axis=-1))
    probabilities = loss.probabilities(PIXELS)
    np.testing.assert_allclose(probabilities[1, 1], loss.probabilities(PIXELS[1, 1]))
    with refused("outputs (N, classes) and targets (N,), or (N, H, W, classes) and (N, H, W)"):
        loss.forward(PIXELS, PIXEL_CLASSES[:, 0])
    with refused("expected targets from 0 to 3, got 0 to 4"):
        loss.forward(PIXELS, np.where(PIXEL_CLASSES == 3, 4, PIXEL_CLASSES))
    with refused("Loss: expected weights (6,), got shape (6, 2)."):
        loss.forward(PIXELS, PIXEL_CLASSES, np.ones((6, 2)))


@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 2)])
def test_predicted_labels_and_their_probabilities(backend, shape):
    logits = backend.asarray(np.array([0.0, 1.5, -1e4, 1e4]).reshape(shape))
    expected = (2, 2) if shape == (2, 2) else (4,)
    predictions, probabilities = BinaryCrossEntropy().predictions(logits), BinaryCrossEntropy().probabilities(logits)
    assert_close(predictions, backend.asarray(np.array([False, True, False, True]).reshape(expected)))
    values = np.array([0.5, 1 / (1 + math.exp(-1.5)), 0, 1]).reshape(expected)
    assert_close(probabilities, backend.asarray(values), rtol=1e-15)


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), Huber()], ids=str)
def test_predicted_numbers_have_no_probabilities(backend, loss):
    outputs = backend.asarray(OUTPUTS)
    assert_close(loss.predictions(outputs), outputs)
    assert_close(loss.predictions(outputs[:, :1]), outputs[:, 0])
    with refused(type(loss).__name__, "predict_proba", "classifiers"):
        loss.probabilities(outputs)


# Cross-entropy


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-13), ("float32", 1e-6)])
@each_weighting
def test_loss_and_gradient(backend, dtype, rtol, weights):
    shares = (np.ones(6) if weights is None else weights) / (6 if weights is None else weights.sum())
    rows = [exact_loss(OUTPUTS[n : n + 1], CLASSES[n : n + 1]) for n in range(6)]
    loss, cache = LOSS.forward(on(backend, OUTPUTS, dtype), backend.asarray(CLASSES), on(backend, weights, dtype))
    assert_close(loss, backend.asarray(np.asarray(shares @ rows), dtype), rtol=rtol)
    softmax = np.exp(OUTPUTS) / np.sum(np.exp(OUTPUTS), axis=1, keepdims=True)
    expected = (softmax - np.eye(4)[CLASSES]) * shares[:, None]
    assert_close(LOSS.backward(cache), backend.asarray(expected, dtype), rtol=10 * rtol, atol=rtol)


@each_weighting
@pytest.mark.parametrize("loss", [LOSS, Focal(), Focal(0.5), Focal(0.0)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand(backend, dtype, loss, weights):
    """Right by a margin of 2e4 costs nothing; wrong by it costs 2e4, with a gradient of -1 and 1."""
    logits = backend.asarray(np.array([[1e4, -1e4], [1e4, -1e4]]), dtype)
    weights = None if weights is None else backend.asarray(np.ones(2), dtype)
    value, cache = loss.forward(logits, backend.asarray(np.array([0, 1])), weights)
    assert float(value) == 1e4
    np.testing.assert_array_equal(to_numpy(loss.backward(cache)), [[0, 0], [0.5, -0.5]])


@pytest.mark.parametrize("value", [0.0, -1e4, 1e4])
def test_equal_logits_cost_log_k(backend, value):
    logits = backend.asarray(np.full((3, 7), value))
    loss, cache = LOSS.forward(logits, backend.asarray(np.array([0, 3, 6])))
    assert float(loss) == pytest.approx(math.log(7), rel=1e-15)
    np.testing.assert_allclose(to_numpy(LOSS.backward(cache)), (1 / 7 - np.eye(7)[[0, 3, 6]]) / 3, rtol=1e-14)


def test_adding_a_number_to_all_logits_changes_nothing(backend):
    rng = np.random.default_rng(1)
    logits, labels = rng.integers(-20, 20, (5, 3)).astype(np.float64), backend.asarray(np.array([0, 1, 2, 0, 1]))
    here, there = (LOSS.forward(backend.asarray(logits + shift), labels) for shift in (0, 4096))
    assert_close(there.loss, here.loss)
    assert_close(LOSS.backward(there.cache), LOSS.backward(here.cache))


def test_class_weights_are_weights_of_their_examples():
    weighted = value_and_gradient(SoftmaxCrossEntropy(class_weights=CLASS_WEIGHTS), OUTPUTS, CLASSES, WEIGHTS)
    by_example = value_and_gradient(LOSS, OUTPUTS, CLASSES, WEIGHTS * np.array(CLASS_WEIGHTS)[CLASSES])
    assert weighted[0] == pytest.approx(by_example[0], rel=1e-14)
    np.testing.assert_allclose(weighted[1], by_example[1], rtol=1e-13)


def test_class_weights_of_0_for_all_classes_of_a_batch(backend):
    for loss in (SoftmaxCrossEntropy(class_weights=(0, 1)), Focal(class_weights=(0, 1))):
        value, cache = loss.forward(backend.asarray(np.ones((2, 2))), backend.asarray(np.array([0, 0])))
        assert float(value) == 0
        assert not np.any(to_numpy(loss.backward(cache)))


def test_class_weights_may_be_a_list_or_an_array():
    expected = SoftmaxCrossEntropy(class_weights=(1.0, 2.0))
    assert SoftmaxCrossEntropy(class_weights=[1, 2]) == expected
    assert hash(SoftmaxCrossEntropy(class_weights=np.array([1, 2]))) == hash(expected)


def test_numbers_on_the_device_are_made_once(backend):
    like = backend.asarray(np.zeros(3), "float32")
    once, again = (kernels.vector((0.25, 7.0), like) for _ in range(2))
    assert_close(once, backend.asarray(np.array([0.25, 7.0]), "float32"))
    assert_close(again, once)
    assert (again is once) == (backend.name != "jax")
    assert_close(kernels.vector((0.25, 7.0), backend.asarray(np.zeros(3))), backend.asarray(np.array([0.25, 7.0])))


@pytest.mark.parametrize("labels_dtype", ["uint8", "int32", "int64"])
def test_one_hot(backend, labels_dtype):
    rows = one_hot(backend.asarray(np.array([2, 0], labels_dtype)), 3, backend.dtype("float32"))
    assert_close(rows, backend.asarray(np.array([[0, 0, 1], [1, 0, 0]], np.float32)))


def test_one_hot_with_more_classes_than_the_labels_dtype_can_count(backend):
    rows = to_numpy(one_hot(backend.asarray(np.array([44], np.uint8)), 301, backend.dtype("float32")))
    assert np.flatnonzero(rows).tolist() == [44]


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("loss", [LOSS, Focal(), MeanSquaredError()], ids=str)
def test_class_numbers_of_any_integer_dtype(backend, loss, dtype):
    outputs = backend.asarray(OUTPUTS)
    assert_close(
        loss.forward(outputs, backend.asarray(CLASSES.astype(dtype))).loss,
        loss.forward(outputs, backend.asarray(CLASSES)).loss,
    )


# Focal loss


def test_focal_loss_of_gamma_0_is_cross_entropy():
    focal = value_and_gradient(Focal(0.0, CLASS_WEIGHTS), OUTPUTS, CLASSES, WEIGHTS)
    expected = value_and_gradient(SoftmaxCrossEntropy(class_weights=CLASS_WEIGHTS), OUTPUTS, CLASSES, WEIGHTS)
    assert focal[0] == pytest.approx(expected[0], rel=1e-14)
    np.testing.assert_allclose(focal[1], expected[1], rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("margin", [-700.0, -40.0, -1.0, 0.0, 1.0, 10.0, 40.0, 300.0])
def test_focal_loss_from_surely_wrong_to_surely_right(backend, gamma, margin):
    """Of two classes, against the formula with e = 1 - p = 1 / (1 + exp(margin)), which needs no other digits."""
    e = 1 / (1 + math.exp(margin)) if margin < 0 else math.exp(-margin) / (1 + math.exp(-margin))
    log_p = -math.log1p(math.exp(-margin)) if margin > 0 else margin - math.log1p(math.exp(margin))
    slope = e**gamma * (1 - gamma * (1 - e) * log_p / e) * e
    loss, cache = Focal(gamma).forward(backend.asarray(np.array([[margin, 0.0]])), backend.asarray(np.array([0])))
    assert float(loss) == pytest.approx(-(e**gamma) * log_p, rel=1e-12)
    np.testing.assert_allclose(to_numpy(Focal(gamma).backward(cache)), [[-slope, slope]], rtol=1e-12)


# Binary cross-entropy


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_logits_of_ten_thousand(backend, dtype):
    logits = backend.asarray(np.array([1e4, -1e4, 1e4, -1e4]), dtype)
    loss, cache = BinaryCrossEntropy().forward(logits, backend.asarray(np.array([True, False, False, True])))
    assert float(loss) == 1e4 / 2
    np.testing.assert_array_equal(to_numpy(BinaryCrossEntropy().backward(cache)), [0, 0, 0.25, -0.25])


@pytest.mark.parametrize("logit", [-80.0, -30.0, -1.0, 0.0, 1.0, 30.0, 80.0])
def test_binary_gradient_keeps_its_digits_where_the_label_is_almost_sure(backend, logit):
    loss, cache = BinaryCrossEntropy().forward(
        backend.asarray(np.array([logit, logit])), backend.asarray(np.array([0, 1])), backend.asarray(np.ones(2))
    )
    p, q = 1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(logit))
    np.testing.assert_allclose(to_numpy(BinaryCrossEntropy().backward(cache)), [p / 2, -q / 2], rtol=1e-14)
    sure = math.log1p(math.exp(-abs(logit)))
    assert float(loss) == pytest.approx(abs(logit) / 2 + sure, rel=1e-14)


def test_one_label_is_cross_entropy_of_two_classes():
    """With logits 0 and z."""
    logits = np.stack([np.zeros(6), OUTPUTS[:, 0]], axis=1)
    two = value_and_gradient(LOSS, logits, BITS[:, 0], WEIGHTS)
    one = value_and_gradient(BinaryCrossEntropy(), OUTPUTS[:, 0], BITS[:, 0], WEIGHTS)
    assert one[0] == pytest.approx(two[0], rel=1e-14)
    np.testing.assert_allclose(one[1], two[1][:, 1], rtol=1e-12, atol=1e-16)


# Real targets


def test_mean_squared_error_of_classes_by_hand():
    loss, cache = MeanSquaredError().forward(np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0, 1]))
    assert loss == (0 + 4 + 9 + 4) / 4
    assert MeanSquaredError().backward(cache).tolist() == [[0.0, 1.0], [1.5, -1.0]]


@pytest.mark.parametrize(
    ("loss", "value", "gradient"),
    [
        (MeanSquaredError(), (9 + 3 * 1 + 3 * 0.25) / 8, [6 / 8, 0, 3 * -2 / 8, 3 * 1 / 8]),
        (MeanAbsoluteError(), (3 + 3 * 1 + 3 * 0.5) / 8, [1 / 8, 0, 3 * -1 / 8, 3 * 1 / 8]),
        (Huber(), (2.5 + 3 * 0.5 + 3 * 0.125) / 8, [1 / 8, 0, 3 * -1 / 8, 3 * 0.5 / 8]),
        (Huber(2.0), (4 + 3 * 0.5 + 3 * 0.125) / 8, [2 / 8, 0, 3 * -1 / 8, 3 * 0.5 / 8]),
    ],
    ids=str,
)
def test_real_targets_by_hand(backend, loss, value, gradient):
    """Differences 3 and 0 with weight 1, -1 and 1/2 with weight 3."""
    outputs, targets = backend.asarray(np.array([[4.0, 2.0], [0.0, 1.0]])), np.array([[1.0, 2.0], [1.0, 0.5]])
    actual, cache = loss.forward(outputs, backend.asarray(targets), backend.asarray(np.array([1, 3])))
    assert float(actual) == value
    assert np.ravel(to_numpy(loss.backward(cache))).tolist() == gradient


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_huber_is_quadratic_up_to_delta_and_linear_beyond(d, delta):
    value, (gradient,) = value_and_gradient(Huber(delta), np.array([d]), np.zeros(1))
    size, exact = Fraction(abs(d)), Fraction(delta)
    expected = size * size / 2 if size <= exact else exact * (size - exact / 2)
    assert value == pytest.approx(float(expected), rel=1e-14, abs=1e-300)
    assert gradient == (d if abs(d) <= delta else math.copysign(delta, d))


def test_huber_of_distances_whose_square_overflows(backend):
    loss, cache = Huber().forward(backend.asarray(np.array([1e30]), "float32"), backend.asarray(np.zeros(1)))
    assert float(loss) == pytest.approx(1e30)
    assert to_numpy(Huber().backward(cache)).tolist() == [1]


def test_float64_targets_of_float32_outputs_are_converted(backend):
    outputs = backend.asarray(OUTPUTS, "float32")
    for loss in (MeanSquaredError(), MeanAbsoluteError(), Huber()):
        assert_lives_on(loss.forward(outputs, backend.asarray(REALS)).loss, backend, "float32")


# Bad input


@pytest.mark.parametrize("loss", [LOSS, Focal()], ids=str)
@pytest.mark.parametrize(
    ("outputs_shape", "targets_shape"), [((3,), (3,)), ((3, 2), (3, 1)), ((3, 2), (2,)), ((0, 2), (0,)), ((2, 0), (2,))]
)
def test_classes_of_a_shape_that_does_not_fit(loss, outputs_shape, targets_shape):
    with refused(type(loss).__name__, "outputs (N, classes) and targets (N,)", str(outputs_shape), str(targets_shape)):
        loss.check(np.zeros(outputs_shape), np.zeros(targets_shape, int))


@pytest.mark.parametrize("loss", [BinaryCrossEntropy(), MeanSquaredError(), MeanAbsoluteError(), Huber()], ids=str)
@pytest.mark.parametrize(
    ("outputs_shape", "targets_shape"),
    [((3, 2), (3,)), ((3, 2), (3, 1)), ((3,), (2,)), ((0,), (0,)), ((2, 0), (2, 0)), ((2, 2, 2), (2, 2, 2)), ((), ())],
)
def test_targets_of_another_shape(loss, outputs_shape, targets_shape):
    with refused(type(loss).__name__, "targets of the same shape", str(outputs_shape), str(targets_shape)):
        loss.check(np.zeros(outputs_shape), np.zeros(targets_shape))


@pytest.mark.parametrize("loss", [LOSS, Focal()], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_class_numbers_that_are_not_integers(backend, loss, dtype):
    targets = backend.asarray(np.zeros(2), dtype)
    with refused(type(loss).__name__, "class numbers", "integer", dtype):
        loss.check(backend.asarray(np.zeros((2, 3))), targets)


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError(), Huber()], ids=str)
@pytest.mark.parametrize("dtype", ["bool", "complex64"])
def test_targets_that_are_not_real_numbers(loss, dtype):
    with refused(type(loss).__name__, "real numbers", dtype):
        loss.check(np.zeros(2), np.zeros(2, dtype))


@pytest.mark.parametrize("targets", [[0.0, 0.5], [0.0, math.nan], [2.0, 1.0], [-1.0, 1.0]])
@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"], indirect=True)
def test_labels_that_are_neither_0_nor_1_are_refused_on_the_host(backend, targets):
    with refused("BinaryCrossEntropy: expected targets of 0 and 1"):
        BinaryCrossEntropy().check(backend.asarray(np.zeros(2)), backend.asarray(np.array(targets)))


@pytest.mark.parametrize(("targets", "got"), [([0, 3], "0 to 3"), ([-1, 2], "-1 to 2")])
@pytest.mark.parametrize("loss", [LOSS, Focal(), MeanSquaredError()], ids=str)
@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"], indirect=True)
def test_class_numbers_out_of_range_are_refused_on_the_host(backend, loss, targets, got):
    with refused("expected targets from 0 to 2", f"got {got}"):
        loss.check(backend.asarray(np.zeros((2, 3))), backend.asarray(np.array(targets)))


@pytest.mark.parametrize("kind", LOSSES.values())
def test_outputs_that_are_integers(kind):
    with refused(kind.__name__, "floating-point", "int64"):
        kind().check(np.zeros((2, 3), np.int64), np.array([0, 1]))


@pytest.mark.parametrize("kind", LOSSES.values())
def test_lists(kind):
    with refused(kind.__name__, "outputs", "list"):
        kind().forward([[0.0, 1.0]], np.array([0]))
    with refused(kind.__name__, "targets", "list"):
        kind().forward(np.zeros((1, 2)), [0])
    with refused("weights", "list"):
        loss, outputs, targets = CASES["huber"]
        loss.forward(outputs, targets, [1.0] * 6)


@pytest.mark.parametrize("kind", LOSSES.values())
def test_arrays_of_another_library_are_refused(backend, other_backend, kind):
    if backend.name == other_backend.name:
        pytest.skip("one library")
    outputs, targets = np.zeros((2, 3)), {"classes": np.array([0, 1])}.get(kind().target, np.zeros((2, 3)))
    with refused("outputs and targets of one library on one device, got", backend.name, other_backend.name):
        kind().forward(backend.asarray(outputs), other_backend.asarray(targets))
    with refused("outputs and weights of one library on one device, got", backend.name, other_backend.name):
        kind().forward(backend.asarray(outputs), backend.asarray(targets), other_backend.asarray(np.ones(2)))


def test_targets_on_another_device_are_refused():
    import array_api_strict as xp

    logits = xp.zeros((2, 3), device=xp.Device("device1"))
    with refused("of one library on one device"):
        LOSS.forward(logits, xp.zeros((2,), dtype=xp.int32, device=xp.Device("CPU_DEVICE")))


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"], indirect=True)
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones(5), ["weights (6,)", "(5,)"]),
        (np.ones((6, 1)), ["weights (6,)", "(6, 1)"]),
        (np.full(6, -1.0), ["at least 0", "-1.0"]),
        (np.array([1, 1, 1, 1, 1, math.nan]), ["finite", "nan"]),
        (np.array([1, 1, 1, 1, 1, math.inf]), ["finite", "inf"]),
        (np.ones(6, np.complex64), ["real numbers", "complex64"]),
    ],
)
def test_bad_weights(backend, weights, words):
    for loss, outputs, targets in CASES.values():
        with refused("weights", *words):
            loss.forward(backend.asarray(outputs), backend.asarray(targets), backend.asarray(weights))


@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, Focal])
@pytest.mark.parametrize("weights", [(), (0.0, 0.0), (1.0, -1.0), (1.0, math.nan), (1.0, math.inf), "ab", 3, [None]])
def test_bad_class_weights(kind, weights):
    with refused(f"{kind.__name__}: expected", "class_weights"):
        kind(class_weights=weights)


@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, Focal])
def test_class_weights_of_another_number_of_classes(kind):
    with refused(f"{kind.__name__}", "class_weights for 4 classes", "got 3"):
        kind(class_weights=(1, 2, 3)).check(OUTPUTS, CLASSES)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_out_of_range(smoothing):
    with refused("SoftmaxCrossEntropy", "label_smoothing in [0, 1)", f"got {smoothing}"):
        SoftmaxCrossEntropy(smoothing)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_gamma_and_delta_out_of_range(value):
    with refused("Focal", "gamma", str(value)):
        Focal(value)
    with refused("Huber", "delta", str(value)):
        Huber(value)
    with refused("Huber", "delta", "got 0"):
        Huber(0)


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_of_the_command_line_take_class_numbers(name):
    outputs, targets = np.zeros((4, 3)), np.arange(4) % 3
    with nullcontext() if name in CLASS_LOSSES else refused(LOSSES[name].__name__):
        LOSSES[name]().check(outputs, targets)
