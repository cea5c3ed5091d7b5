"""Losses against PyTorch: values and gradients, with weights of examples and classes and label smoothing together."""

import numpy as np
import pytest

from xpnet.losses import (
    BinaryCrossEntropy,
    Focal,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)

torch = pytest.importorskip("torch")
functional = torch.nn.functional

LABELS = np.array([0, 1, 2, 3, 3, 0])
WEIGHTS = np.array([1.0, 0.0, 2.5, 0.5, 3.0, 1.0])
CLASS_WEIGHTS = (0.5, 2.0, 0.25, 1.5)


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, np.asarray(expected), rtol=1e-12, atol=1e-13, strict=True)


def assert_parity(loss, outputs, targets, weights, expected):
    """Compare with ``expected``, a function of PyTorch's outputs and weights (1 where there are none)."""
    actual, cache = loss.forward(outputs, targets, weights)
    theirs = torch.tensor(outputs, requires_grad=True)
    value = expected(theirs, torch.tensor(np.ones(len(outputs)) if weights is None else weights))
    value.backward()
    assert_same(np.asarray(actual), value.detach())
    assert_same(loss.backward(cache), theirs.grad)


def mean(losses, weights):
    """The weighted mean of losses (N,) or (N, K), over all K with the same weight."""
    rows = losses.reshape(len(losses), -1).mean(dim=1)
    return (rows * weights).sum() / weights.sum()


each_weighting = pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
each_class_weighting = pytest.mark.parametrize("class_weights", [None, CLASS_WEIGHTS], ids=["classes equal", "unequal"])


@each_class_weighting
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_softmax_cross_entropy(size, smoothing, class_weights):
    outputs = np.random.default_rng(3).normal(0.0, size, (6, 4))
    class_weights_there = class_weights and torch.tensor(class_weights, dtype=torch.float64)

    def expected(outputs, weights):
        return functional.cross_entropy(outputs, torch.tensor(LABELS), class_weights_there, label_smoothing=smoothing)

    assert_parity(SoftmaxCrossEntropy(smoothing, class_weights), outputs, LABELS, None, expected)


@each_class_weighting
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_cross_entropy_with_weights(smoothing, class_weights):
    """PyTorch has none of examples: its sums, example by example, are averaged here."""
    outputs, by_class = np.random.default_rng(4).normal(0.0, 2.0, (6, 4)), torch.tensor(class_weights or (1.0,) * 4)
    by_class = by_class.to(torch.float64)

    def expected(outputs, weights):
        losses = functional.cross_entropy(
            outputs, torch.tensor(LABELS), by_class, reduction="none", label_smoothing=smoothing
        )
        return (weights * losses).sum() / (weights * by_class[LABELS]).sum()

    assert_parity(SoftmaxCrossEntropy(smoothing, class_weights), outputs, LABELS, WEIGHTS, expected)


@each_weighting
@each_class_weighting
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
def test_focal(gamma, class_weights, weights):
    """Its formula, differentiated by PyTorch."""
    outputs = np.random.default_rng(5).normal(0.0, 2.0, (6, 4))
    by_class = torch.tensor(class_weights or (1.0,) * 4, dtype=torch.float64)[LABELS]

    def expected(outputs, weights):
        log_p = functional.log_softmax(outputs, dim=1)[torch.arange(6), torch.tensor(LABELS)]
        return mean(-((1 - torch.exp(log_p)) ** gamma) * log_p, weights * by_class)

    assert_parity(Focal(gamma, class_weights), outputs, LABELS, weights, expected)


@each_weighting
@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_binary_cross_entropy(size, shape, weights):
    rng = np.random.default_rng(6)
    outputs, targets = rng.normal(0.0, size, shape), rng.integers(0, 2, shape)

    def expected(outputs, weights):
        there = torch.tensor(targets, dtype=torch.float64)
        return mean(functional.binary_cross_entropy_with_logits(outputs, there, reduction="none"), weights)

    assert_parity(BinaryCrossEntropy(), outputs, targets, weights, expected)


@each_weighting
@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
@pytest.mark.parametrize(
    ("loss", "function", "settings"),
    [
        (MeanSquaredError(), functional.mse_loss, {}),
        (MeanAbsoluteError(), functional.l1_loss, {}),
        (Huber(), functional.huber_loss, {}),
        (Huber(0.3), functional.huber_loss, {"delta": 0.3}),
    ],
    ids=lambda value: str(value) if hasattr(value, "forward") else "",
)
def test_real_targets(loss, function, settings, shape, weights):
    rng = np.random.default_rng(7)
    outputs, targets = rng.normal(size=shape), rng.normal(size=shape)
    targets[0] = outputs[0]  # where |d| has its kink

    def expected(outputs, weights):
        return mean(function(outputs, torch.tensor(targets), reduction="none", **settings), weights)

    assert_parity(loss, outputs, targets, weights, expected)


@each_weighting
def test_mean_squared_error_of_classes(weights):
    outputs = np.random.default_rng(8).normal(size=(6, 4))

    def expected(outputs, weights):
        return mean(functional.mse_loss(outputs, torch.tensor(np.eye(4)[LABELS]), reduction="none"), weights)

    assert_parity(MeanSquaredError(), outputs, LABELS, weights, expected)


@each_weighting
def test_a_class_for_each_pixel(weights):
    rng = np.random.default_rng(3)
    outputs, targets = rng.normal(size=(6, 2, 3, 4)), rng.integers(0, 4, (6, 2, 3))

    def expected(theirs, their_weights):
        losses = functional.cross_entropy(theirs.permute(0, 3, 1, 2), torch.tensor(targets), reduction="none")
        return mean(losses, their_weights)

    assert_parity(SoftmaxCrossEntropy(), outputs, targets, weights, expected)
