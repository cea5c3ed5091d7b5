"""Where the batches of a training run come from: the device's memory, or files that are decoded ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from xpnet.backend import Array, Backend
from xpnet.datasets import BatchSampler
from xpnet.datasets.base import Images
from xpnet.datasets.image_files import ImageFiles

_BATCHES_AHEAD = 4
_SAMPLE, _SAMPLE_BATCH = 1000, 20


class DeviceFeed:
    """Batches gathered where all images lie: on the network's device."""

    def __init__(self, backend: Backend, images: np.ndarray, labels: np.ndarray, sampler: BatchSampler) -> None:
        self._backend, self._sampler = backend, sampler
        self._images, self._labels = backend.asarray(images), backend.asarray(labels)

    def batch(self, step: int) -> tuple[Array, Array]:
        """Images uint8 (n, H, W, C) and labels int32 (n,) to train on in this step, on the device."""
        xp, places = self._backend.xp, self._backend.asarray(self._sampler.batch(step))
        return xp.take(self._images, places, axis=0), xp.take(self._labels, places, axis=0)


class FileFeed:
    """Batches decoded from files by threads, a few batches ahead of the training.

    Which images a batch holds is the sampler's to say, so the threads' timing changes nothing but the waiting.
    """

    def __init__(self, backend: Backend, images: ImageFiles, labels: np.ndarray, sampler: BatchSampler) -> None:
        self._backend, self._sampler = backend, sampler
        self._images, self._labels = images, labels
        self._step = 0
        self._coming: deque[Callable[[], np.ndarray]] = deque()

    def batch(self, step: int) -> tuple[Array, Array]:
        """Images uint8 (n, H, W, C) and labels int32 (n,) to train on in this step, on the device."""
        if step != self._step:
            self._coming.clear()
        for ahead in range(step + len(self._coming), step + 1 + _BATCHES_AHEAD):
            self._coming.append(self._images.start(self._sampler.batch(ahead)))
        self._step = step + 1
        images, labels = self._coming.popleft()(), self._labels[self._sampler.batch(step)]
        return self._backend.asarray(images), self._backend.asarray(labels)


def make_feed(backend: Backend, images: Images, labels: np.ndarray, sampler: BatchSampler) -> DeviceFeed | FileFeed:
    """The feed that suits where the training images are."""
    if isinstance(images, ImageFiles):
        return FileFeed(backend, images, labels, sampler)
    return DeviceFeed(backend, images, labels, sampler)


def subset(images: Images, indices: np.ndarray) -> Images:
    """Some of the images; those in files stay there."""
    return images.subset(indices) if isinstance(images, ImageFiles) else images[indices]


def channel_means(images: Images) -> np.ndarray:
    """Mean pixel of each channel, float64 (C,): of all images in memory, but of the first 1,000 in files."""
    if not isinstance(images, ImageFiles):
        return images.mean(axis=(0, 1, 2), dtype=np.float64)
    sample = images.subset(np.arange(min(len(images), _SAMPLE)))
    starts = range(0, len(sample), _SAMPLE_BATCH)  # not all at once: images may be large
    totals = [sample[start : start + _SAMPLE_BATCH].sum(axis=(0, 1, 2), dtype=np.int64) for start in starts]
    return np.sum(totals, axis=0) * sample.shape[-1] / sample.size
