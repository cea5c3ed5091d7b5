import json

import numpy as np
import pytest

from xpnet import Network, metrics
from xpnet.layers import Conv2D, Dense, Flatten, Sequential
from xpnet.training import Evaluation, Evaluator
from xpnet.training.evaluation import BATCH_SIZE


def test_evaluation_equals_the_formulas():
    network = Network(Sequential([Flatten(), Dense(3)]), (2, 2, 1), dtype="float64")
    count = BATCH_SIZE + 7  # more than one batch, the last one smaller
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (count, 2, 2, 1), dtype=np.uint8), rng.integers(0, 3, count)
    evaluation = Evaluator(network)(network.theta, network.state, images, labels)

    logits = network.predict(images)
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


def test_undefined_figures_are_null_in_json():
    figures = Evaluation(0.5, np.array([[2, 0], [0, 0]]), np.zeros((2, 2))).to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False))["recall"] == [1.0, None]
