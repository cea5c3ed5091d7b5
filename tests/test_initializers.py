import math

import numpy as np
import pytest

from tests.helpers import refused
from xpnet.initializers import Normal, VarianceScaling, glorot_uniform, he_normal, he_normal_fan_out, lecun_normal

FIRST_CONVOLUTION = (64, 5, 5, 3)  # n_in = 5*5*3 = 75 and n_out = 64*5*5 = 1600
DENSE = (80, 60)  # n_in = 60, n_out = 80
STATISTICAL_ERROR = 0.05  # of a standard deviation estimated from 4,800 values: five times 1/sqrt(2*4800)


@pytest.mark.parametrize(
    ("initializer", "shape", "std"),
    [
        (he_normal, FIRST_CONVOLUTION, math.sqrt(2 / 75)),
        (he_normal, DENSE, math.sqrt(2 / 60)),
        (he_normal_fan_out, FIRST_CONVOLUTION, math.sqrt(2 / 1600)),
        (he_normal_fan_out, DENSE, math.sqrt(2 / 80)),
        (lecun_normal, FIRST_CONVOLUTION, math.sqrt(1 / 75)),
        (lecun_normal, DENSE, math.sqrt(1 / 60)),
        (Normal(0.01), DENSE, 0.01),
        (VarianceScaling(0.02), FIRST_CONVOLUTION, math.sqrt(0.02 / 75)),
    ],
)
def test_normal_weights(initializer, shape, std):
    weight = initializer(np.random.default_rng(0), shape)
    assert weight.shape == shape
    assert weight.dtype == np.float64
    assert np.std(weight) == pytest.approx(std, rel=STATISTICAL_ERROR)
    assert abs(np.mean(weight)) < STATISTICAL_ERROR * std
    kurtosis = np.mean(weight**4) / np.mean(weight**2) ** 2
    assert kurtosis == pytest.approx(3.0, abs=0.4)  # 1.8 for a uniform distribution


@pytest.mark.parametrize(("shape", "fans"), [(FIRST_CONVOLUTION, 75 + 1600), (DENSE, 60 + 80)])
def test_glorot_uniform_fills_the_interval_up_to_its_limit(shape, fans):
    weight, limit = glorot_uniform(np.random.default_rng(0), shape), math.sqrt(6 / fans)
    assert weight.shape == shape
    assert 0.99 * limit < weight.max() <= limit
    assert -limit <= weight.min() < -0.99 * limit
    assert np.std(weight) == pytest.approx(limit / math.sqrt(3), rel=STATISTICAL_ERROR)


def test_a_standard_deviation_of_0_gives_zeros():
    assert not np.any(Normal(0.0)(np.random.default_rng(0), (3, 2)))


@pytest.mark.parametrize("initializer", [he_normal, glorot_uniform, Normal(1.0)])
@pytest.mark.parametrize("shape", [(1 << 50, 4), (10**20, 4), (1 << 40, 1 << 40)])
def test_a_shape_that_does_not_fit_into_memory(initializer, shape):
    with refused("Initial weights", "a shape that fits into memory", f"got {shape}"):
        initializer(np.random.default_rng(0), shape)


@pytest.mark.parametrize("std", [-0.1, math.nan, math.inf])
def test_normal_refuses(std):
    with refused("Normal", "a finite std of at least 0", f"got {std}"):
        Normal(std)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan, math.inf])
def test_variance_scaling_refuses(variance):
    with refused("VarianceScaling: expected a ", f"got {variance}. Change variance."):
        VarianceScaling(variance)


def test_variance_scaling_refuses_unknown_names():
    with refused("VarianceScaling, fan", "one of in, out, average", "got 'sum'"):
        VarianceScaling(2.0, fan="sum")
    with refused("VarianceScaling, distribution", "one of normal, uniform", "got 'cauchy'"):
        VarianceScaling(2.0, distribution="cauchy")
