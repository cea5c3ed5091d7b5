"""What a record says: the metrics of its steps, read back from the device at once, and evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet import kernels
from xpnet.backend import Array, array_namespace, to_numpy
from xpnet.network import Network
from xpnet.parallel import ALONE, Group
from xpnet.training.config import TrainConfig
from xpnet.training.data import TrainingData
from xpnet.training.divergence import check_finite
from xpnet.training.evaluation import Evaluator
from xpnet.training.history import Record
from xpnet.training.snapshot import Progress


def read_metrics(
    progress: Progress, pending: Any, config: TrainConfig, group: Group = ALONE, others: Sequence[Array] = ()
) -> tuple[Progress, list[float]]:
    """The progress with the moving averages of the loss and the score after all steps that are pending.

    ``pending`` is (metrics, (metrics, ... None)), the newest first; each rank has its addends. The values of
    ``others``, arrays of one element, come from the device in the same copy. Raises TrainingDivergedError for the
    first loss that is not finite.
    """
    steps = []
    while pending is not None:
        newest, pending = pending
        steps.append(newest)
    steps.reverse()
    own = [step.loss for step in steps] + [step.score for step in steps]
    shared = [group.all_reduce(_vector(own))] if own else []
    values = to_numpy(_vector([*shared, *others])).tolist()
    count, loss, score = len(steps), progress.loss, progress.score
    for number in range(count):
        check_finite(config, "loss", values[number], progress.iteration - count + 1 + number)
        loss, score = loss.add(values[number]), score.add(values[count + number])
    return progress._replace(loss=loss, score=score), values[2 * count :]


def _vector(arrays: Sequence[Array]) -> Array:
    return kernels.join_vectors([array_namespace(array).reshape(array, (-1,)) for array in arrays])


def measure(
    network: Network,
    data: TrainingData,
    config: TrainConfig,
    evaluate: Evaluator,
    progress: Progress,
    *,
    sum_of_squares: float,
    learning_rate: float,
) -> Record:
    """The record of the network's values: what the progress says, and what has to be evaluated for it.

    ``sum_of_squares`` is that of the values that decay.

    Raises TrainingDivergedError if the parameters or a loss are not finite.
    """
    theta, state, loss = network.theta, network.state, progress.loss.value
    with np.errstate(over="ignore", invalid="ignore"):
        decay = config.optimizer.weight_decay / 2 * sum_of_squares
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
    return config.optimizer.weight_decay / 2 * float(decaying_squares(network, decay_mask))


def decaying_squares(network: Network, decay_mask: Array | float) -> Array:
    """‖θ‖² over the values that decay, as an array without axes."""
    with np.errstate(over="ignore", invalid="ignore"):
        return network.backend.xp.sum(decay_mask * network.theta * network.theta)
