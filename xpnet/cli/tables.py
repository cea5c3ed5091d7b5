"""How layers and results look on a terminal and in a log."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from xpnet.network import Network
from xpnet.summary import shape_text
from xpnet.training import Evaluation

if TYPE_CHECKING:  # what only some programs print, and all would wait for
    from xpnet.benchmark.cases import Case
    from xpnet.benchmark.controller import Row
    from xpnet.benchmark.profile import Cost, Profile
    from xpnet.runs.regularization import Regularized
    from xpnet.search import Trial

_LONGEST_HEADER = 5  # letters; columns of longer class names are numbered
_TOP = 5
_MOST_CLASSES = 20  # a larger confusion matrix is not legible as text


def print_layers(console: Console, network: Network) -> None:
    """Print every layer's name, output shape and number of parameters."""
    table = _table("Layers", "layer", "kind", "output shape", "parameters", left=3)
    for row in network.layer_info():
        table.add_row(row.name, row.kind, shape_text(row.output_shape), f"{row.parameters:,}")
    table.add_section()
    table.add_row("total", "", "", f"{network.parameter_count:,}")
    _print(console, table)


def print_shapes(console: Console, network: Network) -> None:
    """Print the name and output shape of every layer, and of every block of layers after what it holds."""
    table = _table("Layers and blocks", "name", "output shape", left=2)
    for name, shape in network.layer_shapes().items():
        table.add_row(name, shape_text(shape))
    _print(console, table)


def print_probabilities(console: Console, probabilities: np.ndarray, class_names: Sequence[str]) -> None:
    """Print the most probable classes of an image, at most five."""
    table = _table("Most probable classes", "class", "probability", left=1)
    for index in map(int, np.argsort(-probabilities, kind="stable")[:_TOP]):
        table.add_row(class_names[index], _percent(float(probabilities[index])))
    _print(console, table)


def print_trials(console: Console, trials: Sequence[Trial]) -> None:
    """Print the trials of a search, the best validation accuracy first, and those without one at last."""
    names = list(dict.fromkeys(name for tried in trials for name in tried.parameters))
    headers = [name.replace("_", " ") for name in names]
    table = _table("Trials", "trial", *headers, "validation", "state", "seconds", left=0)
    for tried in sorted(trials, key=lambda tried: -1.0 if tried.accuracy is None else tried.accuracy, reverse=True):
        accuracy = "-" if tried.accuracy is None else f"{tried.accuracy:.2%}"
        parameters = [str(tried.parameters.get(name, "-")) for name in names]
        table.add_row(str(tried.number), *parameters, accuracy, tried.state, f"{tried.seconds:.1f}")
    _print(console, table)


def print_regularization(console: Console, results: Mapping[str, Regularized]) -> None:
    """Print accuracies with each regularisation: the median of the seeds, and the range on the test images."""
    table = _table("Final accuracy, median of the seeds", "", "training", "validation", "test", "test range", left=1)
    for name, result in results.items():
        medians = [_percent(float(np.median(a))) for a in (result.train, result.validation[:, -1], result.test)]
        table.add_row(name, *medians, f"{_percent(result.test.min())} to {_percent(result.test.max())}")
    _print(console, table)


def print_evaluation(
    console: Console, evaluation: Evaluation, class_names: Sequence[str], *, of_pixels: bool = False
) -> None:
    """Print accuracy, loss, the confusion matrix, precision and recall of every class; of pixels also their IoU."""
    unit = "pixels" if of_pixels else "images"
    if len(class_names) <= _MOST_CLASSES:
        _print_confusion(console, evaluation.confusion, class_names)
    columns = {"precision": evaluation.precision, "recall": evaluation.recall}
    if of_pixels:
        columns["IoU"] = evaluation.iou
    table = _table("Classes", "class", *columns, unit, left=1)
    for index, name in enumerate(class_names):
        count = evaluation.confusion[index].sum()
        table.add_row(name, *(_percent(values[index]) for values in columns.values()), f"{count:,}")
    _print(console, table)
    total = evaluation.confusion.sum()
    mean_iou = f", mean IoU {np.nanmean(evaluation.iou):.2%}" if of_pixels else ""
    console.print(
        f"Test accuracy {evaluation.accuracy:.2%} ({np.trace(evaluation.confusion):,} of {total:,} {unit}){mean_iou}, "
        f"loss {evaluation.loss:.4f}"
    )


