import math

import numpy as np
import pytest

from tests.helpers import refused
from xpnet.backend import to_numpy
from xpnet.layers import GELU, HardSwish
from xpnet.layers.gates import normal_cdf


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_normal_distribution_to_the_precision_of_the_dtype(backend, dtype):
    x = np.concatenate([np.linspace(-12, 12, 4801), [-1e4, 1e4]])
    moved = backend.asarray(x, dtype)
    expected = [math.erfc(-value / math.sqrt(2)) / 2 for value in to_numpy(moved).astype(float)]
    error = np.abs(to_numpy(normal_cdf(moved)).astype(float) - expected)
    assert error.max() < 1.2 * np.finfo(dtype).eps
    is_small = x < -1  # where the relative error is that of exp
    relative = error[is_small] / np.maximum(np.asarray(expected)[is_small], 1e-30)
    assert relative.max() < 150 * np.finfo(dtype).eps


def test_gelu_by_hand():
    y, cache, _ = GELU().forward({}, {}, np.array([[0.0, 1.0, -1.0]]), train=True)
    np.testing.assert_allclose(y, [[0, 0.8413447460685429, -0.15865525393145707]], rtol=1e-15)
    dx = GELU().backward({}, cache, np.array([[2.0, 0.0, 0.0]])).dx
    np.testing.assert_allclose(dx, [[1, 0, 0]], atol=1e-15)


def test_the_form_with_tanh_is_close():
    x = np.linspace(-6, 6, 601)[None]
    exact, approximate = (GELU(form).forward({}, {}, x).y for form in ("none", "tanh"))
    assert 1e-4 < np.abs(exact - approximate).max() < 5e-4


def test_an_unknown_form():
    with refused("GELU, approximate: expected one of none, tanh, got 'erf'."):
        GELU(approximate="erf")


def test_hard_swish_lets_all_through_from_3_on_and_nothing_to_minus_3():
    x = np.array([[-1e3, -3.0, 3.0, 1e3]])
    y, cache, _ = HardSwish().forward({}, {}, x, train=True)
    assert y.tolist() == [[0, 0, 3, 1e3]]
    assert HardSwish().backward({}, cache, np.ones((1, 4))).dx.tolist() == [[0, 0, 1, 1]]
