import numpy as np
import pytest

import xpnet
from tests.helpers import refused
from xpnet.backend import to_numpy
from xpnet.layers import (
    ClassToken,
    Dense,
    Embedding,
    FirstPlace,
    Flatten,
    LearnedPositions,
    Sequential,
    SinusoidalPositions,
    sequences,
)


def test_rows_by_index_and_their_gradients_by_hand():
    params = {"weight": np.array([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]])}
    y, cache, _ = Embedding(3, 2).forward(params, {}, np.array([[2.0, 0.0, 2.0]]), train=True)
    assert y.tolist() == [[[20, 21], [0, 1], [20, 21]]]
    dx, grads = Embedding(3, 2).backward(params, cache, np.array([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]))
    assert grads["weight"].tolist() == [[3, 4], [0, 0], [6, 8]]
    assert dx.tolist() == [[0, 0, 0]]


def test_the_gradient_is_the_same_a_part_of_the_vocabulary_at_a_time(monkeypatch, backend):
    rng, layer = np.random.default_rng(0), Embedding(11, 3)
    params = {"weight": backend.asarray(rng.normal(size=(11, 3)))}
    x, dy = backend.asarray(rng.integers(0, 11, (2, 4)).astype(float)), backend.asarray(rng.normal(size=(2, 4, 3)))
    cache = layer.forward(params, {}, x, train=True).cache
    whole = layer.backward(params, cache, dy).grads["weight"]
    monkeypatch.setattr(sequences, "_ONE_HOT", 8 * 4)
    np.testing.assert_array_equal(to_numpy(layer.backward(params, cache, dy).grads["weight"]), to_numpy(whole))


def test_an_index_outside_gives_nan_on_every_library(backend):
    params = {"weight": backend.asarray(np.ones((3, 2)))}
    x = backend.asarray(np.array([[-1.0, 0.0, 2.0, 3.0, 1e30, -1e30, np.nan]]))
    y = to_numpy(Embedding(3, 2).forward(params, {}, x).y)
    assert np.isnan(y).all(axis=2).tolist() == [[True, False, False, True, True, True, True]]


def test_positions_are_added():
    params = {"weight": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
    x = np.zeros((2, 2, 2))
    y, cache, _ = LearnedPositions().forward(params, {}, x, train=True)
    assert y[1].tolist() == [[1, 2], [3, 4]]
    assert LearnedPositions().backward(params, cache, x + 1).grads["weight"].tolist() == [[2, 2], [2, 2], [0, 0]]
    with refused("LearnedPositions", "sequences of at most 3 places", "got 4"):
        LearnedPositions().forward(params, {}, np.zeros((1, 4, 2)))
    with refused("LearnedPositions: expected 2 channels, got 3."):
        LearnedPositions().forward(params, {}, np.zeros((1, 3, 3)))


def test_waves_by_hand():
    y = SinusoidalPositions().forward({}, {}, np.zeros((1, 8, 4))).y[0]
    np.testing.assert_allclose(y[0], [0, 1, 0, 1])
    np.testing.assert_allclose(y[7], [np.sin(7), np.cos(7), np.sin(0.07), np.cos(0.07)], rtol=1e-13)
    with refused("SinusoidalPositions", "an even number of channels", "got 5"):
        SinusoidalPositions().output_shape((8, 5))


def test_a_class_token_goes_in_front_and_comes_out_again():
    params, x = {"weight": np.array([7.0, 8.0])}, np.arange(8.0).reshape(2, 2, 2)
    y, cache, _ = ClassToken().forward(params, {}, x, train=True)
    assert y.tolist() == [[[7, 8], [0, 1], [2, 3]], [[7, 8], [4, 5], [6, 7]]]
    dx, grads = ClassToken().backward(params, cache, y)
    assert (dx.tolist(), grads["weight"].tolist()) == (x.tolist(), [14, 16])
    first, cache, _ = FirstPlace().forward({}, {}, y, train=True)
    assert first.tolist() == [[7, 8]] * 2
    assert FirstPlace().backward({}, cache, first).dx.tolist() == [[[7, 8], [0, 0], [0, 0]]] * 2
    with refused("ClassToken: expected 2 channels, got 3."):
        ClassToken().forward(params, {}, np.zeros((1, 4, 3)))


def test_settings_out_of_range():
    for name in ("count", "units"):
        with refused("Embedding", f"{name} to be an integer of at least 1", "got 0"):
            Embedding(**{"count": 3, "units": 2, name: 0})


def test_a_network_of_indices_is_trained_on_them_as_they_are():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 6, (200, 2)).astype(np.float32)
    labels = np.isin(x[:, 0], (1, 4, 5)).astype(int)  # no line through the numbers parts these
    network = xpnet.Network(Sequential([Embedding(6, 4), Flatten(), Dense(2)]), (2,))
    network.fit(x, labels, epochs=60, batch_size=20)
    assert network.normalization is None
    assert np.mean(network.predict(x) == labels) > 0.99


@pytest.mark.parametrize("kind", ["memory map", "batches"])
def test_indices_that_come_batch_by_batch(kind, tmp_path):
    network = xpnet.Network([Embedding(3, 4), Flatten(), Dense(2)], (2,))
    x, y = np.zeros((6, 2), np.float32), np.arange(6) % 2
    x[5, 1] = 3
    with refused("Embedding 'embedding1': expected indices from 0 to 2, got 0 to 3"):
        if kind == "batches":
            network.fit([(x[:4], y[:4]), (x[4:], y[4:])], epochs=1, progress=False)
        stored = np.memmap(tmp_path / "x", x.dtype, "w+", shape=x.shape)
        stored[:] = x
        network.fit(stored, y, epochs=1, batch_size=2, progress=False)


@pytest.mark.parametrize("index", [-1.0, 3.0, np.nan, 1e30])
def test_a_network_refuses_an_index_outside_where_it_can_see_it(index):
    network = xpnet.Network([Embedding(3, 4), Flatten(), Dense(2)], (2,))
    x = np.array([[0.0, 2.0], [1.0, index]], np.float32)
    with refused("Embedding 'embedding1': expected indices from 0 to 2, got "):
        network.forward(network.theta, network.state, x)
    with refused("Embedding 'embedding1': expected indices from 0 to 2, got ") if np.isfinite(index) else refused("x"):
        network.fit(x, np.array([0, 1]), progress=False)
    assert network.predict(np.array([[0.4, 1.6]])).shape == (1,)
