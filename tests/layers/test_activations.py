import numpy as np

from xpnet.layers import ReLU


def test_relu_by_hand_with_no_slope_at_0():
    y, cache, _ = ReLU().forward({}, {}, np.array([[-2.0, -0.0, 0.0, 3.0]]), train=True)
    assert y.tolist() == [[0.0, 0.0, 0.0, 3.0]]
    assert ReLU().backward({}, cache, np.array([[1.0, 2.0, 3.0, 4.0]])).dx.tolist() == [[0.0, 0.0, 0.0, 4.0]]


def test_relu_lets_nan_through_so_that_divergence_shows():
    assert np.isnan(ReLU().forward({}, {}, np.array([[np.nan]])).y)
