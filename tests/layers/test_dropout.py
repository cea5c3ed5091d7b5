import numpy as np
import pytest

from tests.helpers import refused
from xpnet.backend import to_numpy
from xpnet.errors import InputError
from xpnet.layers import Dense, Dropout, ReLU, Residual, Sequential
from xpnet.random import make_key

KEY = make_key(0)


def drop(p, x, key=KEY):
    return Dropout(p).forward({}, {}, x, train=True, key=key)


def test_values_are_dropped_with_probability_p_and_the_mean_stays():
    x = np.ones((400, 500))
    y = drop(0.3, x).y
    assert set(np.unique(y)) == {0.0, 1 / 0.7}
    assert np.mean(y == 0) == pytest.approx(0.3, abs=0.005)  # five standard deviations of 200,000 coins
    assert y.mean() == pytest.approx(1.0, abs=0.008)


def test_backward_drops_the_same_values():
    x = np.random.default_rng(0).normal(size=(6, 7))
    y, cache, _ = drop(0.5, x)
    dx = Dropout(0.5).backward({}, cache, np.ones_like(x)).dx
    np.testing.assert_allclose(dx * x, y)


def test_evaluation_is_the_identity():
    x = np.ones((2, 3))
    assert Dropout(0.9).forward({}, {}, x).y is x


def test_p_0_is_the_identity_and_needs_no_key():
    x = np.ones((2, 3))
    y, cache, _ = Dropout(0.0).forward({}, {}, x, train=True)
    assert y is x
    assert Dropout(0.0).backward({}, cache, x).dx is x


def test_the_mask_is_the_same_on_every_backend_and_in_every_dtype(backend):
    x = np.ones((5, 6))
    expected = drop(0.4, x).y == 0
    for dtype in ("float32", "float64"):
        y = drop(0.4, backend.asarray(x, dtype), backend.asarray(KEY)).y
        np.testing.assert_array_equal(to_numpy(y) == 0, expected)


def test_each_dropout_of_a_network_draws_its_own_mask():
    layer = Sequential([("a", Dropout(0.5)), ("b", Dropout(0.5)), ("r", Residual(Dropout(0.5), Dropout(0.5)))])
    cache = layer.forward(
        {n: {} for n in "abr"} | {"r": {"branch": {}, "shortcut": {}}},
        {n: {} for n in "abr"} | {"r": {"branch": {}, "shortcut": {}}},
        np.ones((4, 8)),
        train=True,
        key=KEY,
    ).cache
    masks = [cache["a"], cache["b"], cache["r"]["branch"], cache["r"]["shortcut"]]
    assert len({(mask["mask"] == 0).tobytes() for mask in masks}) == 4


def test_containers_know_whether_they_need_a_key():
    assert Sequential([Dense(2), Sequential([ReLU(), Dropout(0.5)])]).is_random
    assert Residual(ReLU(), Dropout(0.1)).is_random
    assert not Sequential([Dense(2), Residual(ReLU()), Dropout(0.0)]).is_random


def test_training_without_a_key():
    layer = Sequential([("drop", Dropout(0.5))])
    with refused("Dropout 'drop'", "a key for its random numbers while training", "got none"):
        layer.forward({"drop": {}}, {"drop": {}}, np.ones((1, 2)), train=True)


@pytest.mark.parametrize(
    ("key", "got"),
    [
        (np.zeros(2, np.float32), "float32 of shape (2,)"),
        (np.zeros(2, np.uint64), "uint64 of shape (2,)"),
        (np.zeros(3, np.int32), "int32 of shape (3,)"),
        (np.zeros((), np.int32), "int32 of shape ()"),
        (7, "int of shape ()"),
    ],
)
def test_what_is_no_key_is_refused_by_the_layers_name(key, got):
    message = f"expected a key, an int32 array of shape (2,), got {got}. Make one with xpnet.random.make_key."
    with refused(f"Dropout: {message}"):
        drop(0.5, np.ones((1, 2)), key)
    for layer, where in (
        (Sequential([("drop", Dropout(0.5))]), "drop"),
        (Residual(Dropout(0.5)), "branch"),
    ):
        with refused(f"Dropout '{where}': {message}"):
            layer.forward({where: {}}, {where: {}}, np.ones((1, 2)), train=True, key=key)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_p_out_of_range(p):
    with pytest.raises(InputError, match=r"expected p, the probability of dropping, in \[0, 1\)"):
        Dropout(p)
