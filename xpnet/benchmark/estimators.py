"""How long the estimators take to learn, and how well, beside scikit-learn's own with the same settings.

``python -m xpnet.benchmark.estimators`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.benchmark.environment import describe
from xpnet.runtime import cores


@dataclass(frozen=True)
class Task:
    """Data to learn, by which kind of estimator, and for how many epochs."""

    name: str
    kind: str  # "Classifier" or "Regressor"
    epochs: int
    data: Callable[[], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Measurement:
    """Seconds of a fit, medians, and scores on held-out examples: scikit-learn's and xpnet's."""

    task: str
    dtype: str
    epochs: int
    sklearn_seconds: float
    xpnet_seconds: float
    sklearn_score: float
    xpnet_score: float

    @property
    def ratio(self) -> float:
        """The time of xpnet by scikit-learn's."""
        return self.xpnet_seconds / self.sklearn_seconds


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data: Any = load_digits()
    return data.data / 16, data.target


def _like_covertype() -> tuple[np.ndarray, np.ndarray]:
    """As many examples, features and classes as Covertype has."""
    from sklearn.datasets import make_classification

    data: Any = make_classification(581_012, 54, n_informative=20, n_classes=7, random_state=0)
    return data


def _like_california_housing() -> tuple[np.ndarray, np.ndarray]:
    """As many examples and features as California housing has."""
    from sklearn.datasets import make_friedman1

    X, y = make_friedman1(20_640, 8, noise=1.0, random_state=0)
    return X, (y - y.mean()) / y.std()


TASKS = (
    Task("digits", "Classifier", 60, _digits),
    Task("like Covertype", "Classifier", 3, _like_covertype),
    Task("like California housing", "Regressor", 30, _like_california_housing),
)


def measure(task: Task, dtype: str, repeats: int) -> Measurement:
    """Fit both in turn, each time in a process of its own: xpnet sets up the allocator of its process."""
    found: dict[str, list[tuple[float, float]]] = {"sklearn": [], "xpnet": []}
    for _ in range(repeats):
        for library, results in found.items():
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                results.append(pool.submit(_fit, library, task, dtype).result())
    seconds = {library: statistics.median(time for time, _ in results) for library, results in found.items()}
    scores = {library: results[0][1] for library, results in found.items()}
    return Measurement(
        task.name, dtype, task.epochs, seconds["sklearn"], seconds["xpnet"], scores["sklearn"], scores["xpnet"]
    )


def table(measurements: Iterator[Measurement] | list[Measurement]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| data | dtype | epochs | scikit-learn, s | xpnet, s | ratio | score: scikit-learn, xpnet |"
    yield "|---|---|--:|--:|--:|--:|--:|"
    for one in measurements:
        yield (
            f"| {one.task} | {one.dtype} | {one.epochs} | {one.sklearn_seconds:.2f} | {one.xpnet_seconds:.2f} | "
            f"**{one.ratio:.2f}** | {one.sklearn_score:.4f}, {one.xpnet_score:.4f} |"
        )


def _fit(library: str, task: Task, dtype: str) -> tuple[float, float]:
    """Seconds of a fit, and the score on a quarter of the data, held out."""
    neural_network = import_module("sklearn.neural_network")
    from sklearn.model_selection import train_test_split

    from xpnet import sklearn as estimators

    X, y = task.data()
    X, X_test, y, y_test = train_test_split(X.astype(dtype), y, random_state=0)
    module, prefix = (neural_network, "MLP") if library == "sklearn" else (estimators, "Network")
    settings: dict[str, Any] = {"max_iter": task.epochs, "n_iter_no_change": np.inf, "random_state": 0}
    model = getattr(module, prefix + task.kind)(**settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that training has not converged
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
    return seconds, float(model.score(X_test, y_test))


def main(argv: list[str] | None = None) -> None:
    """Measure, print the table, and write JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m xpnet.benchmark.estimators", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="fits of each, of which the median counts (default: 5)")
    parser.add_argument("--json", type=Path, help="a file for the results and the machine")
    arguments = parser.parse_args(argv)
    environment = describe("cpu", cores())
    found = []
    for task in TASKS:
        found += [measure(task, dtype, arguments.repeats) for dtype in ("float64", "float32")]
    print("\n".join(table(found)))
    if arguments.json:
        results = {"environment": environment, "estimators": [asdict(one) for one in found]}
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
