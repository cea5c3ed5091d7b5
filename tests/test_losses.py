import math

import numpy as np
import pytest

from tests.helpers import assert_close, assert_is_gradient, assert_lives_on, host_copies, refused
from xpnet.backend import to_numpy
from xpnet.losses import LOSSES, MeanSquaredError, SoftmaxCrossEntropy, one_hot

LOSS = SoftmaxCrossEntropy()


def exact_loss(logits, labels):
    """The formula in Python's floats with exact sums, shifted so that no exponential overflows."""
    losses = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        top = max(row)
        losses.append(math.log(math.fsum(math.exp(z - top) for z in row)) + top - row[label])
    return math.fsum(losses) / len(losses)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.normal(0.0, 5.0, (6, 4)), np.array([0, 3, 1, 1, 2, 0])


@pytest.mark.parametrize(("dtype", "rtol"), [("float64", 1e-13), ("float32", 1e-6)])
def test_loss_and_gradient(backend, batch, dtype, rtol):
    logits, labels = batch
    loss, cache = LOSS.forward(backend.asarray(logits, dtype), backend.asarray(labels))
    assert_close(loss, backend.asarray(np.asarray(exact_loss(logits, labels)), dtype), rtol=rtol)
    softmax = np.exp(logits) / np.sum(np.exp(logits), axis=1, keepdims=True)
    expected = (softmax - np.eye(4)[labels]) / 6
    assert_close(LOSS.backward(cache), backend.asarray(expected, dtype), rtol=10 * rtol, atol=rtol)
    for array in cache.values():
        assert_lives_on(array, backend, dtype)


def test_gradient_is_the_derivative(backend, batch):
    logits, labels = batch
    labels = backend.asarray(labels)

    def loss(logits):
        return float(LOSS.forward(backend.asarray(logits), labels).loss)

    gradient = LOSS.backward(LOSS.forward(backend.asarray(logits), labels).cache)
    assert_is_gradient(loss, {"logits": logits}, {"logits": gradient})


def test_nothing_handed_in_is_changed(backend, batch):
    handed_in = [backend.asarray(array) for array in batch]
    before = host_copies(handed_in)
    LOSS.backward(LOSS.forward(*handed_in).cache)
    for a, b in zip(before, host_copies(handed_in), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logits_of_ten_thousand(backend, dtype):
    """Right by a margin of 2e4 costs nothing; wrong by it costs 2e4, with a gradient of -1 and 1."""
    logits = backend.asarray(np.array([[1e4, -1e4], [1e4, -1e4]]), dtype)
    loss, cache = LOSS.forward(logits, backend.asarray(np.array([0, 1])))
    assert float(loss) == 1e4
    np.testing.assert_array_equal(to_numpy(LOSS.backward(cache)), [[0, 0], [0.5, -0.5]])


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


@pytest.mark.parametrize("labels_dtype", ["uint8", "int32", "int64"])
def test_one_hot(backend, labels_dtype):
    rows = one_hot(backend.asarray(np.array([2, 0], labels_dtype)), 3, backend.dtype("float32"))
    assert_close(rows, backend.asarray(np.array([[0, 0, 1], [1, 0, 0]], np.float32)))


def test_one_hot_with_more_classes_than_the_labels_dtype_can_count(backend):
    rows = to_numpy(one_hot(backend.asarray(np.array([44], np.uint8)), 301, backend.dtype("float32")))
    assert np.flatnonzero(rows).tolist() == [44]


@pytest.mark.parametrize(
    ("logits_shape", "labels_shape"), [((3,), (3,)), ((3, 2), (3, 1)), ((3, 2), (2,)), ((0, 2), (0,)), ((2, 0), (2,))]
)
def test_shapes_that_do_not_fit(logits_shape, labels_shape):
    with refused("SoftmaxCrossEntropy: expected logits (N, classes) and labels (N,), got shapes", str(logits_shape)):
        LOSS.forward(np.zeros(logits_shape), np.zeros(labels_shape, int))


@pytest.mark.parametrize("dtype", ["float32", "bool"])
def test_labels_that_are_no_whole_numbers(backend, dtype):
    labels = backend.asarray(np.zeros(2), dtype)
    with refused("SoftmaxCrossEntropy: expected labels to be whole numbers, got dtype"):
        LOSS.forward(backend.asarray(np.zeros((2, 3))), labels)


@pytest.mark.parametrize("backend", ["jax"], indirect=True)
def test_jit(backend, batch):
    import jax

    logits, labels = (backend.asarray(array) for array in batch)
    loss, cache = LOSS.forward(logits, labels)
    jitted_loss, jitted_cache = jax.jit(LOSS.forward)(logits, labels)
    assert_close(jitted_loss, loss, rtol=1e-14)
    assert_close(jax.jit(LOSS.backward)(jitted_cache), LOSS.backward(cache), rtol=1e-13)


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(label_smoothing=0.2), MeanSquaredError()], ids=str)
def test_other_losses_on_every_library(backend, batch, loss):
    logits, labels = batch
    labels = backend.asarray(labels)

    def value(logits):
        return float(loss.forward(backend.asarray(logits), labels).loss)

    result, cache = loss.forward(backend.asarray(logits, "float32"), labels)
    for array in (result, loss.backward(cache), *cache.values()):
        assert_lives_on(array, backend, "float32")
    gradient = loss.backward(loss.forward(backend.asarray(logits), labels).cache)
    assert_is_gradient(value, {"logits": logits}, {"logits": gradient})


def test_mean_squared_error_by_hand():
    loss, cache = MeanSquaredError().forward(np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([0, 1]))
    assert loss == (0 + 4 + 9 + 4) / 4
    assert MeanSquaredError().backward(cache).tolist() == [[0.0, 1.0], [1.5, -1.0]]


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_label_smoothing_out_of_range(smoothing):
    with refused(f"SoftmaxCrossEntropy: expected label_smoothing in [0, 1), got {smoothing}."):
        SoftmaxCrossEntropy(smoothing)


@pytest.mark.parametrize(("labels", "got"), [([0, 3], "0 to 3"), ([-1, 2], "-1 to 2")])
@pytest.mark.parametrize("loss", LOSSES.values())
@pytest.mark.parametrize("backend", ["numpy", "torch", "jax"], indirect=True)
def test_labels_out_of_range_are_refused_on_the_host(backend, loss, labels, got):
    with refused("expected labels from 0 to 2", f"got {got}"):
        loss().forward(backend.asarray(np.zeros((2, 3))), backend.asarray(np.array(labels)))


@pytest.mark.parametrize("loss", LOSSES.values())
def test_labels_of_another_library_are_refused(backend, other_backend, loss):
    if backend.name == other_backend.name:
        pytest.skip("one library")
    logits, labels = backend.asarray(np.zeros((2, 3))), other_backend.asarray(np.array([0, 1]))
    with refused("expected logits and labels of one library on one device, got", backend.name, other_backend.name):
        loss().forward(logits, labels)


def test_labels_on_another_device_are_refused():
    import array_api_strict as xp

    logits = xp.zeros((2, 3), device=xp.Device("device1"))
    with refused("of one library on one device"):
        LOSS.forward(logits, xp.zeros((2,), dtype=xp.int32, device=xp.Device("CPU_DEVICE")))
