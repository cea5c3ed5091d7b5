"""One training step as a pure function of arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from xpnet.backend import Array
from xpnet.compile import compiled
from xpnet.datasets.augment import Augmentation, augment
from xpnet.layers.base import State
from xpnet.network import Network
from xpnet.optimizers import Optimizer, clip_by_global_norm, optimizer_update
from xpnet.optimizers.base import Factor, OptimizerState
from xpnet.parallel import ALONE, Group
from xpnet.random import fold_in, for_rows
from xpnet.training.average import moved
from xpnet.training.feed import Batch
from xpnet.training.mixed_precision import SCALE, MixedPrecision
from xpnet.training.mixing import Mix, Mixing, mixed_score, with_mixed_targets
from xpnet.training.rows import Rows, parts_of, with_share
from xpnet.training.scores import Score

_AUGMENTATION = -1  # folded into a step's key; layers fold in their positions, from 0


class TrainState(NamedTuple):
    """All arrays that training changes: parameters, the layers' state, the optimizer's state.

    ``average`` has the moving averages of the first two, ``theta`` and ``state``; it is empty without ``ema``.
    """

    theta: Array
    state: State
    optimizer: OptimizerState
    average: Mapping[str, Any] = {}

    @property
    def published(self) -> tuple[Array, State]:
        """θ and the layers' state that the network is given: their averages, where there are any."""
        return (self.average["theta"], self.average["state"]) if self.average else (self.theta, self.state)


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
    mixing: Mixing | None = None,
    mixed: MixedPrecision | None = None,
    group: Group = ALONE,
    allreduce_dtype: str | None = None,
    accumulate: int = 1,
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """One training step as a pure function: (state, x, targets, ...) -> (state, metrics of the batch).

        x' = augmentation(x);  L, g = loss and gradient at θ;  g = clip(g);  θ, optimizer = update(θ, g)

    ``weights`` are those of the batch's examples. ``key`` is the run's, for augmentation and the layers that draw
    random numbers (None without any); that of the step is folded from it and ``iteration``. ``lr_scale`` and
    ``decay_mask`` are those of ``optimizers``; what is frozen does not decay either. As arguments they may change from
    step to step without a new compilation; a Python number costs no transfer to the device. With ``mixed`` forward and
    backward passes are in 16 bits. With ``mixing`` each step is given its numbers, ``mix``, and x' is blended with its
    partners, and so are the loss and the score. A state that holds an ``average`` moves it by ``average_share``.

    Where a ``group`` of processes shares a batch, each is given its ``rows``, and g is the sum of all processes'
    gradients of the whole batch's loss, sent in ``allreduce_dtype``. The metrics are this process's addends of the
    batch's. With ``accumulate`` the rows are those of so many parts, whose gradients are computed one after the other
    and added.
    """

    def gradient(
        state: TrainState,
        x: Array,
        targets: Array,
        weights: Array | None,
        key: Array | None,
        iteration: int | Array,
        rows: Rows | None,
        mix: Mix | None,
    ) -> tuple[Array, State, StepMetrics]:
        key = None if key is None else fold_in(key, iteration)
        if key is not None and rows:
            key = for_rows(key, rows.first, rows.of)
        x, own, own_score = prepared(network, augmentation, x, key), network, score
        if mixing and mix is not None:
            x, own, own_score = mixing.blend(x, mix), with_mixed_targets(network, mix), mixed_score(score, mix)
        if rows:
            own = with_share(own, rows.weight)
        if mixed:
            scale = state.optimizer.get(SCALE, 1.0)
            result = mixed.loss_and_gradient(state.theta, state.state, scale, x, targets, weights, key, own.loss)
        else:
            result = own.unchecked_loss_and_gradient(state.theta, state.state, x, targets, weights, key=key)
        metrics = StepMetrics(result.loss, own_score(result.outputs, targets, state.theta.dtype))
        if rows:
            metrics = metrics._replace(score=metrics.score * rows.examples)
        return result.gradient, result.state, metrics

    def update(
        state: TrainState,
        gradient: Array,
        layers: State,
        lr_scale: Factor,
        decay_mask: Factor,
        average_share: Factor,
    ) -> TrainState:
        theta, optimizer_state = optimizer_update(
            optimizer,
            state.theta,
            gradient if clip_norm is None else clip_by_global_norm(gradient, clip_norm),
            state.optimizer,
            lr_scale=lr_scale,
            decay_mask=decay_mask if isinstance(network.trainable, float) else decay_mask * network.trainable,
        )
        after = TrainState(theta, layers, optimizer_state)
        if mixed and mixed.has_scale:
            after = mixed.skip_on_overflow(state, after, gradient)
        if state.average:
            after = after._replace(average=moved(state.average, after.theta, after.state, average_share))
        return after

    is_split = group.size > 1 or accumulate > 1  # around the sums of gradients, which are not compiled
    own_gradient = compiled(gradient, network.backend) if is_split else gradient
    own_update = compiled(update, network.backend) if is_split else update

    def step(
        state: TrainState,
        x: Array,
        targets: Array,
        weights: Array | None = None,
        key: Array | None = None,
        iteration: int | Array = 0,
        lr_scale: Factor = 1.0,
        decay_mask: Factor = 1.0,
        rows: Sequence[Rows] = (),
        mix: Mix | None = None,
        average_share: Factor = 0.0,
    ) -> tuple[TrainState, StepMetrics]:
        parts = parts_of(Batch(x, targets, weights), rows)
        part, own = next(parts)
        gradient, layers, metrics = own_gradient(state, *part, key, iteration, own, mix)
        for part, own in parts:
            now = state._replace(state=layers)
            addend, layers, more = own_gradient(now, *part, key, iteration, own, mix)
            gradient = gradient + addend
            metrics = StepMetrics(metrics.loss + more.loss, metrics.score + more.score)
        gradient = group.all_reduce(gradient, allreduce_dtype)
        return own_update(state, gradient, layers, lr_scale, decay_mask, average_share), metrics

    return step if is_split else compiled(step, network.backend)


def prepared(network: Network, augmentation: Sequence[Augmentation], x: Array, key: Array | None) -> Array:
    """A batch as a step sees it: augmented, in θ's dtype."""
    if augmentation:
        x = augment(augmentation, fold_in(key, _AUGMENTATION), x)
    return network.backend.xp.astype(x, network.theta.dtype, copy=False)
