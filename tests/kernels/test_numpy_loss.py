"""NumPy's own loss and accuracy against those of every library."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import assert_same_bits, host_copies
from xpnet import kernels
from xpnet.kernels import cross_entropy, numpy_loss, table

DTYPES = [np.float32, np.float64]


@given(
    rows=st.integers(1, 40),
    classes=st.integers(1, 12),
    scale=st.sampled_from([0.0, 1.0, 1e3]),
    dtype=st.sampled_from(DTYPES),
    labels_dtype=st.sampled_from([np.uint8, np.int32, np.int64]),
)
def test_both_equal_the_reference(rows, classes, scale, dtype, labels_dtype):
    rng = np.random.default_rng(rows)
    logits = (scale * rng.normal(size=(rows, classes))).round(3).astype(dtype)
    labels = rng.integers(0, classes, rows).astype(labels_dtype)
    given = host_copies((logits, labels))
    loss, gradient = numpy_loss.softmax_cross_entropy(logits, labels, 0.0)
    expected = cross_entropy.softmax_cross_entropy(logits, labels, 0.0)
    tolerance = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected[0], rtol=tolerance, atol=tolerance * max(scale, 1))
    np.testing.assert_allclose(gradient, expected[1], rtol=tolerance, atol=tolerance)
    assert loss.dtype == gradient.dtype == dtype
    for kind in DTYPES:
        hits = numpy_loss.accuracy(logits, labels, kind)
        assert hits == cross_entropy.accuracy(logits, labels, kind)
        assert hits.dtype == kind
    assert_same_bits((logits, labels), given)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_shows(value):
    logits = np.zeros((3, 4), np.float32)
    logits[1, 2] = value
    with np.errstate(invalid="ignore"):
        loss, gradient = kernels.softmax_cross_entropy(logits, np.array([0, 1, 2]), 0.0)
    assert np.isnan(loss)
    assert np.isnan(gradient[1]).all()
    assert np.isfinite(gradient[[0, 2]]).all()


@pytest.mark.parametrize(
    ("dtype", "smoothing", "choice", "server"),
    [
        (np.float32, 0.0, "fastest", numpy_loss),
        (np.float32, 0.1, "fastest", cross_entropy),
        (np.float16, 0.0, "fastest", cross_entropy),
        (np.float32, 0.0, "pure", cross_entropy),
    ],
)
def test_who_serves(dtype, smoothing, choice, server):
    logits, labels = np.zeros((3, 4), dtype), np.zeros(3, np.int32)
    with kernels.using(choice):
        assert table.find("softmax_cross_entropy", logits, labels, smoothing) is server
