"""How well a network does on labelled images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet import metrics
from xpnet.backend import Array, to_numpy
from xpnet.compile import compiled
from xpnet.layers.base import State
from xpnet.network import Network

BATCH_SIZE = 250
LARGEST_OUTPUT = 1 << 26  # bytes, of one layer for a batch; what a convolution needs beside it is a few times as much


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The network's own loss over all images, the confusion matrix (rows true, columns predicted), and probabilities.

    These are the softmax of the network's outputs (N, classes), whatever its loss.
    """

    loss: float
    confusion: np.ndarray
    probabilities: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is the true one."""
        return metrics.accuracy(self.confusion)

    def to_dict(self) -> dict[str, Any]:
        """What is written about an evaluation, as JSON can hold it: None stands for a figure that is undefined."""
        return {
            "test_accuracy": self.accuracy,
            "test_loss": _or_none(self.loss),
            "confusion_matrix": self.confusion.tolist(),
            "precision": [_or_none(figure) for figure in metrics.precision(self.confusion)],
            "recall": [_or_none(figure) for figure in metrics.recall(self.confusion)],
        }


class Evaluator:
    """Applies a network to images in batches; the images may be host arrays or lie on the network's device.

    A batch has at most 250 images, and fewer where the largest output of a layer would be more than 64 MiB.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self.batch_size = _batch_size(network)
        self._logits: Callable[..., Array] = compiled(self._forward, network.backend)

    def __call__(self, theta: Array, state: State, images: Array, labels: np.ndarray) -> Evaluation:
        """Evaluate the network with the given values; ``labels`` is a host array."""
        backend = self._network.backend
        logits = np.concatenate(
            [
                to_numpy(self._logits(theta, state, backend.asarray(images[start : start + self.batch_size])))
                for start in range(0, len(labels), self.batch_size)
            ]
        )
        return Evaluation(
            loss=float(self._network.loss.forward(logits.astype(np.float64), labels).loss),
            confusion=metrics.confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1]),
            probabilities=np.exp(metrics.log_softmax(logits)),
        )

    def _forward(self, theta: Array, state: State, images: Array) -> Array:
        xp = self._network.backend.xp
        return self._network.forward(theta, state, xp.astype(images, theta.dtype)).y


def _or_none(figure: float) -> float | None:
    return float(figure) if np.isfinite(figure) else None


def _batch_size(network: Network) -> int:
    largest = max(math.prod(row.output_shape) for row in network.layer_info()) * np.dtype(network.dtype).itemsize
    return min(BATCH_SIZE, max(LARGEST_OUTPUT // largest, 1))
