import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet import metrics
from xpnet.errors import InputError

# Three classes; class 1 is never predicted and class 2 never present.
LABELS = np.array([0, 0, 0, 1, 1])
PREDICTIONS = np.array([0, 0, 2, 0, 2])
CONFUSION = np.array([[2, 0, 1], [1, 0, 1], [0, 0, 0]])


@st.composite
def labelled_predictions(draw):
    classes = draw(st.integers(1, 6))
    pairs = draw(st.lists(st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1))
    labels, predictions = np.array(pairs).T
    return classes, labels, predictions


def test_log_softmax_is_exact_for_rows_far_apart():
    logits = np.array([[1000.1, 999.0], [0.3, 1.7], [-1000.1, -999.0]], np.float32)
    z = logits.astype(np.float64)
    np.testing.assert_allclose(metrics.log_softmax(logits), -np.log1p(np.exp(z[:, ::-1] - z)), rtol=1e-13)


def test_confusion_matrix_has_true_rows_and_predicted_columns():
    confusion = metrics.confusion_matrix(LABELS, PREDICTIONS, 3)
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, CONFUSION)


def test_confusion_matrix_of_bytes_does_not_wrap_around():
    confusion = metrics.confusion_matrix(np.array([99], np.uint8), np.array([98], np.uint8), 100)
    assert confusion[99, 98] == 1
    assert confusion.sum() == 1


def test_confusion_matrix_of_no_examples_is_zero():
    none = np.zeros(0, np.int64)
    np.testing.assert_array_equal(metrics.confusion_matrix(none, none, 2), np.zeros((2, 2)))


def test_accuracy_precision_and_recall_by_hand():
    assert metrics.accuracy(CONFUSION) == 2 / 5
    np.testing.assert_array_equal(metrics.precision(CONFUSION), [2 / 3, np.nan, 0])
    np.testing.assert_array_equal(metrics.recall(CONFUSION), [2 / 3, 0, np.nan])


@given(labelled_predictions())
def test_metrics_equal_their_definitions(case):
    classes, labels, predictions = case
    pairs = list(zip(labels.tolist(), predictions.tolist(), strict=True))
    confusion = metrics.confusion_matrix(labels, predictions, classes)
    expected = [[pairs.count((true, predicted)) for predicted in range(classes)] for true in range(classes)]
    np.testing.assert_array_equal(confusion, expected)
    assert metrics.accuracy(confusion) == np.mean(labels == predictions)

    precision, recall = metrics.precision(confusion), metrics.recall(confusion)
    assert precision.dtype == recall.dtype == np.float64
    for c in range(classes):
        right_of_predicted = (labels == c)[predictions == c]
        found_of_present = (predictions == c)[labels == c]
        np.testing.assert_equal(precision[c], np.mean(right_of_predicted) if right_of_predicted.size else np.nan)
        np.testing.assert_equal(recall[c], np.mean(found_of_present) if found_of_present.size else np.nan)


def test_f1_by_hand():
    """Precision and recall of class 0 are 2/3; class 1 is never predicted, class 2 never present, class 3 neither."""
    np.testing.assert_array_equal(metrics.f1(CONFUSION), [2 / 3, 0, 0])
    np.testing.assert_array_equal(metrics.f1(np.pad(CONFUSION, (0, 1))), [2 / 3, 0, 0, np.nan])
    np.testing.assert_array_equal(metrics.f1(np.array([[1, 3], [0, 2]])), [2 / 5, 4 / 7])


@given(labelled_predictions())
def test_f1_is_the_harmonic_mean_and_equals_scikit_learns(case):
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    classes, labels, predictions = case
    confusion = metrics.confusion_matrix(labels, predictions, classes)
    f1, precision, recall = metrics.f1(confusion), metrics.precision(confusion), metrics.recall(confusion)
    theirs = sklearn_metrics.f1_score(labels, predictions, labels=range(classes), average=None, zero_division=np.nan)
    np.testing.assert_allclose(f1, theirs, rtol=1e-15)
    both = precision + recall > 0
    np.testing.assert_allclose(f1[both], (2 * precision * recall)[both] / (precision + recall)[both], rtol=1e-14)


