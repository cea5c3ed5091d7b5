import numpy as np
import pytest

from tests.helpers import refused
from xpnet.backend import to_numpy
from xpnet.training.weights import check_sample_weights, class_weights

NAMES = ("cat", "dog", "owl")
TARGETS = np.array([0, 0, 0, 0, 1, 1, 2, 0], np.int32)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, (1, 1, 1)),
        ({"owl": 3, "cat": 0}, (0, 1, 3)),
        ({np.int64(1): 0.5, "owl": np.float32(2)}, (1, 0.5, 2)),
        ({0: 0, 1: 0}, (0, 0, 1)),
        ("balanced", (8 / 15, 8 / 6, 8 / 3)),
    ],
)
def test_class_weights(spec, expected):
    weights = class_weights(spec, TARGETS, NAMES)
    assert weights == pytest.approx(expected)
    assert all(type(weight) is float for weight in weights)


def test_balanced_weights_give_all_classes_the_same_total_on_every_backend(backend):
    targets = np.array([0, 0, 0, 1, 2, 2])[np.random.default_rng(0).integers(0, 6, 100)]
    weights = class_weights("balanced", backend.asarray(targets), NAMES)
    totals = [weight * (targets == number).sum() for number, weight in enumerate(weights)]
    assert totals == pytest.approx([100 / 3] * 3)


def test_a_class_without_examples_keeps_its_weight():
    assert class_weights("balanced", np.array([0, 0, 2, 0]), NAMES) == pytest.approx((4 / 9, 1, 4 / 3))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("balance", "class_weight: expected one of balanced, got 'balance'."),
        ({"cow": 1}, "class_weight: expected one of cat, dog, owl, got 'cow'."),
        ({3: 1}, "class_weight: expected names of classes or numbers from 0 to 2, got 3."),
        ({-1: 1}, "class_weight: expected names of classes or numbers from 0 to 2, got -1."),
        ({True: 1}, "class_weight: expected names of classes or numbers from 0 to 2, got True."),
        ({"cat": 1, 0: 2}, "class_weight: expected each class once, got 0 twice."),
        ({"cat": -1}, "class_weight: expected finite weights of at least 0, got -1 for 'cat'."),
        ({"cat": float("nan")}, "class_weight: expected finite weights of at least 0, got nan for 'cat'."),
        ({"cat": "2"}, "class_weight: expected finite weights of at least 0, got '2' for 'cat'."),
        (dict.fromkeys(NAMES, 0), "class_weight: expected one weight above 0, got 0 for all classes."),
        ([1, 2, 3], 'class_weight: expected "balanced" or a dict of names or numbers of classes, got list.'),
    ],
)
def test_class_weights_that_are_refused(spec, message):
    with refused(message):
        class_weights(spec, TARGETS, NAMES)


def test_sample_weights_stay_where_they_are(backend):
    weights = backend.asarray(np.array([0, 1, 2.5]))
    assert check_sample_weights("Training", weights, 3) is weights or np.shares_memory(
        to_numpy(check_sample_weights("Training", weights, 3)), to_numpy(weights)
    )
    assert check_sample_weights("Training", [1, 2, 0], 3).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "Training: expected sample_weight of shape (3,), one for each example, got (2,)."),
        ([[1], [2], [3]], "Training: expected sample_weight of shape (3,), one for each example, got (3, 1)."),
        ([1, -2, 3], "Training: expected sample_weight to be finite and at least 0, got -2.0 to 3.0."),
        ([1, np.inf, 3], "Training: expected sample_weight to be finite and at least 0, got 1.0 to inf."),
        ([1, 3e38, 3e38], "sum within the range of float32"),
        (["a", "b", "c"], "Training, sample_weight: expected a dense array of real numbers, got <U1."),
    ],
)
def test_sample_weights_that_are_refused(weights, message):
    with refused(message):
        check_sample_weights("Training", weights, 3)
