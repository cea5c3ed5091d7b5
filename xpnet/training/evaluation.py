"""How well a network does on examples whose targets are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from xpnet import kernels, metrics
from xpnet.backend import Array, to_numpy
from xpnet.compile import compiled
from xpnet.datasets.arrays import check_values
from xpnet.datasets.rows import HostRows, row_numbers
from xpnet.layers.base import State
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.parallel import ALONE, Group
from xpnet.shapes import Pair

BATCH_SIZE = 250
LARGEST_OUTPUT = 1 << 26  # bytes, of one layer for a batch; what a convolution needs beside it is a few times as much


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """Classes: the network's own loss, the confusion matrix (rows true, columns predicted), probabilities and targets.

    Probabilities (N, classes) are the softmax of the network's outputs, whatever its loss; targets (N,) the true
    classes. Where pixels have classes, each of them is an example.
    """

    loss: float
    confusion: np.ndarray
    probabilities: np.ndarray
    targets: np.ndarray
    metric: ClassVar[str] = "accuracy"

    def __repr__(self) -> str:
        return _short(self, "loss", "accuracy")

    @property
    def accuracy(self) -> float:
        """Share of examples whose most probable class is the true one."""
        return metrics.accuracy(self.confusion)

    @property
    def score(self) -> float:
        """The accuracy."""
        return self.accuracy

    def top_k_accuracy(self, k: int) -> float:
        """Share of examples whose true class is among the k most probable ones."""
        return metrics.top_k_accuracy(self.probabilities, self.targets, k)

    @property
    def precision(self) -> np.ndarray:
        """For each class, the share of its predictions that are right; NaN without predictions."""
        return metrics.precision(self.confusion)

    @property
    def recall(self) -> np.ndarray:
        """For each class, the share of its examples that were found; NaN without examples."""
        return metrics.recall(self.confusion)

    @property
    def f1(self) -> np.ndarray:
        """For each class, the harmonic mean of precision and recall."""
        return metrics.f1(self.confusion)

    @property
    def calibration(self) -> metrics.Calibration:
        """Whether predictions are right as often as their probabilities say; ``calibration.error`` is one number."""
        return metrics.calibration(self.probabilities, self.targets)

    @property
    def iou(self) -> np.ndarray:
        """For each class, the share of the examples of it or predicted as it that are both; NaN where there are none.

        Of pixels it is intersection over union.
        """
        return metrics.iou(self.confusion)

    def to_dict(self) -> dict[str, Any]:
        """What is written about an evaluation, as JSON can hold it: None stands for a metric that is undefined."""
        bins = self.calibration
        return {
            "test_accuracy": self.accuracy,
            "test_loss": _or_none(self.loss),
            "confusion_matrix": self.confusion.tolist(),
            "iou": [_or_none(value) for value in self.iou],
            **_class_metrics(self),
            "calibration_error": bins.error,
            "calibration": {
                "counts": bins.counts.tolist(),
                "confidence": list(map(_or_none, bins.confidence)),
                "accuracy": list(map(_or_none, bins.accuracy)),
            },
        }


@dataclass(frozen=True, eq=False, repr=False)
class BinaryEvaluation:
    """0/1 targets: the loss, and probabilities of 1 beside the targets, both (N, K)."""

    loss: float
    probabilities: np.ndarray
    targets: np.ndarray
    metric: ClassVar[str] = "accuracy"

    def __repr__(self) -> str:
        return _short(self, "loss", "accuracy")

    @property
    def accuracy(self) -> float:
        """Share of all N·K targets that are predicted right, with 1 predicted for probabilities above 1/2."""
        return float(((self.probabilities > 0.5) == (self.targets > 0)).mean())

    @property
    def score(self) -> float:
        """The accuracy."""
        return self.accuracy

    @property
    def precision(self) -> np.ndarray:
        """For each of the K labels, TP/(TP + FP); NaN where it was never predicted."""
        return self._of_each_label(metrics.precision)

    @property
    def recall(self) -> np.ndarray:
        """For each of the K labels, TP/(TP + FN); NaN where no example has it."""
        return self._of_each_label(metrics.recall)

    @property
    def f1(self) -> np.ndarray:
        """For each of the K labels, 2·TP/(2·TP + FP + FN); NaN where it is 0/0."""
        return self._of_each_label(metrics.f1)

    def _of_each_label(self, metric: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """A metric of two classes, 0 and 1: the value of 1 for each label."""
        predicted, true = (self.probabilities > 0.5).astype(np.int64), (self.targets > 0).astype(np.int64)
        pairs = zip(true.T, predicted.T, strict=True)
        return np.array([metric(metrics.confusion_matrix(*pair, 2))[1] for pair in pairs])

    def to_dict(self) -> dict[str, Any]:
        """What is written about an evaluation, as JSON can hold it."""
        return {
            "test_accuracy": self.accuracy,
            "test_loss": _or_none(self.loss),
            **_class_metrics(self),
        }


@dataclass(frozen=True, eq=False, repr=False)
class RegressionEvaluation:
    """Real targets: the loss, and predictions beside the targets, both (N, K)."""

    loss: float
    predictions: np.ndarray
    targets: np.ndarray
    metric: ClassVar[str] = "r2"

    def __repr__(self) -> str:
        return _short(self, "loss", "r2", "mae", "rmse")

    @property
    def r2(self) -> float:
        """R², averaged over the K targets."""
        return metrics.r2_score(self.targets, self.predictions)

    @property
    def score(self) -> float:
        """R²."""
        return self.r2

    @property
    def mae(self) -> float:
        """Mean absolute error, in the unit of the targets."""
        return metrics.mean_absolute_error(self.targets, self.predictions)

    @property
    def rmse(self) -> float:
        """Root mean squared error, in the unit of the targets."""
        return metrics.root_mean_squared_error(self.targets, self.predictions)

    def to_dict(self) -> dict[str, Any]:
        """What is written about an evaluation, as JSON can hold it."""
        values = {"test_r2": self.r2, "test_loss": self.loss, "mae": self.mae, "rmse": self.rmse}
        return {name: _or_none(value) for name, value in values.items()}


AnyEvaluation = Evaluation | BinaryEvaluation | RegressionEvaluation
"""Any of the three."""


class Evaluator:
    """Applies a network to inputs in batches; they may be host arrays, files, or lie on the network's device.

    A batch has at most 250 examples, and fewer where the largest output of a layer would be more than 64 MiB. The ranks
    of a ``group`` share the examples, and each has the result for all of them.
    """

    def __init__(self, network: Network, group: Group = ALONE) -> None:
        self._network, self._group = network, group
        self.batch_size = _batch_size(network)
        self._outputs: Callable[..., Array] = compiled(self._forward, network.backend)

    def __call__(self, theta: Array, state: State, inputs: Any, targets: Array) -> AnyEvaluation:
        """Evaluate the network with the given values."""
        own = self._group.rows(targets.shape[0])
        outputs = self._on_host(theta, state, inputs, _bounds(own.start, own.stop, self.batch_size))
        whole = np.concatenate(outputs) if self._group.size == 1 else self._joined(outputs, own, targets.shape[0])
        return evaluate(self._network.loss, whole, to_numpy(targets))

    def _on_host(self, theta: Array, state: State, inputs: Any, bounds: list[Pair]) -> list[np.ndarray]:
        """The outputs for the inputs between bounds; up to 64 MiB come from the device in one copy."""
        backend, shape, copied = self._network.backend, self._network.output_shape, []
        size = self.batch_size * math.prod(shape) * np.dtype(self._network.dtype).itemsize
        at_once = max(LARGEST_OUTPUT // size, 1)
        with backend.current():
            for first in range(0, len(bounds), at_once):
                batches = (self._batch(inputs, *pair) for pair in bounds[first : first + at_once])
                outputs = [backend.xp.reshape(self._outputs(theta, state, x), (-1,)) for x in batches]
                copied.append(to_numpy(kernels.join_vectors(outputs)).reshape(-1, *shape))
        return copied

    def _batch(self, inputs: Any, start: int, stop: int) -> Array:
        """Rows of the inputs on the device; those that are read only now are checked now."""
        rows = inputs[start:stop]
        if isinstance(inputs, HostRows | np.memmap):
            indices = row_numbers(inputs, np.arange(start, stop))
            check_values("Evaluation inputs", rows, self._network.dtype, indices)
        return self._network.backend.asarray(rows)

    def _joined(self, outputs: list[np.ndarray], own: slice, count: int) -> np.ndarray:
        """The outputs of all ranks, each of which has some rows of them."""
        whole = np.zeros((count, *self._network.output_shape), self._network.dtype)
        if outputs:
            whole[own] = np.concatenate(outputs)
        return self._group.all_reduce(whole)

    def _forward(self, theta: Array, state: State, inputs: Array) -> Array:
        xp = self._network.backend.xp
        return self._network.forward(theta, state, xp.astype(inputs, theta.dtype)).y


def evaluate(loss: Loss, outputs: np.ndarray, targets: np.ndarray) -> AnyEvaluation:
    """What outputs (N, K), or (N, H, W, K) with a class for each pixel, say about targets, all on the host."""
    value = float(loss.forward(outputs.astype(np.float64), targets).loss)
    if loss.target == "binary":
        return BinaryEvaluation(value, _sigmoid(outputs), targets.reshape(outputs.shape))
    if np.issubdtype(targets.dtype, np.integer):
        outputs, targets = outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1)
        confusion = metrics.confusion_matrix(targets, outputs.argmax(axis=1), outputs.shape[1])
        return Evaluation(value, confusion, np.exp(metrics.log_softmax(outputs)), targets)
    return RegressionEvaluation(value, outputs, targets.reshape(outputs.shape))


def _short(evaluation: AnyEvaluation, *names: str) -> str:
    """The metrics of these names; the arrays would fill a screen."""
    values = ", ".join(f"{name}={getattr(evaluation, name):.4g}" for name in names)
    return f"{type(evaluation).__name__}({values})"


def _class_metrics(evaluation: Evaluation | BinaryEvaluation) -> dict[str, list[float | None]]:
    names = ("precision", "recall", "f1")
    return {name: [_or_none(value) for value in getattr(evaluation, name)] for name in names}


def _sigmoid(outputs: np.ndarray) -> np.ndarray:
    """1/(1 + e^-z) without overflow."""
    return 0.5 * (1 + np.tanh(outputs.astype(np.float64) / 2))


def _bounds(first: int, end: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, end)) for start in range(first, end, size)]


def _or_none(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _batch_size(network: Network) -> int:
    largest = max(math.prod(info.output_shape) for info in network.layer_info()) * np.dtype(network.dtype).itemsize
    return min(BATCH_SIZE, max(LARGEST_OUTPUT // largest, 1))
