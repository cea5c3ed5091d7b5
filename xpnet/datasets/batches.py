"""Which images are validated on, and which images are trained on in each step."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xpnet.errors import InputError


def split_indices(count: int, validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shuffle the indices 0..count-1 and set `validation` of them apart.

    Shapes: training indices int64 (count - validation,), validation indices int64 (validation,).

    Raises InputError unless 0 <= validation < count and seed >= 0.
    """
    _check_seed(seed)
    if not 0 <= validation < count:
        raise InputError(
            f"validation images: expected 0 to {count - 1} of the {count} training images, got {validation}. "
            "Leave at least one image to train on."
        )
    # A spawn key, because default_rng(seed) and default_rng([seed, 0]) draw the same numbers: the split would
    # then be shuffled like the first epoch of a BatchSampler with this seed.
    stream = np.random.SeedSequence(seed, spawn_key=(0,))
    indices = np.random.default_rng(stream).permutation(count)
    return indices[: count - validation], indices[count - validation :]


@dataclass(frozen=True)
class BatchSampler:
    """Draw batches of indices without replacement, each epoch in a new order.

    A batch depends on the seed and the step alone, so an interrupted run resumes with the batches it would
    have drawn. The last batch of an epoch holds what is left over and may be smaller.

    Raises InputError unless 1 <= batch_size <= count and seed >= 0.
    """

    count: int
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        _check_seed(self.seed)
        if not 1 <= self.batch_size <= self.count:
            raise InputError(
                f"batch size: expected 1 to {self.count} (the number of training images), "
                f"got {self.batch_size}. "
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
        return _epoch_order(self.count, self.seed, epoch)[start : start + self.batch_size]


@lru_cache(maxsize=2)
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch]).permutation(count)
    order.flags.writeable = False  # callers get views of the cached array
    return order


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}. Choose a non-negative integer.")
