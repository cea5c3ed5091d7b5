"""Distributions of initial weights, drawn on the host so that a seed gives the same network on every backend."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xpnet.checks import check_above_zero, check_at_least_zero, pick
from xpnet.errors import InputError
from xpnet.shapes import Shape

__all__ = [
    "Initializer",
    "Normal",
    "VarianceScaling",
    "glorot_uniform",
    "he_normal",
    "he_normal_fan_out",
    "lecun_normal",
]


@dataclass(frozen=True)
class VarianceScaling:
    """Weights whose variance is ``variance / fan``, so that signals keep their size from layer to layer.

    Parameters
    ----------
    variance
        What is divided by the fan.
    fan
        The number of inputs of one output value ("in"), the number of outputs that one input value reaches ("out"; as
        in PyTorch, groups and strides, which make it smaller, are not counted), or the mean of both ("average").
    distribution
        "normal" or "uniform".

    Raises
    ------
    InputError
        If the variance is not positive and finite, a name is unknown, or a weight would not fit into memory.
    """

    variance: float
    fan: Literal["in", "out", "average"] = "in"
    distribution: Literal["normal", "uniform"] = "normal"

    def __post_init__(self) -> None:
        check_above_zero("VarianceScaling", "variance", self.variance, "Change variance.")
        pick("VarianceScaling, fan", dict.fromkeys(("in", "out", "average")), self.fan)
        pick("VarianceScaling, distribution", dict.fromkeys(("normal", "uniform")), self.distribution)

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """Draw a weight of shape (out, ..., in) in float64."""
        fan_in, fan_out = math.prod(shape[1:]), shape[0] * math.prod(shape[1:-1])
        fan = {"in": fan_in, "out": fan_out, "average": (fan_in + fan_out) / 2}[self.fan]
        std = math.sqrt(self.variance / fan)
        limit = math.sqrt(3) * std
        with _fits_into_memory(shape):
            return rng.normal(0.0, std, shape) if self.distribution == "normal" else rng.uniform(-limit, limit, shape)


@dataclass(frozen=True)
class Normal:
    """Weights of mean 0 and a given standard deviation.

    Raises
    ------
    InputError
        If the standard deviation is negative or not finite, or a weight would not fit into memory.
    """

    std: float

    def __post_init__(self) -> None:
        check_at_least_zero("Normal", "std", self.std)

    def __call__(self, rng: np.random.Generator, shape: Shape) -> np.ndarray:
        """Draw a weight in float64."""
        with _fits_into_memory(shape):
            return rng.normal(0.0, self.std, shape)


def constant(value: float, count: int) -> np.ndarray:
    """A vector of one value."""
    return np.broadcast_to(value, (count,))


@contextmanager
def _fits_into_memory(shape: Shape) -> Iterator[None]:
    """Turn what NumPy raises for a shape that it cannot draw into an InputError."""
    try:
        yield
    except (MemoryError, ValueError, OverflowError) as error:
        raise InputError(
            f"Initial weights: expected a shape that fits into memory, got {shape}. Use fewer units or filters."
        ) from error


Initializer = VarianceScaling | Normal
"""Any of them."""

he_normal = VarianceScaling(2.0)
"""std = sqrt(2/n_in), for ReLU. Source: He et al., "Delving deep into rectifiers", ICCV 2015, equation 10."""

he_normal_fan_out = VarianceScaling(2.0, fan="out")
"""std = sqrt(2/n_out), which keeps the size of gradients instead. Source: as above, equation 14."""

glorot_uniform = VarianceScaling(1.0, fan="average", distribution="uniform")
"""limit = sqrt(6/(n_in + n_out)). Source: Glorot and Bengio, AISTATS 2010, equation 16."""

lecun_normal = VarianceScaling(1.0)
"""std = sqrt(1/n_in). Source: LeCun et al., "Efficient backprop", 1998, section 4.6."""
