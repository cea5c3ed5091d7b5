"""What a record says: the metrics of its steps, read back from the device at once, and evaluations."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, to_numpy
from xpnet.network import Network
from xpnet.parallel import ALONE, Group
from xpnet.training.config import TrainConfig
from xpnet.training.data import TrainingData
from xpnet.training.divergence import check_finite
from xpnet.training.evaluation import Evaluator
from xpnet.training.history import Record
from xpnet.training.snapshot import Progress


def read_metrics(
    progress: Progress, pending: Any, network: Network, config: TrainConfig, group: Group = ALONE
) -> Progress:
    """The progress with the moving averages of the loss and the score after all steps that are pending.

    ``pending`` is (metrics, (metrics, ... None)), the newest first; each rank has its addends. Raises
    TrainingDivergedError for the first loss that is not finite.
    """
    metrics = []
    while pending is not None:
        newest, pending = pending
        metrics.append(newest)
    stack = network.backend.xp.stack
    columns = zip(*reversed(metrics), strict=True)
    losses, scores = (to_numpy(group.all_reduce(stack(column))).tolist() for column in columns)
    first, loss, score = progress.iteration - len(metrics) + 1, progress.loss, progress.score
    for number, (one_loss, one_score) in enumerate(zip(losses, scores, strict=True), start=first):
        check_finite(config, "loss", one_loss, number)
        loss, score = loss.add(one_loss), score.add(one_score)
    return progress._replace(loss=loss, score=score)


def measure(
    network: Network,
    data: TrainingData,
    config: TrainConfig,
    evaluate: Evaluator,
    progress: Progress,
    *,
    decay_mask: Array | float,
    learning_rate: float,
) -> Record:
    """The record of the network's values: what the progress says, and what has to be evaluated for it.

    Raises TrainingDivergedError if the parameters or a loss are not finite.
    """
    theta, state, loss = network.theta, network.state, progress.loss.value
    with np.errstate(over="ignore", invalid="ignore"):
        decay = weight_decay_loss(network, config, decay_mask)
        check_finite(config, "sum of the squared weights", decay, progress.iteration)
        train_score = progress.score.value
        if config.measure_training:
            train_score = evaluate(theta, state, *data.train[:2]).score
        validation = evaluate(theta, state, *data.validation[:2]) if data.validation else None
    return Record(
        iteration=progress.iteration,
        loss=loss,
        weight_decay_loss=decay,
        total_loss=loss + decay,
        train_score=train_score,
        validation_loss=validation.loss if validation else None,
        validation_score=validation.score if validation else None,
        seconds=progress.seconds,
        learning_rate=learning_rate,
    )


def weight_decay_loss(network: Network, config: TrainConfig, decay_mask: Array | float) -> float:
    """λ/2·‖θ‖² over the values that decay."""
    theta = network.theta
    return config.optimizer.weight_decay / 2 * float(network.backend.xp.sum(decay_mask * theta * theta))
