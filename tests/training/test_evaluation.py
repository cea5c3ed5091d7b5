import json
import re

import numpy as np
import pytest

from xpnet import Network, metrics
from xpnet.layers import Conv2D, Dense, Flatten, Sequential
from xpnet.losses import BinaryCrossEntropy, Huber
from xpnet.training import BinaryEvaluation, Evaluation, Evaluator, RegressionEvaluation
from xpnet.training.evaluation import BATCH_SIZE


def test_evaluation_equals_the_formulas():
    network = Network(Sequential([Flatten(), Dense(3)]), (2, 2, 1), dtype="float64")
    count = BATCH_SIZE + 7  # more than one batch, the last one smaller
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, 2, 2, 1), dtype=np.uint8), rng.integers(0, 3, count)
    evaluation = Evaluator(network)(network.theta, network.state, images, labels)

    logits = network(images)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(evaluation.probabilities, probabilities, atol=1e-12)
    log_probabilities = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    assert evaluation.loss == pytest.approx(-log_probabilities[np.arange(count), labels].mean())
    np.testing.assert_array_equal(
        evaluation.confusion, metrics.confusion_matrix(labels, logits.argmax(axis=1), classes=3)
    )
    assert evaluation.accuracy == np.mean(logits.argmax(axis=1) == labels)


@pytest.mark.parametrize(("dtype", "expected"), [("float32", 16), ("float64", 8)])
def test_large_outputs_make_batches_small(monkeypatch, dtype, expected):
    network = Network(Sequential([Conv2D(64, 1), Flatten(), Dense(2)]), (128, 128, 1), dtype=dtype)
    evaluator, sizes = Evaluator(network), []  # an output is 128·128·64 numbers: 4 MiB in float32
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda theta, state, x: sizes.append(len(x)) or forward(theta, state, x))
    evaluator(network.theta, network.state, np.zeros((20, 128, 128, 1), np.uint8), np.zeros(20, np.int32))
    assert sizes[0] == expected
    assert sum(sizes) == 20


def test_logits_of_any_size_give_a_finite_loss():
    network = Network(Sequential([Dense(2)]), (1,))
    network.set_tensors({"dense1.weight": np.array([[1e4], [-1e4]]), "dense1.bias": np.zeros(2)})
    evaluation = Evaluator(network)(network.theta, network.state, np.ones((1, 1)), np.array([1]))
    assert evaluation.loss == pytest.approx(2e4)


def test_undefined_metrics_are_null_in_json():
    written = Evaluation(0.5, np.array([[2, 0], [0, 0]]), np.zeros((2, 2)), np.zeros(2, int)).to_dict()
    assert json.loads(json.dumps(written, allow_nan=False))["recall"] == [1.0, None]


def evaluate(network, inputs, targets):
    return Evaluator(network)(network.theta, network.state, inputs, targets)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_real_targets_are_evaluated_by_r2_and_errors(shape):
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(300, 4)), rng.normal(size=(300, *shape))
    network = Network([Dense(*shape or (1,))], (4,), dtype="float64", loss=Huber())
    evaluation = evaluate(network, inputs, targets)
    assert isinstance(evaluation, RegressionEvaluation)
    outputs = network(inputs).reshape(targets.shape)
    errors = outputs - targets
    assert evaluation.mae == pytest.approx(np.abs(errors).mean())
    assert evaluation.rmse == pytest.approx(np.sqrt((errors**2).mean()), rel=0.05)  # of each target, then their mean
    r2 = 1 - (errors**2).sum(axis=0) / ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    assert evaluation.score == evaluation.r2 == pytest.approx(np.mean(r2))
    assert evaluation.loss == pytest.approx(network.loss.forward(network(inputs), targets).loss)
    assert json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))["test_r2"] == pytest.approx(evaluation.r2)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_labels_that_are_0_or_1_are_evaluated_each_for_itself(shape):
    rng = np.random.default_rng(2)
    inputs, targets = rng.normal(size=(300, 4)), rng.integers(0, 2, size=(300, *shape))
    network = Network([Dense(*shape or (1,))], (4,), dtype="float64", loss=BinaryCrossEntropy())
    evaluation = evaluate(network, inputs, targets)
    assert isinstance(evaluation, BinaryEvaluation)
    outputs = network(inputs).reshape(targets.shape)
    predicted = outputs > 0
    assert evaluation.score == evaluation.accuracy == np.mean(predicted == targets)
    np.testing.assert_allclose(evaluation.probabilities.reshape(outputs.shape), 1 / (1 + np.exp(-outputs)))
    hits = (predicted & (targets == 1)).sum(axis=0)
    np.testing.assert_allclose(evaluation.f1.reshape(shape), 2 * hits / (predicted.sum(axis=0) + targets.sum(axis=0)))
    np.testing.assert_allclose(evaluation.precision.reshape(shape), hits / predicted.sum(axis=0))
    np.testing.assert_allclose(evaluation.recall.reshape(shape), hits / targets.sum(axis=0))
    assert {len(evaluation.to_dict()[name]) for name in ("precision", "recall", "f1")} == {(shape or (1,))[0]}


def test_the_true_class_is_among_the_k_most_probable():
    rng = np.random.default_rng(3)
    inputs, targets = rng.normal(size=(300, 4)), rng.integers(0, 5, 300)
    network = Network([Dense(5)], (4,))
    evaluation = evaluate(network, inputs, targets)
    assert evaluation.top_k_accuracy(1) == evaluation.accuracy < evaluation.top_k_accuracy(2)
    assert evaluation.top_k_accuracy(2) == metrics.top_k_accuracy(network(inputs), targets, 2)
    assert evaluation.top_k_accuracy(5) == 1


@pytest.mark.parametrize(
    ("loss", "targets", "pattern"),
    [
        (None, np.arange(300) % 2, r"Evaluation\(loss=[\d.]+, accuracy=[\d.]+\)"),
        (BinaryCrossEntropy(), np.eye(2, dtype=int)[np.arange(300) % 2], r"BinaryEvaluation\(loss=\S+, accuracy=\S+\)"),
        (
            Huber(),
            np.zeros((300, 2)) + [[0], [1], [2]] * 100,
            r"RegressionEvaluation\(loss=\S+ r2=\S+ mae=\S+ rmse=\S+",
        ),
    ],
)
def test_an_evaluation_prints_as_its_metrics(loss, targets, pattern):
    evaluation = evaluate(Network([Dense(2)], (4,), loss=loss), np.random.default_rng(4).normal(size=(300, 4)), targets)
    assert re.match(pattern, repr(evaluation))
    assert "array" not in repr(evaluation)


def test_a_label_that_nobody_has_and_nobody_predicts_has_no_f1():
    written = BinaryEvaluation(0.1, np.array([[0.9, 0.1]]), np.array([[1, 0]])).to_dict()
    assert json.loads(json.dumps(written, allow_nan=False))["f1"] == [1.0, None]