def print_comparison(
    console: Console, what: str, published: Mapping[str, float], measured: Mapping[str, float]
) -> None:
    """Print test accuracies by name, beside the published ones where there are any."""
    table = _table("Test accuracy", what, "published", "ours", left=1)
    for name, accuracy in measured.items():
        table.add_row(name, _percent(published.get(name, math.nan)), _percent(accuracy))
    _print(console, table)


def print_environment(console: Console, environment: Mapping[str, Any]) -> None:
    """Print what a measurement depends on, a line each."""
    for name, value in environment.items():
        if name == "blas":
            value = [f"{blas['library']} {blas['version']}, kernel {blas['kernel']}" for blas in value]
        elif isinstance(value, Mapping):
            value = [f"{part} {one}" for part, one in value.items()]
        text = ", ".join(value) if isinstance(value, list) else "not set" if value is None else value
        console.print(f"{name.replace('_', ' '):<18} {text}")


def print_rows(console: Console, rows: Sequence[Row], peers: Sequence[str]) -> None:
    """Print what was measured of one case, with each time's ratio to that of every peer that was measured too."""
    medians = {(row.mode, row.implementation): row.median_ms for row in rows}
    peers = [peer for peer in peers if any(peer == row.implementation for row in rows)]
    table = _table(
        f"{rows[0].model}, batches of {rows[0].batch_size}",
        *("mode", "implementation", "median ms", "10 %", "90 %", "images/s", "memory MB"),
        *(f"/ {peer}" for peer in peers),
        left=2,
    )
    for _, group in itertools.groupby(rows, key=lambda row: row.mode):
        for row in group:
            ratios = [medians.get((row.mode, peer)) for peer in peers]
            table.add_row(
                row.mode,
                row.implementation,
                *(f"{figure:.3f}" for figure in (row.median_ms, row.p10_ms, row.p90_ms)),
                f"{row.images_per_second:,.0f}",
                "-" if row.peak_memory_mb is None else f"{row.peak_memory_mb:.1f}",
                *("-" if ratio is None else f"{row.median_ms / ratio:.2f}" for ratio in ratios),
            )
        table.add_section()
    _print(console, table)


def print_profile(console: Console, case: Case, implementation: str, profile: Profile) -> None:
    """Print what each layer costs in a training step, forward and backward, and how fast its products are."""
    total = profile.total
    title = f"{case.model}, batches of {case.batch_size}: a training step of {implementation} by layer"
    table = _table(title, "layer", "kind", "forward ms", "backward ms", "share", "GFLOP/s", left=2)

    def add(cost: Cost) -> None:
        times = (f"{cost.forward_ms:.3f}", f"{cost.backward_ms:.3f}", _percent(cost.ms / total.ms))
        table.add_row(cost.name, cost.kind, *times, f"{1e3 * cost.gflop / cost.ms:.0f}" if cost.gflop else "")

    for cost in profile.costs:
        add(cost)
    table.add_section()
    add(total)
    _print(console, table)
    console.print(
        f"A product of large matrices reaches {profile.product_rate:,.0f} GFLOP/s here and a copy "
        f"{profile.copy_rate:,.0f} GB/s; at these rates the products of a step would take {profile.products_ms:.3f} ms "
        f"and reading and writing {profile.traffic_ms:.3f} ms. It takes {total.ms / profile.floor_ms:.1f} times the "
        "larger.",
        soft_wrap=True,
    )


def _print_confusion(console: Console, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    numbers = [str(index) for index in range(len(class_names))]
    long = max(map(len, class_names)) > _LONGEST_HEADER
    rows = [f"{number} {name}" for number, name in zip(numbers, class_names, strict=True)] if long else class_names
    headers = numbers if long else class_names
    table = _table("Confusion matrix: rows are the true classes, columns the predicted ones", "", *headers, left=1)
    for index, name in enumerate(rows):
        counts = [Text(str(n), "bold" if index == column else "") for column, n in enumerate(confusion[index])]
        table.add_row(name, *counts)
    _print(console, table)


def _table(title: str, *headers: str, left: int) -> Table:
    """A table whose first columns are aligned left and the others right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for column, header in enumerate(headers):
        table.add_column(header, justify="left" if column < left else "right", no_wrap=True)
    return table


def _print(console: Console, table: Table) -> None:
    """Print a table as wide as it is: on a narrow terminal rich would cut off columns, and digits with them."""
    width = console.width
    console.width = max(width, Measurement.get(console, console.options.update(max_width=1000), table).maximum)
    console.print(table)
    console.width = width


def _percent(figure: float) -> str:
    return "-" if math.isnan(figure) else f"{figure:.2%}"
