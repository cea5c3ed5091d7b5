"""The page that compares published results with ours, and the file behind it."""

from __future__ import annotations

import io
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from xpnet.errors import InputError
from xpnet.experiments import EXPERIMENTS, Experiment
from xpnet.files import atomic_write, writing
from xpnet.runs.folder import reading

RESULTS, PAGE, IMAGES = "results.json", "results.md", "images"
BEGIN, END = "<!-- measured: begin (scripts/experiments.py writes what is between) -->", "<!-- measured: end -->"

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]  # by experiment and seed


def comparison(experiment: Experiment, measured: Mapping[str, Any]) -> list[str]:
    """What was published and what one run came to, a line for each metric."""
    return [
        f"{metric.name}: published {metric.published or 'nowhere'}, here "
        f"{_with_unit(measured['metrics'][metric.name], metric.is_share)}"
        for metric in experiment.metrics
    ]


def keep_picture(plot: Path, picture: Path) -> None:
    """Copy a plot in 64 colours, more than the eye finds in it, at a third of the size."""
    content = io.BytesIO()
    with Image.open(plot) as image:
        image.convert("RGB").quantize(64).save(content, "png", optimize=True)
    with writing(picture):
        picture.parent.mkdir(exist_ok=True)
    atomic_write(picture, content.getvalue())


def read_results(docs: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The runs kept so far. Raises InputError if the file is damaged or no page can be made of it."""
    path = docs / RESULTS
    if not path.exists():
        return {}
    with reading(path, "the results of experiments", "Put back an earlier copy."):
        results = json.loads(path.read_text(encoding="utf-8"))
        render(BEGIN + END, results)  # which needs all of it
        return results


def write_results(docs: Path, results: Results) -> None:
    """Keep the runs, and rewrite the page. Raises InputError if that fails; what was kept before stays whole."""
    page = render(read_page(docs), results)
    atomic_write((docs / RESULTS).resolve(), (json.dumps(results, indent=1) + "\n").encode())
    atomic_write((docs / PAGE).resolve(), page.encode())


def read_page(docs: Path) -> str:
    """The page as it is. Raises InputError if there is no place for the results in it."""
    path = docs / PAGE
    page = path.read_text(encoding="utf-8") if path.is_file() else ""
    if not 0 <= page.find(BEGIN) < page.find(END):
        raise InputError(f"{path}: expected a page with the lines {BEGIN!r} and {END!r}, got none. Use another folder.")
    return page


def render(page: str, results: Results) -> str:
    """The page with the table of these results between its two marks; the rest stays as people wrote it."""
    before, after = page[: page.index(BEGIN)], page[page.index(END) :]
    header = ("experiment", "published", "ours", "seeds", "time (on the CPU)", "command", "version")
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for name, experiment in EXPERIMENTS.items():
        if name in results:
            lines += _rows(name, experiment, results[name])
    machines = dict.fromkeys(run["machine"] for runs in results.values() for run in runs.values())
    return "\n".join([f"{before}{BEGIN}", "", *lines, "", *(f"Measured on {text}." for text in machines), "", after])


def _rows(name: str, experiment: Experiment, runs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    data_dir = " --data-dir DIR" if experiment.needs_data_dir else ""
    seconds, cpu_seconds = (
        statistics.median(run[column] for run in runs.values()) for column in ("seconds", "cpu_seconds")
    )
    versions = dict.fromkeys(run.get("version", "not recorded") for run in runs.values())
    once = (
        ", ".join(sorted(runs, key=int)),
        f"{seconds:.0f} s ({cpu_seconds:.0f} s)",
        f"`scripts/{experiment.command}{data_dir} --seed N`",
        ", ".join(versions),
    )
    rows = []
    for metric in experiment.metrics:
        what = metric.name if rows else f"**{name}** on {experiment.data}: {metric.name}"
        values = [run["metrics"][metric.name] for run in runs.values()]
        cells = (
            what,
            metric.published or "-",
            _spread(values, metric.is_share),
            *(("",) * len(once) if rows else once),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _spread(values: list[float], is_share: bool) -> str:
    """The median, and the smallest and largest in brackets if there are several."""
    lowest, highest = _text(min(values), is_share), _text(max(values), is_share)
    shown = f"**{_with_unit(statistics.median(values), is_share)}**"
    return f"{shown} ({lowest} to {highest})" if len(values) > 1 else shown


def _with_unit(value: float, is_share: bool) -> str:
    return f"{_text(value, is_share)} %" if is_share and math.isfinite(value) else _text(value, is_share)


def _text(value: float, is_share: bool) -> str:
    if math.isinf(value):
        return "never"
    return f"{100 * value:.2f}" if is_share else f"{value:g}"
