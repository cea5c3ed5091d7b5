"""Dropout and L2 regularisation side by side: the same network trained with more and more of either."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from xpnet.datasets import Dataset
from xpnet.runs.config import RunConfig
from xpnet.runs.settings import change
from xpnet.training.evaluation import Evaluator


class Regularized(NamedTuple):
    """Accuracies with one strength of regularisation, each an array with a row for each seed.

    ``validation`` has a column for each report, after so many ``epochs``; ``train`` and ``test`` are of the final
    weights, without dropout.
    """

    kind: str  # "none", "L2" or "dropout"
    strength: float
    epochs: Sequence[float]
    validation: np.ndarray
    train: np.ndarray
    test: np.ndarray


def dropout_against_l2(
    run: RunConfig,
    dataset: Dataset,
    weight_decays: Sequence[float],
    dropouts: Sequence[float],
    seeds: Sequence[int],
) -> Iterator[Regularized]:
    """Train with neither, then with each weight decay and with each probability of dropping; every seed in turn."""
    cases = [("none", 0.0), *(("L2", decay) for decay in weight_decays), *(("dropout", p) for p in dropouts)]
    for kind, strength in cases:
        case = change(
            run,
            weight_decay=strength if kind == "L2" else 0.0,
            dropout=strength if kind == "dropout" else 0.0,
        )
        runs = [_run(case, seed, dataset) for seed in seeds]
        epochs, validation, train, test = zip(*runs, strict=True)
        yield Regularized(kind, strength, epochs[0], np.asarray(validation), np.asarray(train), np.asarray(test))


def _run(run: RunConfig, seed: int, dataset: Dataset) -> tuple[list[float], list[float | None], float, float]:
    """Epochs and validation accuracies of the reports, and the final accuracy on training and test images."""
    trainer = dataclasses.replace(run, train=dataclasses.replace(run.train, seed=seed)).make_trainer(dataset)
    records, network = trainer.run(), trainer.network
    train = Evaluator(network)(network.theta, network.state, *trainer.data.train[:2])
    return (
        [record.iteration / trainer.data.batches_per_epoch for record in records],
        [record.validation_score for record in records],
        train.score,
        network.evaluate(dataset).score,
    )
