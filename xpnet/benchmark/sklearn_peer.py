"""scikit-learn's multilayer perceptron: comparable with ``mlp``, not equal.

It draws its own weights, copies and checks every batch, and keeps its gradients to itself, so that they cannot be
compared; the sizes of layers and batch and the kind of optimizer are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

from xpnet.benchmark.cases import MOMENTUM, SEED, Case
from xpnet.errors import InputError
from xpnet.layers import Dense, Flatten, Normalize, ReLU


class SklearnTwin:
    """A classifier that is fitted to one batch again and again."""

    def __init__(self, case: Case) -> None:
        leaves = [leaf.layer for leaf in case.layer.leaves(case.input_shape)]
        dense = [layer.units for layer in leaves if isinstance(layer, Dense)]
        if not all(isinstance(layer, Dense | Flatten | Normalize | ReLU) for layer in leaves):
            raise InputError("Benchmark: expected dense layers and ReLU alone for scikit-learn. Measure mlp.")
        images, self._labels = case.batch()
        pixels = images.reshape(case.batch_size, -1).astype(np.float32)
        self._x = (pixels - pixels.mean()) * np.float32(case.pixel_scale)
        self._classes = np.arange(dense[-1])
        settings: dict[str, Any] = {"solver": "sgd", "momentum": MOMENTUM, "nesterovs_momentum": False}
        settings |= {"alpha": case.weight_decay, "learning_rate_init": case.learning_rate}
        settings |= {"batch_size": case.batch_size, "hidden_layer_sizes": dense[:-1], "random_state": SEED}
        self._classifier = MLPClassifier(**settings)

    def gradient(self) -> None:
        """See ``Implementation``."""

    def training(self) -> Callable[[], object]:
        """See ``Implementation``."""
        return lambda: self._classifier.partial_fit(self._x, self._labels, classes=self._classes)

    def inference(self) -> Callable[[], Any]:
        """See ``Implementation``."""
        self._classifier.partial_fit(self._x, self._labels, classes=self._classes)  # before it, there are no weights
        return lambda: self._classifier.predict_proba(self._x)

    def wait(self) -> None:
        """See ``Implementation``."""


def make(case: Case, device: str, _: str) -> SklearnTwin:
    """The scikit-learn version, on the CPU alone; it has no variants."""
    if device != "cpu":
        raise InputError(f"Benchmark: scikit-learn computes on the CPU, not on {device}. Leave out the peer sklearn.")
    return SklearnTwin(case)