def test_top_k_accuracy_by_hand():
    logits = np.array([[3.0, 2.0, 1.0], [0.0, 5.0, 4.0], [1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])
    labels = np.array([0, 2, 0, 2])
    assert metrics.top_k_accuracy(logits, labels, 1) == 1 / 4
    assert metrics.top_k_accuracy(logits, labels, 2) == 2 / 4
    assert metrics.top_k_accuracy(logits, labels, 3) == 1.0


@given(st.data())
def test_top_k_accuracy_equals_sorting_each_row(data):
    classes = data.draw(st.integers(1, 5))
    # Few distinct values, so that ties are common.
    row = st.lists(st.integers(-2, 2), min_size=classes, max_size=classes)
    rows = data.draw(st.lists(row, min_size=1, max_size=8))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=len(rows), max_size=len(rows)))
    k = data.draw(st.integers(1, classes))

    hits = 0
    for values, label in zip(rows, labels, strict=True):
        by_logit_then_index = sorted(range(classes), key=lambda c: (-values[c], c))
        hits += label in by_logit_then_index[:k]
    logits = np.array(rows, np.float32)
    assert metrics.top_k_accuracy(logits, np.array(labels), k) == hits / len(rows)
    assert metrics.top_k_accuracy(logits, np.argmax(logits, axis=1), 1) == 1.0


# Real targets


@st.composite
def real_predictions(draw):
    """Few distinct numbers, so that constant targets and right predictions are common."""
    shape = draw(st.sampled_from([(2,), (5,), (1, 1), (4, 1), (2, 3), (6, 2)]))
    size = int(np.prod(shape))
    values = st.lists(st.sampled_from([-2.0, 0.0, 0.5, 0.5, 0.5, 3.25, 1e4]), min_size=size, max_size=size)
    targets = np.array(draw(values)).reshape(shape)
    predictions = targets.copy() if draw(st.booleans()) else np.array(draw(values)).reshape(shape)
    return targets, predictions


@given(real_predictions())
def test_metrics_of_real_targets_equal_scikit_learns(case):
    theirs = pytest.importorskip("sklearn.metrics")
    targets, predictions = case
    if len(targets) > 1:  # of one example theirs is undefined
        assert metrics.r2_score(targets, predictions) == pytest.approx(theirs.r2_score(targets, predictions), rel=1e-12)
    for name in ("mean_absolute_error", "root_mean_squared_error"):
        actual, expected = (getattr(module, name)(targets, predictions) for module in (metrics, theirs))
        assert actual == pytest.approx(expected, rel=1e-14)


def test_metrics_of_real_targets_by_hand():
    targets, predictions = np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 3.0, 3.0, 4.0])
    assert metrics.r2_score(targets, predictions) == 1 - 5 / 14
    assert metrics.mean_absolute_error(targets, predictions) == 3 / 4
    assert metrics.root_mean_squared_error(targets, predictions) == math.sqrt(5 / 4)
    assert metrics.r2_score(targets, np.full(4, 3.0)) == 0
    two = np.stack([targets, targets], axis=1), np.stack([predictions, targets + 2], axis=1)
    assert metrics.r2_score(*two) == pytest.approx((1 - 5 / 14 + 1 - 16 / 14) / 2)
    assert metrics.mean_absolute_error(*two) == (3 / 4 + 2) / 2
    assert metrics.root_mean_squared_error(*two) == (math.sqrt(5 / 4) + 2) / 2


def test_r2_of_equal_targets_is_1_if_all_predictions_are_right_else_0():
    """The mean of three times 0.1 is not 0.1."""
    targets = np.full(3, 0.1)
    assert metrics.r2_score(targets, targets) == 1
    assert metrics.r2_score(targets, np.array([0.1, 0.1, 0.2])) == 0


def test_one_column_is_a_vector_and_integers_do_not_wrap_around():
    targets, predictions = np.array([0, 255, 3], np.uint8), np.array([[255], [0], [3]], np.uint8)
    assert metrics.mean_absolute_error(targets, predictions) == 170
    assert metrics.root_mean_squared_error(predictions, targets) == pytest.approx(255 * math.sqrt(2 / 3))
    assert metrics.r2_score(targets, targets[:, None]) == 1


# Three confidences in the upper of two bins, of which two are right, and one in the lower one that is wrong.
PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.6, 0.2], [0.0, 0.1, 0.9], [0.4, 0.3, 0.3]])
OF_PROBABILITIES = np.array([0, 1, 1, 2])


def test_calibration_of_two_bins_by_hand():
    result = metrics.calibration(PROBABILITIES, OF_PROBABILITIES, bins=2)
    np.testing.assert_array_equal(result.counts, [1, 3])
    np.testing.assert_allclose(result.confidence, [0.4, 0.8], rtol=1e-15)
    np.testing.assert_allclose(result.accuracy, [0, 2 / 3], rtol=1e-15)
    assert result.error == pytest.approx((0.4 + 3 * (0.8 - 2 / 3)) / 4, rel=1e-15)


def test_a_bin_of_confidences_includes_its_upper_end_and_an_empty_one_has_no_accuracy():
    result = metrics.calibration(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]), bins=4)
    np.testing.assert_array_equal(result.counts, [0, 1, 0, 1])
    np.testing.assert_array_equal(result.accuracy, [np.nan, 1, np.nan, 1])
    assert result.error == pytest.approx(0.25)


