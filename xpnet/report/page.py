"""The page: one HTML file that needs nothing else, whatever a run's folder holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from xpnet import plots
from xpnet.errors import printable
from xpnet.files import atomic_write
from xpnet.report.figures import Picture, draw
from xpnet.report.start import LayerWork, Start
from xpnet.report.view import RunView
from xpnet.runs.folder import REPORT, RunFolder
from xpnet.summary import shape_text

_LONGEST = 10_000  # characters of a text on the page


class Row(NamedTuple):
    """A line of a table with a column for each run."""

    name: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Whether it is not the same for all runs."""
        return len(set(self.values)) > 1


class LayerTable(NamedTuple):
    """The layers that runs have in common; ``start`` is None where a run's folder does not say how it began."""

    titles: list[str]
    layers: list[LayerWork]
    start: Start | None
    batch_size: int | None

    def total(self, field: str) -> int:
        """The sum of a column."""
        return sum(getattr(layer, field) for layer in self.layers)


def write(folder: RunFolder, views: Sequence[RunView]) -> None:
    """Write the report of runs to a run's folder. Raises InputError if that fails."""
    atomic_write(folder.path / REPORT, render(views).encode())


def render(views: Sequence[RunView], *, script: Markup | None = None) -> str:
    """The page about some runs; with a script in it that keeps it up to date."""
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=_title(views),
            style=Markup(_resource("style.css")),
            script=script,
            views=views,
            results=_results(views),
            settings=_table(views, lambda view: view.settings),
            versions=_table(views, lambda view: view.versions),
            timing=_timing(views),
            layer_tables=_layer_tables(views),
            comparison=_comparison(views),
        )
    )


def _title(views: Sequence[RunView]) -> str:
    if len(views) == 1:
        return views[0].title
    return f"{len(views)} runs" if views else "No run yet"


def script() -> Markup:
    """The script that keeps a page up to date."""
    return Markup(_resource("watch.js"))


@cache
def _resource(name: str) -> str:
    return files("xpnet.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("xpnet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "percent": _percent, "size": _size, "shape": shape_text}
    return environment


def _clean(value: Any) -> Any:
    """A text as a page can hold it: without what no file of UTF-8 can, or what would turn its lines around."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    return printable(text)


def _results(views: Sequence[RunView]) -> list[Row]:
    def of(view: RunView) -> dict[str, str]:
        run, last = view.run, view.last
        rows = {"state": run.state.value}
        if run.results:
            rows["test accuracy"] = _percent(run.results.test_accuracy)
            rows |= _known("test loss", run.results.test_loss, _number)
        if view.calibration and view.calibration.counts.any():
            rows["expected calibration error"] = _percent(view.calibration.error)
        if last:
            is_share = run.history.metric == "accuracy"
            score = _percent if is_share else _number
            rows["training loss"] = _number(last.loss)
            rows[f"training {run.history.metric}"] = score(last.train_score)
            rows |= _known(f"validation {run.history.metric}", last.validation_score, score)
            rows["iterations"] = _count(last.iteration)
        if view.layers:
            rows["parameters"] = _count(sum(layer.parameters for layer in view.layers))
        return rows

    return _table(views, of)


def _timing(views: Sequence[RunView]) -> list[Row]:
    def of(view: RunView) -> dict[str, str]:
        last, results = view.last, view.run.results
        rows = {}
        if last:
            rows["training, seconds"] = f"{last.seconds:,.1f}"
            rows["milliseconds for an iteration"] = _number(1e3 * last.seconds / max(last.iteration, 1))
        if results:
            rows |= _known("training images per second", results.images_per_second, lambda rate: f"{rate:,.0f}")
        if view.run.config:
            runtime = view.run.config.runtime
            rows |= _known("device", runtime.device, str) | _known("threads", runtime.threads, str)
        return rows

    return _table(views, of)


def _layer_tables(views: Sequence[RunView]) -> list[LayerTable]:
    tables: dict[Any, LayerTable] = {}
    for view in filter(lambda view: view.layers, views):
        batch = view.run.config.train.batch_size if view.run.config else None
        value_size = view.start.bytes_per_value if view.start else None
        key = (tuple(view.layers), batch, value_size)
        table = tables.setdefault(key, LayerTable([], view.layers, view.start, batch))
        table.titles.append(view.title)
    return list(tables.values())


def _comparison(views: Sequence[RunView]) -> Picture | None:
    histories = {view.title: view.run.history for view in views if len(view.run.history)}
    if len(views) < 2 or not histories:
        return None
    metrics = {history.metric for history in histories.values()}
    score = metrics.pop() if len(metrics) == 1 else "score"
    text = f"Training loss and validation {score} of {', '.join(histories)} by iteration."
    return draw(lambda: plots.run_comparison(histories), text, "comparison")


def _table(views: Sequence[RunView], of: Callable[[RunView], Mapping[str, Any]]) -> list[Row]:
    """What there is of any of the runs, a line each; a run that lacks it has a dash."""
    columns = [of(view) for view in views]
    names = dict.fromkeys(name for column in columns for name in column)
    return [Row(name, [_text(column.get(name)) for column in columns]) for name in names]


def _known(name: str, value: Any, text: Callable[[Any], str]) -> dict[str, str]:
    return {} if value is None else {name: text(value)}


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _count(value: int) -> str:
    return f"{value:,}"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{share:.2%}"


def _size(count: int) -> str:
    """Bytes as people read them."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"
