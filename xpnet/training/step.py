"""One training step as a pure function of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from xpnet.backend import Array
from xpnet.compile import compiled
from xpnet.datasets.augment import Augmentation, augment
from xpnet.layers.base import State
from xpnet.network import Network
from xpnet.optimizers import Factor, Optimizer, OptimizerState, clip_by_global_norm, optimizer_update
from xpnet.random import fold_in
from xpnet.training.mixed_precision import SCALE, MixedPrecision
from xpnet.training.scores import Score

_AUGMENTATION = -1  # folded into a step's key; layers fold in their positions, from 0


class TrainState(NamedTuple):
    """All arrays that training changes: parameters, the layers' state, the optimizer's state."""

    theta: Array
    state: State
    optimizer: OptimizerState


class StepMetrics(NamedTuple):
    """What is known about a batch after a step, as arrays without axes."""

    loss: Array
    score: Array


def make_step(
    network: Network,
    optimizer: Optimizer,
    score: Score,
    *,
    clip_norm: float | None = None,
    augmentation: Sequence[Augmentation] = (),
    mixed: MixedPrecision | None = None,
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """One training step as a pure function: (state, x, targets, ...) -> (state, metrics of the batch).

        x' = augmentation(x);  L, g = loss and gradient at θ;  g = clip(g);  θ, optimizer = update(θ, g)

    ``weights`` are those of the batch's examples. ``key`` is the run's, for augmentation and the layers that draw
    random numbers (None without any); that of the step is folded from it and ``iteration``. ``lr_scale`` and
    ``decay_mask`` are those of ``optimizers``; what is frozen does not decay either. As arguments they may change from
    step to step without a new compilation; a Python number costs no transfer to the device. With ``mixed`` forward and
    backward passes are in float16.
    """

    def step(
        state: TrainState,
        x: Array,
        targets: Array,
        weights: Array | None = None,
        key: Array | None = None,
        iteration: int | Array = 0,
        lr_scale: Factor = 1.0,
        decay_mask: Factor = 1.0,
    ) -> tuple[TrainState, StepMetrics]:
        key = None if key is None else fold_in(key, iteration)
        x = prepared(network, augmentation, x, key)
        if mixed:
            scale = state.optimizer[SCALE]
            result = mixed.loss_and_gradient(state.theta, state.state, scale, x, targets, weights, key)
        else:
            result = network.unchecked_loss_and_gradient(state.theta, state.state, x, targets, weights, key=key)
        gradient = result.gradient if clip_norm is None else clip_by_global_norm(result.gradient, clip_norm)
        theta, optimizer_state = optimizer_update(
            optimizer,
            state.theta,
            gradient,
            state.optimizer,
            lr_scale=lr_scale,
            decay_mask=decay_mask if isinstance(network.trainable, float) else decay_mask * network.trainable,
        )
        after = TrainState(theta, result.state, optimizer_state)
        if mixed:
            after = mixed.skip_on_overflow(state, after, result.gradient)
        return after, StepMetrics(result.loss, score(result.outputs, targets, theta.dtype))

    return compiled(step, network.backend)


def prepared(network: Network, augmentation: Sequence[Augmentation], x: Array, key: Array | None) -> Array:
    """A batch as a step sees it: augmented, in θ's dtype."""
    if augmentation:
        x = augment(augmentation, fold_in(key, _AUGMENTATION), x)
    return network.backend.xp.astype(x, network.theta.dtype, copy=False)
