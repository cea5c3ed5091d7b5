"""A run as its part of a page: pictures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from xpnet import metrics, plots
from xpnet.errors import printable
from xpnet.report.figures import Picture, draw
from xpnet.report.findings import Findings
from xpnet.report.run import Run, State
from xpnet.report.start import LayerWork, Start
from xpnet.runs.settings import flatten
from xpnet.training import Record

_TOLD = 5  # mistakes that a picture's text tells


class ClassRow(NamedTuple):
    """How well a class is recognised."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


class RunView:
    """A run with what is drawn of it; ``command`` repeats it, ``title`` tells it from the others on the page."""

    def __init__(self, run: Run, command: str, title: str, findings: Findings | None = None) -> None:
        self.run, self.command, self.title, self.findings = run, command, printable(title), findings

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that its objects have."""
        flat = flatten(self.run.config) if self.run.config else {}
        return {name.replace("_", " "): value for name, value in flat.items() if value is not None and value != ()}

    @property
    def last(self) -> Record | None:
        """The newest record."""
        return self.run.history[-1] if len(self.run.history) else None

    @property
    def is_over(self) -> bool:
        """Whether it ended, at its end or by Ctrl-C."""
        return self.run.state in (State.FINISHED, State.INTERRUPTED)

    @property
    def layers(self) -> list[LayerWork]:
        """The layers of its network, if that is known."""
        if self.run.start:
            return self.run.start.layers
        return self.findings.layers if self.findings else []

    @property
    def start(self) -> Start | None:
        """What it found when it began."""
        return self.run.start

    @property
    def versions(self) -> Mapping[str, str]:
        """The versions that its result depends on."""
        if self.run.results and self.run.results.versions:
            return self.run.results.versions
        return self.run.start.versions if self.run.start else {}

    @property
    def calibration(self) -> metrics.Calibration | None:
        """The bins of confidence of its test, from its summary or a new evaluation."""
        if self.run.results and self.run.results.calibration:
            return self.run.results.calibration
        return self.findings.evaluation.calibration if self.findings else None

    @cached_property
    def curves(self) -> list[Picture]:
        """Loss and score, and the error rate of classes."""
        history = self.run.history
        if not len(history):
            return []
        pictures = [self._draw("curves", lambda: plots.history(history), self._curves_text())]
        if history.metric == "accuracy" and history.batches_per_epoch:
            per_epoch = history.batches_per_epoch
            rates = f"Error rates of {self.title} by epoch, on a logarithmic scale."
            pictures.append(self._draw("rates", lambda: plots.error_rate_curves(history.to_dict(), per_epoch), rates))
        return pictures

    @cached_property
    def confusion(self) -> Picture | None:
        """The confusion matrix."""
        matrix = self._confusion
        if matrix is None:
            return None
        names = self._names(len(matrix))
        wrong = matrix - np.diag(np.diagonal(matrix))
        true, predicted = map(int, np.unravel_index(wrong.argmax(), wrong.shape))
        text = f"Confusion matrix: {np.trace(matrix):,} of {matrix.sum():,} are right."
        if wrong.any():
            text += f" Most often {names[true]} is taken for {names[predicted]}, {wrong[true, predicted]:,} times."
        return self._draw("confusion", lambda: plots.confusion_matrix(matrix, names), text)

    @cached_property
    def classes(self) -> list[ClassRow]:
        """Precision and recall of every class."""
        matrix = self._confusion
        if matrix is None:
            return []
        columns = (metrics.precision(matrix), metrics.recall(matrix), metrics.f1(matrix), matrix.sum(axis=1))
        return [ClassRow(*row) for row in zip(self._names(len(matrix)), *columns, strict=True)]

    @cached_property
    def reliability(self) -> Picture | None:
        """The reliability diagram."""
        bins = self.calibration
        if bins is None or not bins.counts.any():
            return None
        text = f"Accuracy by confidence; the expected calibration error is {bins.error:.2%}."
        return self._draw("calibration", lambda: plots.calibration(bins), text)

    @cached_property
    def mistakes(self) -> Picture | None:
        """The misclassified images that the network is surest of."""
        found = self.findings.mistakes if self.findings else None
        if found is None:
            return None
        labels, predictions, names = found["labels"], found["predictions"], found["class_names"]
        wrong = np.flatnonzero(labels != predictions)
        sure = found["probabilities"][wrong, predictions[wrong]]
        surest = [(wrong[i], sure[i]) for i in np.argsort(-sure, stable=True)[:_TOLD]]
        told = [f"{names[labels[n]]} taken for {names[predictions[n]]} ({p:.2f})" for n, p in surest]
        text = f"{len(wrong):,} of {len(labels):,} test images are misclassified."
        text += f" The surest: {', '.join(told)}." if told else ""
        return self._draw("mistakes", lambda: plots.misclassified(**found), text)

    @cached_property
    def pixels(self) -> Picture | None:
        """The first test images with the classes of their pixels."""
        found = self.findings.pixels if self.findings else None
        if found is None:
            return None
        right = (found["predictions"] == found["targets"]).mean()
        text = f"The first test images, their classes, those predicted, and where they differ; {right:.2%} are right."
        return self._draw("pixels", lambda: plots.segmentation(**found), text)

    @cached_property
    def filters(self) -> Picture | None:
        """The filters of the first convolution."""
        weight = self.findings.filters if self.findings else None
        if weight is None:
            return None
        count, height, width, _ = weight.shape
        text = f"The {count} filters of the first convolution, {height} x {width} pixels each."
        return self._draw("filters", lambda: plots.filters(weight), text)

    @property
    def _confusion(self) -> np.ndarray | None:
        if self.run.results and self.run.results.confusion is not None:
            return self.run.results.confusion
        return self.findings.evaluation.confusion if self.findings else None

    def _names(self, classes: int) -> Sequence[str]:
        if self.run.class_names:
            return self.run.class_names
        if self.findings and self.findings.class_names:
            return self.findings.class_names
        return [str(number) for number in range(classes)]

    def _draw(self, what: str, make: Any, text: str) -> Picture:
        return draw(make, text, f"{self.title} {what}")

    def _curves_text(self) -> str:
        first, last = self.run.history[0], self.run.history[-1]
        text = f"From iteration {first.iteration:,} to {last.iteration:,} the training loss goes from "
        text += f"{first.loss:.3g} to {last.loss:.3g}"
        if last.validation_score is not None:
            metric = self.run.history.metric
            score = f"{last.validation_score:.2%}" if metric == "accuracy" else f"{last.validation_score:.4g}"
            text += f"; the validation {metric} ends at {score}"
        return f"{text}."
