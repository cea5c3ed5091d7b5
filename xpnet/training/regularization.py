"""Dropout and L2 regularisation side by side: the same network trained with more and more of either."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from xpnet.datasets import Dataset
from xpnet.training.config import TrainConfig
from xpnet.training.evaluation import Evaluator
from xpnet.training.trainer import Trainer, split_data


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
    config: TrainConfig,
    dataset: Dataset,
    weight_decays: Sequence[float],
    dropouts: Sequence[float],
    seeds: Sequence[int],
) -> Iterator[Regularized]:
    """Train with neither, then with each weight decay and with each probability of dropping; every seed in turn."""
    cases = [("none", 0.0), *(("L2", decay) for decay in weight_decays), *(("dropout", p) for p in dropouts)]
    for kind, strength in cases:
        options = {**config.model_options, "dropout": strength if kind == "dropout" else 0.0}
        decay = strength if kind == "L2" else 0.0
        case = dataclasses.replace(config, weight_decay=decay, model_options=options)
        runs = [_run(dataclasses.replace(case, seed=seed), dataset) for seed in seeds]
        epochs, validation, train, test = zip(*runs, strict=True)
        yield Regularized(kind, strength, epochs[0], np.asarray(validation), np.asarray(train), np.asarray(test))


def _run(config: TrainConfig, dataset: Dataset) -> tuple[list[float], list[float], float, float]:
    """Epochs and validation accuracies of the reports, and the final accuracy on training and test images."""
    trainer = Trainer(config, dataset)
    records = list(trainer.run())
    network, (images, labels, *_) = trainer.network, split_data(config, dataset)
    train = Evaluator(network)(network.theta, network.state, images, labels).accuracy
    return (
        [record.iteration / trainer.sampler.batches_per_epoch for record in records],
        [record.validation_accuracy for record in records],
        train,
        trainer.test().accuracy,
    )
