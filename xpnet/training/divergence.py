"""Numbers that are not finite: where a training says so, and what to try."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xpnet.backend import Array
from xpnet.errors import TrainingDivergedError
from xpnet.network import Network
from xpnet.random import fold_in, for_rows
from xpnet.training.config import TrainConfig
from xpnet.training.feed import Batch
from xpnet.training.mixed_precision import LEAST_SCALE, SCALE, MixedPrecision
from xpnet.training.mixing import Mix, with_mixed_targets
from xpnet.training.nonfinite import all_finite, first_nonfinite
from xpnet.training.rows import Rows, parts_of
from xpnet.training.step import TrainState, prepared


def check_finite(config: TrainConfig, what: str, value: float, iteration: int) -> None:
    """Raise TrainingDivergedError if a loss is infinite or NaN."""
    if not math.isfinite(value):
        rate = config.optimizer.learning_rate
        causes = f"a learning rate ({rate}) or initial weights too large, or inputs that are not scaled"
        raise TrainingDivergedError(
            f"Training: the {what} became {value} in iteration {iteration}. "
            f"Likely causes: {_decay_too_large(config) or causes}. Try {_change(config)}."
        )


def _decay_too_large(config: TrainConfig) -> str:
    """Says so where, with a usual learning rate η, θ - ηλθ carries each weight across 0."""
    rate, decay = config.optimizer.learning_rate, config.optimizer.weight_decay
    is_too_large = rate <= 1 < rate * decay
    return f"a weight decay ({decay:g}) that is too large for the learning rate ({rate:g})" if is_too_large else ""


def _change(config: TrainConfig) -> str:
    if _decay_too_large(config):
        return "weight_decay=0.0001"
    return f"learning_rate={config.optimizer.learning_rate / 10:g}"


def check_scale(scale: Sequence[float], iteration: int) -> None:
    """Raise TrainingDivergedError if gradients overflow whatever the loss scale, so that every step is left out.

    Nothing is scaled, and none is given, unless the passes are in float16.
    """
    if scale and scale[0] < LEAST_SCALE:
        raise TrainingDivergedError(
            f"Training: by iteration {iteration} the loss scale fell to {scale[0]:.1g}, since gradients do not fit "
            "into float16. Try precision=float32."
        )


def check_step(
    network: Network,
    config: TrainConfig,
    mixed: MixedPrecision | None,
    states: tuple[TrainState, TrainState],
    batch: Any,
    loss: Array,
    key: Array,
    iteration: int,
    rows: Sequence[Rows] = (),
    mix: Mix | None = None,
) -> None:
    """Raise TrainingDivergedError with the first layer that went wrong if a step, from one state to another, did."""
    before, after = states
    if all_finite(loss) and all_finite(after.theta):
        return
    key, found = fold_in(key, iteration), None
    for part, own in parts_of(batch, rows):
        found = found or _first_of_part(network, config, mixed, before, part, key, own, mix)
    raise TrainingDivergedError(
        f"Training: in iteration {iteration + 1}, "
        f"{found or 'the optimizer: the parameters after its step are not finite, but all gradients are'}. "
        f"Try {_change(config)}."
    )


def _first_of_part(
    network: Network,
    config: TrainConfig,
    mixed: MixedPrecision | None,
    before: TrainState,
    batch: Batch,
    key: Array,
    rows: Rows | None,
    mix: Mix | None,
) -> str | None:
    """The first layer that goes wrong in one part of a step; see ``nonfinite``."""
    theta = before.theta
    if rows:
        key = for_rows(key, rows.first, rows.of)
    x = prepared(network, config.augmentation, batch.x, key)
    if config.mixing and mix is not None:
        x, network = config.mixing.blend(x, mix), with_mixed_targets(network, mix)
    if mixed:
        network = mixed.narrowed(before.optimizer.get(SCALE, 1.0), network.loss)
        theta, x = mixed.cast(theta), mixed.cast(x)
    return first_nonfinite(network, theta, before.state, x, batch.y, key, batch.weights)
