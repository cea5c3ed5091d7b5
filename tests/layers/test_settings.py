"""Settings of every layer that are of another kind than expected."""

from dataclasses import fields, replace

import numpy as np
import pytest

from tests.helpers import refused
from xpnet.layers import Conv2D, Dense, Dropout, Residual, Sequential
from xpnet.layers.examples import Example


@pytest.mark.parametrize("value", ["x", float("nan"), (), -1.5], ids=repr)
def test_settings_of_another_kind_are_refused(example: Example, value):
    for setting in fields(example.layer):
        with refused(type(example.layer).__name__, "expected", "got"):
            replace(example.layer, **{setting.name: value}).init(np.random.default_rng(0), example.input_shape)


def in_numpy(value):
    """Numbers of NumPy, and lists in place of tuples."""
    if isinstance(value, tuple) and all(isinstance(item, int | tuple) for item in value):
        return [in_numpy(item) for item in value]
    return np.bool_(value) if isinstance(value, bool) else np.int64(value) if isinstance(value, int) else value


def test_numbers_of_numpy_and_lists_are_kept_as_pythons(example: Example):
    layer = example.layer
    same = replace(layer, **{setting.name: in_numpy(getattr(layer, setting.name)) for setting in fields(layer)})
    assert (repr(same), hash(same)) == (repr(layer), hash(layer))
    assert all(type(number) is int for number in same.output_shape(example.input_shape))


def test_what_came_and_what_to_do():
    with refused("Dense 'head'", "weight_init to be an initializer", "got 'he_normal'", "xpnet.initializers"):
        Sequential([("head", Dense(2, "he_normal"))]).init(np.random.default_rng(0), (3,))
    with refused("Residual", "branch to be a layer", "got [Dense(", "Sequential"):
        Residual([Dense(2)])
    with refused("Dropout", "p, the probability of dropping", "got 'half'"):
        Dropout("half")
    with refused("Conv2D", "bias to be True or False", "got 'no'"):
        Conv2D(2, 3, bias="no")
    with refused("Conv2D", "padding to be an integer", "got ndarray of shape (2,)"):
        Conv2D(2, 3, padding=np.array([1, 2]))
