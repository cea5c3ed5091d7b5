"""Mixup and CutMix: each example of a batch blended with another one, and the targets of both learned.

Example n of a batch of N has example N - 1 - n as its partner, which shuffling makes a random one; of an odd batch the
example in the middle stays as it is. What is random is drawn on the host for each step from the seed, so that it is the
same on every backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import device

from xpnet import kernels
from xpnet.backend import Array, array_namespace
from xpnet.checks import check_above_zero
from xpnet.errors import InputError
from xpnet.losses import Loss, LossForward
from xpnet.network import Network
from xpnet.random import Stream, generator
from xpnet.shapes import Shape
from xpnet.training.rows import with_loss
from xpnet.training.scores import Score

Mix = Sequence[float | Array]  # numbers of one batch, λ first; arrays of one element where a CUDA graph holds them


@dataclass(frozen=True)
class Mixing(ABC):
    """A way to blend the examples of a batch, with a share λ ~ Beta(α, α) of each and 1 - λ of its partner."""

    alpha: float

    def __post_init__(self) -> None:
        check_above_zero(type(self).__name__, "alpha", self.alpha, "Try 0.2 for Mixup, 1 for CutMix.")

    def draw(self, seed: int, step: int, network: Network) -> Mix:
        """What ``blend`` needs for the batch of a step, rounded to the network's dtype: a function of seed and step."""
        rng = generator(seed, Stream.MIXING, step)
        numbers = self._draw(rng, rng.beta(self.alpha, self.alpha), network.input_shape)
        return tuple(numbers.astype(network.dtype).tolist())

    @abstractmethod
    def _draw(self, rng: np.random.Generator, share: float, input_shape: Shape) -> np.ndarray:
        """The numbers of one batch, of which the first is λ, given the value of λ that was drawn."""

    @abstractmethod
    def blend(self, x: Array, mix: Mix) -> Array:
        """Inputs (N, ...) of one batch blended with their partners, given its numbers."""


@dataclass(frozen=True)
class Mixup(Mixing):
    """Adds a share of each example's partner to it.

        x'[n] = λ x[n] + (1 - λ) x[m];  L' = λ L(z, y[n]) + (1 - λ) L(z, y[m]);  λ ~ Beta(α, α),  m = N - 1 - n

    z are the outputs for x', y the targets, L the loss; λ is drawn once for each batch. For cross-entropy L' is that of
    the targets λ t[n] + (1 - λ) t[m], with t one-hot; for the squared error its gradient is that of blended targets.

    Shapes: inputs (N, ...) of any shape, but not indices.

    Raises InputError unless alpha is finite and above 0.
    Source: Zhang et al., "mixup: Beyond empirical risk minimization", ICLR 2018, section 2 and figure 1.
    """

    def _draw(self, rng: np.random.Generator, share: float, input_shape: Shape) -> np.ndarray:
        return np.array([share])

    def blend(self, x: Array, mix: Mix) -> Array:
        """The blended inputs x' of a batch."""
        return kernels.lerp(_partners(x), x, mix[0])


@dataclass(frozen=True)
class CutMix(Mixing):
    """Replaces a box in each image by that of its partner.

        x'[n,i,j] = x[m,i,j] in the box, x[n,i,j] outside;  L' = λ L(z, y[n]) + (1 - λ) L(z, y[m]),  m = N - 1 - n

    z are the outputs for x', y the targets, L the loss. The box has the sides H √(1 - λ) and W √(1 - λ) around a random
    pixel, with λ ~ Beta(α, α), and is cut off at the border; in L', λ is the share of the pixels outside. Box and λ are
    drawn once for each batch.

    Shapes: images (N, H, W, C).

    Raises InputError unless alpha is finite and above 0.
    Source: Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features", ICCV
    2019, section 3.1.
    """

    def _draw(self, rng: np.random.Generator, share: float, input_shape: Shape) -> np.ndarray:
        sides = [_side(rng, length, np.sqrt(1 - share)) for length in input_shape[:2]]
        pixels = np.prod([end - start for start, end in sides])
        return np.array([1 - pixels / np.prod(input_shape[:2]), *sides[0], *sides[1]])

    def blend(self, x: Array, mix: Mix) -> Array:
        """The blended inputs x' of a batch."""
        xp, (height, width) = array_namespace(x), x.shape[1:3]
        rows, columns = (xp.arange(length, dtype=x.dtype, device=device(x)) for length in (height, width))
        in_rows, in_columns = (rows >= mix[1]) & (rows < mix[2]), (columns >= mix[3]) & (columns < mix[4])
        return xp.where(in_rows[:, None, None] & in_columns[:, None], _partners(x), x)


def check_mixing(mixing: Mixing | None, network: Network, targets: Any, parts: int) -> None:
    """Raise InputError for inputs or targets that cannot be blended, and where partners are in different parts."""
    if mixing is None:
        return
    name, shape = type(mixing).__name__, network.input_shape
    if network.layer.index_count is not None:
        raise InputError(f"{name}: expected inputs that can be blended, got indices. Leave {name} out.")
    if isinstance(mixing, CutMix) and len(shape) != 3:
        raise InputError(f"CutMix: expected images (H, W, C), got inputs of shape {shape}. Use Mixup.")
    if isinstance(mixing, CutMix) and targets.ndim > 2:
        raise InputError("CutMix: expected one target for each image, got one for each pixel. Use Mixup.")
    if parts > 1:
        raise InputError(
            f"{name}: expected whole batches, got {parts} parts, of ranks or accumulation, that do not see each "
            f"other's examples. Use one process and accumulate=1, or leave {name} out."
        )


def mixed_score(score: Score, mix: Mix) -> Score:
    """λ times the score on the examples' own targets and 1 - λ times that on their partners'."""

    def mixed(outputs: Array, targets: Array, dtype: Any) -> Array:
        own, other = score(outputs, targets, dtype), score(outputs, _partners(targets), dtype)
        return kernels.lerp(other, own, mix[0])

    return mixed


def with_mixed_targets(network: Network, mix: Mix) -> Network:
    """The network with the loss of a blended batch."""
    return with_loss(network, _MixedLoss(network.loss, mix))


@dataclass(frozen=True, eq=False)
class _MixedLoss:
    """λ times the loss of examples' own targets and 1 - λ times that of their partners', with the weights of each."""

    inner: Loss
    mix: Mix

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        own = self.inner.forward(outputs, targets, weights)
        other = self.inner.forward(outputs, _partners(targets), None if weights is None else _partners(weights))
        cache: Any = {"own": own.cache, "other": other.cache}
        return LossForward(kernels.lerp(other.loss, own.loss, self.mix[0]), cache)

    def backward(self, cache: Any) -> Array:
        """Gradient with respect to the outputs."""
        own, other = self.inner.backward(cache["own"]), self.inner.backward(cache["other"])
        return kernels.lerp(other, own, self.mix[0])


def _partners(array: Array) -> Array:
    return array_namespace(array).flip(array, axis=0)


def _side(rng: np.random.Generator, length: int, share: float) -> tuple[int, int]:
    """Where a part of a length begins and ends, around a random place."""
    size = round(length * share)
    start = int(rng.integers(length)) - size // 2
    return max(start, 0), min(start + size, length)
