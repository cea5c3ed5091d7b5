"""Every figure of summary.json against where it comes from."""

import csv
import json
import time

import numpy as np
import pytest

from xpnet.cli.train import main
from xpnet.training import Evaluator

PAUSE = 0.1


@pytest.fixture(scope="module")
def run(digits_folder, tmp_path_factory):
    """The summary and the history, as floats, of a run whose validations are slow, and their number."""
    folder, evaluate, calls = tmp_path_factory.mktemp("summary") / "run", Evaluator.__call__, []

    def evaluate_slowly(*arguments):
        calls.append(time.sleep(PAUSE))
        return evaluate(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluator, "__call__", evaluate_slowly)
        flags = [
            "--batch-size",
            "8",
            "--seed",
            "3",
            "--iterations",
            "120",
            "--no-plots",
            "--quiet",
            "--no-malloc-tuning",
        ]
        assert main(["--data-dir", str(digits_folder), "--out", str(folder), *flags]) == 0
    with (folder / "history.csv").open(newline="") as file:
        history = [{name: float(figure) for name, figure in row.items()} for row in csv.DictReader(file)]
    assert len(calls) == len(history) + 1  # each validation and the test
    return json.loads((folder / "summary.json").read_text()), history


@pytest.mark.parametrize("figure", ["train_accuracy", "validation_accuracy", "weight_decay_loss", "loss", "seconds"])
def test_figures_are_those_of_the_last_line_of_the_history(run, figure):
    summary, history = run
    assert summary[figure] == history[-1][figure]
    assert summary[figure] != history[0][figure]  # else any line would do
    assert [name for name, value in history[-1].items() if value == summary[figure]] == [figure]  # or any column


def test_settings_are_those_of_the_flags(run):
    summary, _ = run
    assert (summary["batch_size"], summary["seed"], summary["iterations"]) == (8, 3, 120)


def test_test_figures_follow_from_the_confusion_matrix(run):
    summary, _ = run
    confusion = np.asarray(summary["confusion_matrix"])
    assert confusion.sum() == 100
    assert not np.array_equal(confusion.sum(axis=0), confusion.sum(axis=1))
    assert summary["test_accuracy"] == np.trace(confusion) / 100
    for name, axis in (("precision", 0), ("recall", 1)):
        hits, wholes = np.diagonal(confusion), confusion.sum(axis=axis)
        expected = [hit / whole if whole else None for hit, whole in zip(hits, wholes, strict=True)]
        assert summary[name] == expected


def test_rows_of_the_confusion_matrix_are_the_true_classes(run, digits_folder):
    summary, _ = run
    labels = np.frombuffer((digits_folder / "t10k-labels-idx1-ubyte").read_bytes()[8:], np.uint8)
    assert np.sum(summary["confusion_matrix"], axis=1).tolist() == np.bincount(labels, minlength=10).tolist()


def test_speed_counts_all_images_and_no_validation(run):
    summary, history = run
    images = 8 * 120
    assert summary["images_per_second"] > 0
    assert images / summary["seconds"] <= summary["images_per_second"]
    training_seconds = images / summary["images_per_second"]
    # The clock of a line of the history is read before its own validation.
    assert training_seconds + PAUSE * (len(history) - 1) <= summary["seconds"]
