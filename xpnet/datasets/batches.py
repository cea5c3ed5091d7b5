"""Which images are validated on, and which images are trained on in each step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from xpnet.errors import InputError
from xpnet.random import Stream, check_seed, generator


def split_indices(count: int, validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shuffle the indices 0..count-1 and set ``validation`` of them apart.

    Shapes: training indices int64 (count - validation,), validation indices int64 (validation,).

    Raises
    ------
    InputError
        Unless 0 <= validation < count.
    """
    if not 0 <= validation < count:
        raise InputError(
            f"Training: expected validation to leave at least one of the {count} training examples, got {validation}. "
            "Use a smaller number."
        )
    indices = generator(seed, Stream.SPLIT).permutation(count)
    return indices[: count - validation], indices[count - validation :]


class Sampler(Protocol):
    """What says which examples each step trains on."""

    def batch(self, step: int) -> np.ndarray:
        """Their indices in this step (from 0)."""
        ...


@dataclass(frozen=True)
class BatchSampler:
    """Draw batches of indices without replacement, each epoch in a new order (without ``shuffle`` in their own).

    A batch depends on the seed and the step alone, so an interrupted run resumes with the batches it would
    have drawn. The last batch of an epoch holds what is left over and may be smaller.

    Raises
    ------
    InputError
        Unless 1 <= batch_size <= count.
    """

    count: int
    batch_size: int
    seed: int
    shuffle: bool = True

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not 1 <= self.batch_size <= self.count:
            raise InputError(
                f"Batch size: expected 1 to {self.count} (the number of training images), got {self.batch_size}. "
                "Choose one in this range."
            )

    @property
    def batches_per_epoch(self) -> int:
        """Steps in which every index is drawn once, ceil(count / batch_size)."""
        return -(-self.count // self.batch_size)

    def batch(self, step: int) -> np.ndarray:
        """Indices to train on in this step (from 0): int64, (batch_size,) or fewer at the end of an epoch."""
        epoch, position = divmod(step, self.batches_per_epoch)
        start = position * self.batch_size
        if not self.shuffle:
            return np.arange(start, min(start + self.batch_size, self.count))
        return _epoch_order(self.count, self.seed, epoch)[start : start + self.batch_size]


@lru_cache(maxsize=2)
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    order = generator(seed, Stream.EPOCH, epoch).permutation(count)
    order.flags.writeable = False  # callers get views of the cached array
    return order