@given(labelled_predictions(), st.integers(1, 20))
def test_certain_predictions_have_the_calibration_error_1_minus_accuracy(case, bins):
    classes, labels, predictions = case
    result = metrics.calibration(np.eye(classes)[predictions], labels, bins)
    assert result.counts.tolist() == [0] * (bins - 1) + [len(labels)]
    assert result.error == pytest.approx(1 - metrics.accuracy(metrics.confusion_matrix(labels, predictions, classes)))


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_of_labels_drawn_from_the_probabilities_the_calibration_error_goes_to_0(seed, bins):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(3), 20_000)
    labels = (rng.random(20_000)[:, None] > probabilities.cumsum(axis=1)[:, :2]).sum(axis=1)
    # Each of the bins is off by about 1/2 sqrt(counts)/N, together at most by 1/2 sqrt(bins/N).
    assert metrics.calibration(probabilities, labels, bins).error < 4 * 0.5 * math.sqrt(bins / 20_000)


ONE = np.zeros(1, np.int64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.confusion_matrix(np.array([3]), ONE, 3), "labels in 0..2, got 3"),
        (lambda: metrics.confusion_matrix(ONE, np.array([-1]), 3), "predictions in 0..2, got -1"),
        (lambda: metrics.confusion_matrix(np.array([0, 1]), ONE, 3), "expected 2 predictions, .* got 1"),
        (lambda: metrics.confusion_matrix(np.array([0.0]), ONE, 3), "labels .* of integers, .* float64"),
        (lambda: metrics.confusion_matrix(ONE, np.zeros((1, 3), int), 3), r"predictions \(N,\) .* \(1, 3\)"),
        (lambda: metrics.accuracy(np.zeros((3, 3), int)), "at least one example, got 0"),
        (lambda: metrics.accuracy(np.ones((2, 3), int)), r"accuracy: .*\(classes, classes\), .* \(2, 3\)"),
        (lambda: metrics.precision(np.ones(4, int)), r"precision: .*\(4,\)"),
        (lambda: metrics.recall(np.ones((0, 0), int)), r"recall: .*\(0, 0\)"),
        (lambda: metrics.f1(np.ones((2, 3), int)), r"f1: .*\(2, 3\)"),
        (lambda: metrics.r2_score(np.zeros(2), np.zeros(3)), r"r2_score: .*same shape.*\(2,\) and \(3,\)"),
        (lambda: metrics.r2_score(np.zeros(0), np.zeros(0)), r"r2_score: .*N >= 1"),
        (lambda: metrics.mean_absolute_error(np.zeros(2), np.zeros((2, 2))), r"mean_absolute_error: .*\(2, 2\)"),
        (lambda: metrics.mean_absolute_error(np.zeros(1, bool), ONE), r"targets to be real numbers, got bool"),
        (lambda: metrics.root_mean_squared_error(ONE, np.zeros(1, complex)), r"predictions .* complex128"),
        (lambda: metrics.root_mean_squared_error(np.zeros(()), np.zeros(())), r"root_mean_squared_error: .*\(\)"),
        (lambda: metrics.top_k_accuracy(np.zeros(3), ONE, 1), r"logits \(N, classes\) .* \(3,\)"),
        (lambda: metrics.top_k_accuracy(np.zeros((0, 3)), ONE[:0], 1), r"N >= 1, .* \(0, 3\)"),
        (lambda: metrics.top_k_accuracy(np.zeros((1, 3)), ONE, 0), "k in 1..3, got 0"),
        (lambda: metrics.top_k_accuracy(np.zeros((1, 3)), ONE, 4), "k in 1..3, got 4"),
        (lambda: metrics.calibration(np.zeros((0, 3)), ONE[:0]), r"probabilities \(N, classes\) .* \(0, 3\)"),
        (lambda: metrics.calibration(np.ones(3), ONE), r"probabilities \(N, classes\) .* \(3,\)"),
        (lambda: metrics.calibration(np.ones((1, 3)), ONE, 0), "bins to be .*got 0"),
        (lambda: metrics.calibration(np.ones((2, 3)), ONE), "expected 1 probabilities, .* got 2"),
        (lambda: metrics.calibration(np.ones((1, 3)), np.array([3])), "labels in 0..2, got 3"),
        (lambda: metrics.calibration(np.full((1, 3), 1.5), ONE), r"in \[0, 1\], got 1.5"),
        (lambda: metrics.calibration(np.full((1, 3), np.nan), ONE), r"in \[0, 1\], got nan"),
        (lambda: metrics.top_k_accuracy(np.zeros((2, 3)), ONE, 1), "expected 1 logits, .* got 2"),
        (lambda: metrics.top_k_accuracy(np.zeros((1, 3)), np.array([3]), 1), "labels in 0..2, got 3"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)
