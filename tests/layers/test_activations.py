import numpy as np

from xpnet.layers import ReLU, Sigmoid, Softmax


def test_relu_by_hand_with_no_slope_at_0():
    y, cache, _ = ReLU().forward({}, {}, np.array([[-2.0, -0.0, 0.0, 3.0]]), train=True)
    assert y.tolist() == [[0.0, 0.0, 0.0, 3.0]]
    assert ReLU().backward({}, cache, np.array([[1.0, 2.0, 3.0, 4.0]])).dx.tolist() == [[0.0, 0.0, 0.0, 4.0]]


def test_relu_lets_nan_through_so_that_divergence_shows():
    assert np.isnan(ReLU().forward({}, {}, np.array([[np.nan]])).y)


def test_sigmoid_keeps_its_digits_near_0_and_overflows_nowhere():
    x = np.array([-1e4, -80.0, -17.0, -1.0, 0.0, 1.0, 17.0, 1e4], np.float32)
    expected = [0, np.exp(-80.0), *(1 / (1 + np.exp(-x[2:-1].astype(np.float64)))), 1]
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(Sigmoid().forward({}, {}, x).y, expected, rtol=3e-7)


def test_softmax_of_images_is_over_their_channels():
    y = Softmax().forward({}, {}, np.log([[[[1.0, 3.0], [4.0, 1.0]]]])).y
    np.testing.assert_allclose(y, [[[[0.25, 0.75], [0.8, 0.2]]]], rtol=1e-14)
