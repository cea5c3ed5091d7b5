"""What a trainer does where several processes, the ranks, share its batches."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xpnet.backend import is_array, to_numpy
from xpnet.datasets.rows import subset
from xpnet.layers import BatchNorm, Layer
from xpnet.layers.containers import map_leaves
from xpnet.layers.normalization import SynchronizedBatchNorm
from xpnet.layout import map_tree
from xpnet.network import Network
from xpnet.parallel import Group
from xpnet.parallel.agreement import AgreedError, check_same, check_same_values, code_digest
from xpnet.runtime import Runtime
from xpnet.training.config import TrainConfig
from xpnet.training.data import TrainingData
from xpnet.training.rows import Rows, is_whole
from xpnet.training.step import StepMetrics, TrainState

Step = Callable[..., tuple[TrainState, StepMetrics]]
_SAMPLE = 16  # inputs that are compared


def check_same_start(group: Group, network: Network, data: TrainingData, config: TrainConfig, runtime: Runtime) -> None:
    """Raise an InputError that names the first setting, code, network or data that is not the same on all ranks."""
    if group.size == 1:
        return
    check_same(
        group,
        {
            **_settings(config),
            "dtype": network.dtype,
            "precision": runtime.precision,
            "allreduce_dtype": runtime.allreduce_dtype,
            "network": network.layer,
            "data": _digest(data),
            "code": code_digest(),
        },
    )


def _digest(data: TrainingData) -> str:
    """What differs for other numbers of examples, other targets, and other inputs, of which a sample is read."""
    digest = hashlib.sha256(repr((data.count, data.batches_per_epoch, data.train.inputs.shape)).encode())
    for part in filter(None, (data.train, data.validation)):
        count = part.targets.shape[0]
        inputs = subset(part.inputs, np.arange(_SAMPLE) * count // _SAMPLE)
        digest.update(to_numpy(part.targets).tobytes())
        digest.update((to_numpy(inputs) if is_array(inputs) else inputs[np.arange(_SAMPLE)]).tobytes())
    return digest.hexdigest()[:12]


def _settings(config: TrainConfig) -> dict[str, object]:
    """Those of the configuration and of what is in it."""
    settings: dict[str, object] = {}
    for name, value in vars(config).items():
        inner = vars(value) if dataclasses.is_dataclass(value) else {}
        settings |= {**inner, name: type(value).__name__ if inner else value}
    return settings


def same_start(group: Group, state: TrainState) -> TrainState:
    """The values that all ranks begin with: those of rank 0."""
    if group.size == 1:
        return state
    theta, *trees = state
    return TrainState(group.broadcast(theta), *(map_tree(group.broadcast, tree) for tree in trees))


def shared(network: Network, group: Group, config: TrainConfig) -> Network:
    """The network as a group's step computes it: its batch normalisations over whole batches, if that is asked for."""
    if group.size == 1 or not config.sync_batch_norm:
        return network

    def settled(_: str, layer: Layer) -> Layer:
        if not isinstance(layer, BatchNorm) or layer.frozen:
            return layer
        return SynchronizedBatchNorm(layer.momentum, layer.eps, group=group)

    network = copy.copy(network)
    network.layer = map_leaves(settled, network.layer)
    return network


def shared_step(make: Callable[[Network], Step], network: Network, group: Group, config: TrainConfig) -> Step:
    """The step of a group: of a batch that each rank has whole, its batch normalisations ask no other rank."""
    step = make(shared(network, group, config))
    if group.size == 1:
        return step
    of_whole = make(network)

    def step_of_rows(*arguments: Any, rows: Sequence[Rows], **others: Any) -> tuple[TrainState, StepMetrics]:
        return (of_whole if is_whole(group, rows[0].of) else step)(*arguments, rows=rows, **others)

    return step_of_rows


def same_at_report(group: Group, config: TrainConfig, state: TrainState, iteration: int) -> TrainState:
    """The values that all ranks have at a report: rank 0's statistics, where each rank has its own.

    Raises AgreedError, on all ranks, if the parameters of one of them are not rank 0's to the last bit.
    """
    if group.size == 1:
        return state
    rank = check_same_values(group, to_numpy(state.theta))
    if rank is not None:
        raise AgreedError(
            f"Training: by iteration {iteration} the parameters of rank {rank} are not those of rank 0. "
            "Use machines with the same kind of processor and the same versions of all libraries."
        )
    if config.sync_batch_norm:
        return state
    statistics, average = (map_tree(group.broadcast, tree) for tree in (state.state, state.average))
    return state._replace(state=statistics, average=average)
