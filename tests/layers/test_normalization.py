import numpy as np

from tests.helpers import refused
from xpnet.layers import Normalize


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
    with refused("Normalize: expected 3 channels, got 1. Give it the input shape it was built for."):
        Normalize().forward({}, state, np.zeros((1, 2, 2, 1)))
