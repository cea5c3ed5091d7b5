"""The complete training state in host memory, from which training can be resumed on any device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from xpnet.backend import Array, to_numpy
from xpnet.errors import InputError
from xpnet.network import Network
from xpnet.schedules import PlateauState
from xpnet.shapes import is_whole
from xpnet.training.early_stopping import Best
from xpnet.training.history import MovingAverage, Record
from xpnet.training.step import TrainState

Tensors = Mapping[str, np.ndarray]


class Progress(NamedTuple):
    """Where a run stands, apart from its arrays, as JSON can hold it.

    ``reported`` is the iteration of the last record that counts, ``best`` and ``reports_since_best`` are early
    stopping's. The sampler's place needs no entry: batches depend on the seed and the iteration alone.
    """

    iteration: int = 0
    reported: int = 0
    examples_seen: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    loss: MovingAverage = MovingAverage()
    score: MovingAverage = MovingAverage()
    plateau: PlateauState = PlateauState()
    best: Record | None = None
    reports_since_best: int = 0

    @property
    def examples_per_second(self) -> float:
        """Training examples per second of training, validation not counted."""
        return self.examples_seen / self.training_seconds if self.training_seconds else 0.0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Progress:
        """From what JSON made of ``_asdict()``. Raises TypeError, ValueError or KeyError if it is something else."""
        best, reports, factor = values["plateau"]
        progress = cls(**values)._replace(
            seconds=_seconds(values["seconds"]),
            training_seconds=_seconds(values["training_seconds"]),
            loss=_average(values["loss"]),
            score=_average(values["score"]),
            plateau=PlateauState(_at_most_1(best), _count(reports), _at_most_1(factor)),
            best=None if values["best"] is None else Record.parse(values["best"]),
        )
        for count in (progress.iteration, progress.reported, progress.examples_seen, progress.reports_since_best):
            _count(count)
        if progress.reported > progress.iteration:
            raise ValueError("its counts make no sense")
        return progress


class Position(NamedTuple):
    """Where a training stands, replaced in one assignment: an interruption leaves the old one or the new one.

    ``pending`` are the metrics of steps that are not read yet, the newest first: (metrics, (metrics, ... None)).
    """

    state: TrainState
    progress: Progress
    pending: Any = None
    best: Best | None = None


def _average(values: Any) -> MovingAverage:
    """A moving average, NaN before its first value."""
    value, count = values
    value, count = float(value), _count(count)
    if math.isfinite(value) != (count > 0):
        raise ValueError("its moving averages make no sense")
    return MovingAverage(value, count)


def _count(value: Any) -> int:
    if not is_whole(value) or not 0 <= value < 2**53:
        raise ValueError("its counts make no sense")
    return int(value)


def _seconds(value: Any) -> float:
    value = float(value)
    if value and not 1e-9 <= value <= 1e12:
        raise ValueError("its seconds make no sense")
    return value


def _at_most_1(value: Any) -> float:
    """A score, or a factor of the learning rate."""
    value = float(value)
    if not value <= 1:
        raise ValueError("its plateau makes no sense")
    return value


class Snapshot(NamedTuple):
    """Progress and named arrays: ``network/...``, ``average/...``, ``optimizer/...``, ``best/...``, and the ``key``.

    The averages are those of ``ema``, the best values early stopping's.
    """

    tensors: Tensors
    progress: Progress


def take(network: Network, state: TrainState, progress: Progress, best: Best | None, key: Array) -> Snapshot:
    """All of a training, copied to the host."""
    arrays = {
        **_prefixed("network", network.tensors(state.theta, state.state)),
        **(_prefixed("average", network.tensors(**state.average)) if state.average else {}),
        **_prefixed("optimizer", state.optimizer),
        **(_prefixed("best", network.tensors(best.theta, best.state)) if best else {}),
        "key": key,
    }
    progress = progress._replace(
        best=best.record if best else None, reports_since_best=best.reports_since if best else 0
    )
    return Snapshot({name: to_numpy(array) for name, array in arrays.items()}, progress)


def put_back(
    network: Network, state: TrainState, snapshot: Snapshot, source: str, *, keeps_best: bool
) -> tuple[TrainState, Best | None, Array]:
    """The state, the best values so far and the key of a snapshot, where the network is.

    Raises InputError, naming the first tensor that differs, unless all are like those of ``state``; and unless there is
    a best record with its values where early stopping ``keeps_best`` and there was a record, and only there.
    """
    tensors, progress = snapshot
    backend = network.backend
    theta, layers = network.from_tensors(_part("network", tensors), source=source)
    by_layer = ("network/", "best/", *(["average/"] if state.average else []))
    _check_alike(
        {name: tensor for name, tensor in tensors.items() if not name.startswith(by_layer)},
        {
            **{name: to_numpy(array) for name, array in _prefixed("optimizer", state.optimizer).items()},
            "key": np.zeros(2, np.int32),
        },
        source,
    )
    optimizer = {name: backend.asarray(tensor) for name, tensor in _part("optimizer", tensors).items()}
    _check_best(progress, any(name.startswith("best/") for name in tensors), keeps_best, source)
    average, best = {}, None
    if state.average:
        mean_theta, mean_layers = network.from_tensors(_part("average", tensors), source=source)
        average = {"theta": mean_theta, "state": mean_layers}
    if progress.best:
        values = network.from_tensors(_part("best", tensors), source=source)
        best = Best(progress.best, *values, progress.reports_since_best)
    return TrainState(theta, layers, optimizer, average), best, backend.asarray(tensors["key"])


def _check_best(progress: Progress, has_values: bool, keeps_best: bool, source: str) -> None:
    best, since = progress.best, progress.reports_since_best
    is_due = keeps_best and progress.reported > 0
    if best is None:
        is_right = not is_due and not has_values and since == 0
    else:
        is_right = is_due and has_values and (since == 0) == (best.iteration == progress.reported)
        is_right = is_right and 0 < best.iteration <= progress.reported
    if not is_right:
        found = f"that of iteration {best.iteration}, {since} reports ago" if best else "none"
        raise InputError(
            f"{source}: expected the best record up to iteration {progress.reported} as early stopping has it, "
            f"got {found} {'with' if has_values else 'without'} its values. Use the settings it was made with."
        )


def _prefixed(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors with a prefix before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _part(prefix: str, tensors: Tensors) -> dict[str, np.ndarray]:
    """Inverse of ``_prefixed``: those of the tensors that have the prefix, without it."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _check_alike(tensors: Tensors, expected: Tensors, source: str) -> None:
    """Raise InputError, naming the first tensor that differs, unless names, dtypes and shapes are the expected ones."""
    for name in [*expected, *tensors]:
        here, there = (
            f"{side[name].dtype} {side[name].shape}" if name in side else "missing" for side in (expected, tensors)
        )
        if here != there:
            raise InputError(
                f"{source}: expected {name!r} to be {here}, got {there}. Use the settings it was made with."
            )
