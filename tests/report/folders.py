"""Folders as runs leave them, made without training."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.report.run import State, read_run
from xpnet.report.start import LayerWork, Start
from xpnet.report.view import RunView
from xpnet.runs.folder import RunFolder
from xpnet.runs.settings import make_run
from xpnet.training import Evaluation

LAYERS = [LayerWork("conv1", "Conv2D", (28, 28, 16), 416, 313_600), LayerWork("dense1", "Dense", (10,), 7850, 7840)]


def line(iteration: int, **changes: Any) -> str:
    """A line of ``metrics.jsonl``."""
    values = {
        "iteration": iteration,
        "loss": 2 / iteration,
        "weight_decay_loss": 0.1,
        "total_loss": 0.1 + 2 / iteration,
        "train_accuracy": 1 - 0.5 / iteration,
        "validation_loss": 3 / iteration,
        "validation_accuracy": 1 - 0.6 / iteration,
        "seconds": iteration / 100,
        "learning_rate": 0.01,
        "time": 1.8e9 + iteration,
    }
    return json.dumps({**values, **changes})


def evaluation(classes: int = 3) -> Evaluation:
    """Of 60 examples, of which some are wrong."""
    rng = np.random.default_rng(0)
    probabilities, targets = rng.dirichlet(np.ones(classes), 60), rng.integers(0, classes, 60)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (targets, probabilities.argmax(axis=1)), 1)
    return Evaluation(0.5, confusion, probabilities, targets)


def make_folder(
    path: Path,
    *,
    lines: list[str] | None = None,
    names: tuple[str, ...] | None = ("ant", "bee", "cat"),
    layers: list[LayerWork] = LAYERS,
    versions: dict[str, str] | None = None,
    is_over: bool = True,
    **settings: Any,
) -> RunFolder:
    """The folder of a run of 40 iterations; of one that goes on, without ``is_over``."""
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    folder.write_config(make_run("mnist_starter", **settings), {})
    versions = versions or {"xpnet": "0.1.0", "python": "3.11.7"}
    folder.write_json("start.json", Start(layers, (28, 28, 1), 4, 360, 40, 20, versions).to_json())
    lines = [line(iteration) for iteration in range(10, 41, 10)] if lines is None else lines
    folder.metrics_path.write_text("".join(f"{one}\n" for one in lines))
    if is_over:
        summary = {"seconds": 0.4, "images_per_second": 1600.0, "weights_of_iteration": 40, "versions": versions}
        folder.write_json("summary.json", {**evaluation().to_dict(), "interrupted": False, **summary})
        if names:
            folder.class_names_path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return folder


def make_view(folder: RunFolder, title: str = "first", command: str = "xpnet train") -> RunView:
    """The part of a page about a folder's run."""
    return RunView(read_run(folder, State.FINISHED), command, title)
