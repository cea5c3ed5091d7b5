"""What kernels are told about a batch normalisation that follows a convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xpnet.backend import Array


class Normalization(NamedTuple):
    """(x - mean) / sqrt(variance + eps) * weight + bias, with the running statistics as mean and variance."""

    params: Mapping[str, Array]
    state: Mapping[str, Array]
    eps: float
