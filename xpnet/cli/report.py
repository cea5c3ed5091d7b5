"""How layers and results look on a terminal and in a log."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xpnet import metrics
from xpnet.network import Network, shape_text
from xpnet.training import Evaluation, Record

_MOST_CLASSES = 20  # a larger confusion matrix is no longer legible as text


def print_layers(console: Console, network: Network) -> None:
    """Print every layer's name, output shape and number of parameters."""
    table = _table("Layers", "layer", "kind", "output shape", "parameters", left=3)
    for row in network.rows():
        table.add_row(row.name, row.kind, shape_text(row.output_shape), f"{row.parameters:,}")
    table.add_section()
    table.add_row("total", "", "", f"{network.parameter_count:,}")
    console.print(table)


def record_text(record: Record) -> str:
    """The figures of one record on a line."""
    return (
        f"loss {record.classification_loss:.4f} + {record.weight_decay_loss:.4f}  "
        f"training {record.train_accuracy:.2%}  validation {record.validation_accuracy:.2%}"
    )


def print_evaluation(console: Console, evaluation: Evaluation, class_names: Sequence[str]) -> None:
    """Print accuracy, loss, the confusion matrix, and precision and recall of every class."""
    class_names = [escape(name) for name in class_names]  # rich would take a name in brackets for a style
    precision, recall = metrics.precision(evaluation.confusion), metrics.recall(evaluation.confusion)
    if len(class_names) <= _MOST_CLASSES:
        _print_confusion(console, evaluation.confusion, class_names)
    table = _table("Classes", "class", "precision", "recall", "images", left=1)
    for index, name in enumerate(class_names):
        images = evaluation.confusion[index].sum()
        table.add_row(name, _percent(precision[index]), _percent(recall[index]), f"{images:,}")
    console.print(table)
    images = evaluation.confusion.sum()
    console.print(
        f"Test accuracy {evaluation.accuracy:.2%} ({np.trace(evaluation.confusion):,} of {images:,} images), "
        f"loss {evaluation.loss:.4f}"
    )


def _print_confusion(console: Console, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    table = _table("Confusion matrix: rows are the true classes, columns the predicted ones", "", *class_names, left=1)
    for index, name in enumerate(class_names):
        counts = [f"[bold]{n}[/]" if index == column else str(n) for column, n in enumerate(confusion[index])]
        table.add_row(name, *counts)
    console.print(table)


def _table(title: str, *headers: str, left: int) -> Table:
    """A table whose first columns are aligned left and the others right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column, header in enumerate(headers):
        table.add_column(header, justify="left" if column < left else "right", no_wrap=True)
    return table


def _percent(figure: float) -> str:
    return "-" if math.isnan(figure) else f"{figure:.2%}"
