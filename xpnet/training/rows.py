"""The parts of a batch that processes share, or that one process computes one after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, to_numpy
from xpnet.datasets import BatchSampler
from xpnet.errors import InputError
from xpnet.losses import Loss, LossForward
from xpnet.network import Network
from xpnet.parallel import Group
from xpnet.training.feed import Batch, IterableFeed


class Rows(NamedTuple):
    """Some rows of a batch, from first to stop - 1, of how many; their share of its examples and of its loss.

    The loss's share is that of the weights, Σ wc / Σ wc, of examples and of their classes, which are 1 without any. The
    shares of all ranks add up to 1: where each has the whole batch, the shares are equal.
    """

    first: int
    stop: int
    of: int
    examples: float
    weight: float


@dataclass(frozen=True)
class RowSampler:
    """The rows that one process of a group has of the batches of a sampler (``own_rows``).

    It computes them in so many ``parts``, or fewer where a batch is smaller. ``weights`` (N, ...) are those of all
    examples, if they have any.
    """

    whole: BatchSampler
    group: Group
    weights: np.ndarray | None
    parts: int = 1

    def batch(self, step: int) -> np.ndarray:
        """Indices to train on in this step (from 0) here."""
        indices = self.whole.batch(step)
        return indices[own_rows(self.group, len(indices))]

    def rows(self, step: int) -> tuple[Rows, ...]:
        """Which rows of the whole batch these are, part by part."""
        indices = self.whole.batch(step)
        weights = None if self.weights is None else self.weights[indices]
        return _rows(self.group, self.parts, len(indices), weights)


class RowFeed:
    """The rows that one process of a group has of batches from an iterable, which all processes read."""

    def __init__(self, whole: IterableFeed, group: Group, class_weights: Any, parts: int) -> None:
        self._whole, self._group, self._class_weights, self._parts = whole, group, class_weights, parts

    def batch(self, step: int) -> Batch:
        """The examples to train on in this step, counted from 0, here."""
        batch = self._whole.batch(step)
        rows = own_rows(self._group, batch.y.shape[0])
        return Batch(*(None if array is None else array[rows, ...] for array in batch))

    def rows(self, step: int) -> tuple[Rows, ...]:
        """Which rows of the whole batch these are, part by part."""
        batch = self._whole.batch(step)
        weights = weights_of_examples(batch.y, batch.weights, self._class_weights)
        return _rows(self._group, self._parts, batch.y.shape[0], weights)


def check_enough(group: Group, batch_size: int) -> None:
    """Raise InputError if batches have fewer examples than the group has processes."""
    if batch_size < group.size:
        raise InputError(
            f"Training: expected batches of at least {group.size} examples, one for each rank, got {batch_size}. "
            "Use larger batches, or fewer ranks."
        )


def is_whole(group: Group, count: int) -> bool:
    """Whether each process has all rows of a batch of so many examples: it has fewer than there are processes."""
    return count < group.size


def own_rows(group: Group, count: int) -> slice:
    """A process's rows of a batch: as many as another one's, or one more; all of a batch too small for that."""
    return slice(0, count) if is_whole(group, count) else group.rows(count)


def weights_of_examples(targets: Any, weights: Any, class_weights: Any) -> np.ndarray | None:
    """w·c of each example, on the host; None if all are 1."""
    if weights is None and class_weights is None:
        return None
    of_class = 1.0 if class_weights is None else np.asarray(class_weights, np.float64)[to_numpy(targets)]
    if weights is None:
        return np.asarray(of_class)
    return to_numpy(weights).astype(np.float64).reshape(-1, *(1,) * (np.ndim(of_class) - 1)) * of_class


def _rows(group: Group, parts: int, count: int, weights: np.ndarray | None) -> tuple[Rows, ...]:
    own, copies = own_rows(group, count), group.size if is_whole(group, count) else 1
    parts = max(min(parts, count // group.size), 1)  # as many on every rank
    bounds = [own.start + (own.stop - own.start) * part // parts for part in range(parts + 1)]
    return tuple(_part(start, stop, count, copies, weights) for start, stop in pairwise(bounds))


def _part(start: int, stop: int, count: int, copies: int, weights: np.ndarray | None) -> Rows:
    examples = (stop - start) / (count * copies)
    if weights is None:
        return Rows(start, stop, count, examples, examples)
    total = float(weights.sum()) * copies
    return Rows(start, stop, count, examples, float(weights[start:stop].sum()) / total if total else 0.0)


def parts_of(batch: Batch, rows: Sequence[Rows]) -> Iterator[tuple[Batch, Rows | None]]:
    """A process's examples of a batch in the parts that ``rows`` says, or as they are without any."""
    if len(rows) < 2:
        yield batch, rows[0] if rows else None
        return
    start = rows[0].first
    for part in rows:
        own = slice(part.first - start, part.stop - start)
        yield Batch(*(None if array is None else array[own, ...] for array in batch)), part


def with_share(network: Network, share: Array | float) -> Network:
    """The network with its share of a larger batch's loss, of whose gradient it then gives an addend."""
    return with_loss(network, _SharedLoss(network.loss, share))


def with_loss(network: Network, loss: Any) -> Network:
    """The network with another loss, or with what has its ``forward`` and ``backward``: a step asks for no more."""
    network = copy.copy(network)
    network.loss = loss
    return network


@dataclass(frozen=True, eq=False)
class _SharedLoss:
    """A loss and its gradient, times a number."""

    inner: Loss
    share: Array | float

    def forward(self, outputs: Array, targets: Array, weights: Array | None = None) -> LossForward:
        """The loss, and a cache for ``backward``."""
        loss, cache = self.inner.forward(outputs, targets, weights)
        return LossForward(loss * self.share, cache)

    def backward(self, cache: Mapping[str, Array]) -> Array:
        """Gradient with respect to the outputs."""
        return self.inner.backward(cache) * self.share


WhichRows = Callable[[int], tuple[Rows, ...]]
