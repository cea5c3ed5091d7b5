import numpy as np
import pytest

from tests.helpers import refused
from xpnet.initializers import Normal
from xpnet.layers import Dense


def test_output_first():
    params, state, output_shape = Dense(2, weight_init=Normal(1.0)).init(np.random.default_rng(0), (3,))
    assert (params["weight"].shape, params["bias"].shape, state, output_shape) == ((2, 3), (2,), {}, (2,))
    assert not np.any(params["bias"])


def test_by_hand():
    params = {"weight": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), "bias": np.array([0.5, 0.0, -0.5])}
    y, cache, _ = Dense(3).forward(params, {}, np.array([[1.0, -1.0], [0.0, 2.0]]), train=True)
    assert y.tolist() == [[-0.5, -1.0, -1.5], [4.5, 8.0, 11.5]]
    dx, grads = Dense(3).backward(params, cache, np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
    assert dx.tolist() == [[1.0, 2.0], [10.0, 12.0]]
    assert grads["weight"].tolist() == [[1.0, -1.0], [0.0, 0.0], [0.0, 4.0]]
    assert grads["bias"].tolist() == [1.0, 0.0, 2.0]


def test_images_need_flattening_first():
    with refused("Dense", "vectors (N, features) or sequences (N, T, features)", "got shape (N, 28, 28, 1)"):
        Dense(2).output_shape((28, 28, 1))


def test_other_features_than_at_init():
    params = Dense(2).init(np.random.default_rng(0), (3,)).params
    with refused("Dense: expected 3 features, got 4."):
        Dense(2).forward(params, {}, np.zeros((1, 4)))


@pytest.mark.parametrize("units", [0, -1, 2.0, True, "ten"])
def test_units(units):
    with refused("Dense", "units to be an integer of at least 1", f"got {units!r}"):
        Dense(units)


def test_each_place_of_a_sequence_by_itself():
    rng, layer = np.random.default_rng(0), Dense(3)
    params, _, output_shape = layer.init(rng, (4, 5))
    assert (params["weight"].shape, output_shape) == ((3, 5), (4, 3))
    x = rng.normal(size=(2, 4, 5))
    np.testing.assert_allclose(
        layer.forward(params, {}, x).y[:, 1], layer.forward(params, {}, x[:, 1]).y, rtol=1e-12, atol=1e-14
    )
