import numpy as np
import pytest

from tests.helpers import refused
from xpnet.layers import ELU, SELU, HardSigmoid, PReLU, ReLU, Sigmoid, Softmax


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


def test_prelu_learns_a_slope_for_each_channel():
    params, _, _ = PReLU().init(np.random.default_rng(0), (2,))
    assert params["weight"].tolist() == [0.25, 0.25]
    params = {"weight": np.array([0.5, 0.1])}
    y, cache, _ = PReLU().forward(params, {}, np.array([[-2.0, 3.0], [-4.0, -5.0]]), train=True)
    assert y.tolist() == [[-1.0, 3.0], [-2.0, -0.5]]
    dx, grads = PReLU().backward(params, cache, np.array([[1.0, 10.0], [100.0, 1000.0]]))
    assert dx.tolist() == [[0.5, 10.0], [50.0, 100.0]]
    assert grads["weight"].tolist() == [-402.0, -5000.0]
    with refused("PReLU: expected 2 features, got 3."):
        PReLU().forward(params, {}, np.zeros((1, 3)))


def test_selu_keeps_mean_0_and_variance_1():
    y = SELU().forward({}, {}, np.random.default_rng(0).normal(size=(1000, 200))).y
    assert abs(y.mean()) < 0.01
    assert abs(y.var() - 1) < 0.02


def test_hard_sigmoid_is_flat_from_3_on_and_to_minus_3():
    y, cache, _ = HardSigmoid().forward({}, {}, np.array([[-1e9, -3.0, 0.0, 3.0, 1e9]]), train=True)
    assert y.tolist() == [[0, 0, 0.5, 1, 1]]
    assert HardSigmoid().backward({}, cache, np.full((1, 5), 6.0)).dx.tolist() == [[0, 0, 1, 0, 0]]


@pytest.mark.parametrize("alpha", [0, -1, float("inf")])
def test_an_alpha_that_does_not_bend_down(alpha):
    with refused(f"ELU: expected a finite alpha above 0, got {alpha}. Try 1."):
        ELU(alpha)


@pytest.mark.parametrize("slope", [-0.1, 1, float("nan")])
def test_a_first_slope_out_of_range(slope):
    with refused("PReLU", "a slope of at least 0 and below 1", f"got {slope}"):
        PReLU(slope)
