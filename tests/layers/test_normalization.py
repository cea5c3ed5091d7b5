import numpy as np

from tests.helpers import refused
from xpnet.layers import BatchNorm, Normalize


def test_begins_as_the_identity():
    params, state, output_shape = Normalize().init(np.random.default_rng(0), (2, 2, 3))
    assert (params, output_shape) == ({}, (2, 2, 3))
    assert (state["mean"].tolist(), state["scale"].tolist()) == ([0, 0, 0], [1, 1, 1])


def test_by_hand():
    state = {"mean": np.array([1.0, 2.0]), "scale": np.array([10.0, 0.5])}
    y, cache, new_state = Normalize().forward({}, state, np.array([[3.0, 0.0]]), train=True)
    assert y.tolist() == [[20.0, -1.0]]
    assert Normalize().backward({}, cache, np.array([[1.0, 1.0]])).dx.tolist() == [[10.0, 0.5]]
    assert new_state is state


def test_other_channels_than_at_init():
    state = Normalize().init(np.random.default_rng(0), (2, 2, 3)).state
    with refused("Normalize: expected 3 channels, got 1."):
        Normalize().forward({}, state, np.zeros((1, 2, 2, 1)))


def test_batch_norm_makes_each_channel_mean_0_and_variance_1():
    x = np.random.default_rng(0).normal(3.0, [1.0, 50.0], (40, 5, 6, 2))
    layer = BatchNorm(eps=1e-12)
    params, state, _ = layer.init(np.random.default_rng(0), (5, 6, 2))
    y = layer.forward(params, state, x, train=True).y
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 1, 2)), 1, rtol=1e-9)


def test_running_statistics_come_to_those_of_the_data():
    rng, layer = np.random.default_rng(1), BatchNorm()
    params, state, _ = layer.init(rng, (2,))
    for _ in range(300):
        state = layer.forward(params, state, rng.normal([5.0, -1.0], [2.0, 0.5], (64, 2)), train=True).state
    np.testing.assert_allclose(state["running_mean"], [5.0, -1.0], atol=0.2)
    np.testing.assert_allclose(state["running_var"], [4.0, 0.25], rtol=0.1)


def test_a_channel_without_variance_gives_its_bias_and_finite_gradients():
    layer = BatchNorm()
    params = {"weight": np.ones(1), "bias": np.full(1, 0.5)}
    state = {"running_mean": np.zeros(1), "running_var": np.ones(1)}
    y, cache, _ = layer.forward(params, state, np.full((4, 1), 7.0), train=True)
    np.testing.assert_array_equal(y, np.full((4, 1), 0.5))
    dx, grads = layer.backward(params, cache, np.array([[1.0], [2.0], [3.0], [4.0]]))
    assert np.isfinite(dx).all()
    assert grads["weight"] == 0
    assert grads["bias"] == 10


def test_a_batch_of_one_cannot_be_trained_on_unless_frozen():
    x, params = np.zeros((1, 2)), {"weight": np.ones(2), "bias": np.zeros(2)}
    state = {"running_mean": np.zeros(2), "running_var": np.ones(2)}
    with refused("BatchNorm", "at least 2 values in each channel to train on", "got 1"):
        BatchNorm().forward(params, state, x, train=True)
    assert BatchNorm(frozen=True).forward(params, state, x, train=True).y.shape == (1, 2)
    assert BatchNorm().forward(params, state, x).y.shape == (1, 2)


def test_batch_norm_settings_and_channels():
    with refused("BatchNorm: expected a momentum in [0, 1], got 1.5."):
        BatchNorm(momentum=1.5)
    for eps in (0, float("inf")):
        with refused("BatchNorm", "a finite eps above 0", f"got {eps}"):
            BatchNorm(eps=eps)
    params, state, _ = BatchNorm().init(np.random.default_rng(0), (3,))
    with refused("BatchNorm: expected 3 features, got 2."):
        BatchNorm().forward(params, state, np.zeros((4, 2)))
