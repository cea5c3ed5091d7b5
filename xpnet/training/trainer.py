"""The training loop: a pure step, repeated; nothing is read back from the device between two reports."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, on_own_device
from xpnet.compile import graphed
from xpnet.datasets import Dataset
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.layout import map_tree
from xpnet.network import Network
from xpnet.parallel import connect
from xpnet.parallel.agreement import together
from xpnet.random import Stream, generator, make_key
from xpnet.runtime import HALF_PRECISIONS, Runtime, configure_once
from xpnet.schedules import for_run, plateau_of
from xpnet.training import setup
from xpnet.training.average import share_of_newest
from xpnet.training.callbacks import Callback, check_callbacks
from xpnet.training.config import TrainConfig
from xpnet.training.copying import CopiedOnly
from xpnet.training.divergence import check_scale, check_step
from xpnet.training.early_stopping import Best
from xpnet.training.evaluation import Evaluator
from xpnet.training.history import History, Record
from xpnet.training.measure import decaying_squares, measure, read_metrics
from xpnet.training.mixed_precision import SCALE, MixedPrecision
from xpnet.training.ranks import Step, check_same_start, same_at_report, same_start, shared_step
from xpnet.training.snapshot import Position, Progress, Snapshot, put_back, take
from xpnet.training.step import StepMetrics


class Trainer(CopiedOnly):
    """Trains a network on a data set as a configuration says.

    ``run`` trains to the end; ``stop``, called by a callback, ends it after the current step. Calling ``run`` again
    continues with the same result, and so does a trainer with the same settings that ``restore``d a ``snapshot``. The
    network holds the current values at every record, and with early stopping the best at the end.

    ``dataset`` may be an iterable of batches (x, y) or (x, y, weights) instead. ``sample_weight`` (N,) weighs the
    training examples. Another ``order`` gives other batches and random numbers, but sets the same examples apart for
    validation. ``runtime`` sets up the process; where it names a device it must be the network's.

    Raises
    ------
    InputError
        If data, configuration, runtime and network do not fit together.
    """

    def __init__(
        self,
        network: Network,
        dataset: Dataset | Iterable[Any],
        config: TrainConfig,
        runtime: Runtime | None = None,
        *,
        sample_weight: Array | None = None,
        order: int = 0,
    ) -> None:
        self.network, self.dataset, self.config = network, dataset, config
        setup.check_settings(network, config, Runtime() if runtime is None else runtime)
        self.runtime = runtime or Runtime()
        self.runtime.configure(network.backend.name) if runtime else configure_once()
        self.group = connect(self.runtime.parallel)
        seed = generator(config.seed, Stream.AGAIN, order).integers(2**32) if order else config.seed
        with together(self.group):
            self.data = setup.settle_data(network, dataset, config, sample_weight, int(seed), self.group)
            per_epoch = self.data.batches_per_epoch
            self.iterations = config.iterations or (config.epochs or 1) * per_epoch
            setup.settle_network(network, self.data, config, self.iterations, self.group)
        check_same_start(self.group, network, self.data, config, self.runtime)
        self.report_every = config.report_every or per_epoch
        self._schedule, self._plateau = for_run(config.schedule, self.iterations), plateau_of(config.schedule)
        self._is_random = network.layer.is_random or bool(config.augmentation)
        self._seed, self._key = int(seed), network.backend.asarray(make_key(int(seed)))
        self.decay_mask = 1.0 if config.decay_biases else setup.weights_only(network)

        precision, targets = self.runtime.precision, self.data.train.targets
        self._mixed = MixedPrecision(network, precision) if precision in HALF_PRECISIONS else None

        def make(in_step: Network) -> Step:
            mixed = self._mixed and MixedPrecision(in_step, precision)
            return setup.step_of(in_step, config, targets, mixed, self.group, self.runtime.allreduce_dtype)

        self._plain_step = shared_step(make, network, self.group, config)
        self._step = graphed(self._plain_step, self.backend) if self.runtime.graph else self._plain_step
        self._evaluate = Evaluator(network, self.group)
        self.history = History([], setup.metric_name(network.loss, targets), self.data.batches_per_epoch)
        self._position = Position(same_start(self.group, setup.first_state(network, config, self._mixed)), Progress())
        self._stop, self._started = False, 0.0

    @property
    def backend(self) -> Backend:
        """The network's."""
        return self.network.backend

    @property
    def iteration(self) -> int:
        """Steps done so far."""
        return self._position.progress.iteration

    @property
    def best(self) -> Best | None:
        """The best values so far, with early stopping."""
        return self._position.best

    @property
    def progress(self) -> Progress:
        """Where the training stands, apart from arrays."""
        return self._position.progress

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do: all iterations are done, or early stopping's patience is out."""
        stopping = self.config.early_stopping
        return bool(stopping and self.best and stopping.is_over(self.best)) or self.progress.reported == self.iterations

    def run(self, callbacks: Sequence[Callback] = (), *, detect_nonfinite: bool = False) -> History:
        """Train until all iterations are done, early stopping ends it, or ``stop`` is called; returns the history.

        With ``detect_nonfinite`` the loss and θ are read back after every step, so that the first step that goes wrong
        is known, and is repeated layer by layer to find where. Whatever else than TrainingDivergedError ends it, the
        network has the values of the last complete step.

        Raises
        ------
        TrainingDivergedError
            If the loss becomes infinite or NaN; with ``detect_nonfinite`` it names the first layer whose output or
            gradient did, and the network has the values of the last record, or of the beginning.
        """
        network = self.network
        finite = network.theta, network.state
        callbacks = check_callbacks(callbacks)
        self._started, self._stop = time.perf_counter() - self.progress.seconds, False
        self.history.records = [record for record in self.history if record.iteration <= self.progress.reported]
        for callback in callbacks:
            callback.on_begin(self)
        try:
            while not (self._stop or self.is_over):
                due = self._next_report()
                self._train_until(due, callbacks, detect_nonfinite)
                record = self._record()
                finite = network.theta, network.state
                self.history.records.append(record)
                if record.iteration == due:  # one after ``stop`` changes nothing, or ``run`` again would go another way
                    self._after_report(record)
                for callback in callbacks:
                    callback.on_report(self, record)
                self._stop = bool(self.group.largest(self._stop))
                self.group.set_patience(False)  # all has been compiled
        except TrainingDivergedError:
            (network.theta, network.state), network.optimizer_memory = finite, None
            raise
        except BaseException:
            self.publish()
            raise
        finally:
            self.group.set_patience(True)
        self.publish()
        if self.best:
            network.theta, network.state = self.best.theta, self.best.state
        for callback in callbacks:
            callback.on_end(self)
        return self.history

    def step(self, *, detect_nonfinite: bool = False) -> StepMetrics:
        """Train on the next batch and nothing else: no record, and no look at the loss without ``detect_nonfinite``."""
        try:
            return self._take_step(detect_nonfinite)
        except MemoryError as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise MemoryError(f"Training, step {self.iteration + 1}: {reason}. Use a smaller batch_size.") from error

    def stop(self) -> None:
        """End ``run`` after the current iteration, on all ranks."""
        self._stop = True

    @on_own_device
    def snapshot(self) -> Snapshot:
        """Everything that ``restore`` needs; taken between any two iterations, by all ranks, it changes nothing."""
        self.flush_metrics()
        return take(self.network, self._position.state, self.progress, self.best, self._key)

    @on_own_device
    def restore(self, snapshot: Snapshot, *, source: str = "Snapshot") -> None:
        """Go on from a snapshot of a run with the same settings, but for device, backend and length.

        Raises
        ------
        InputError
            If the snapshot is of a longer run, or of other settings, naming the first tensor that differs.
        """
        if snapshot.progress.iteration > self.iterations:
            raise InputError(
                f"{source}: expected at most {self.iterations} iterations, got {snapshot.progress.iteration}. "
                "Train for longer."
            )
        keeps_best = self.config.early_stopping is not None
        state, best, self._key = put_back(self.network, self._position.state, snapshot, source, keeps_best=keeps_best)
        self._position = Position(same_start(self.group, state), snapshot.progress, best=best)
        self.publish()

    @on_own_device
    def _take_step(self, detect_nonfinite: bool) -> StepMetrics:
        before, progress, pending, _ = self._position
        batch, rows = self.data.feed.batch(progress.iteration), self.data.rows(progress.iteration)
        others: dict[str, Any] = {"rows": rows} if rows else {}
        if self.config.mixing:
            others["mix"] = self.config.mixing.draw(self._seed, progress.iteration, self.network)
        average = {"average_share": share_of_newest(self.config.ema, progress.iteration)} if self.config.ema else {}
        key, rate = self._key if self._is_random else None, self._rate(progress.iteration)
        step = self._plain_step if detect_nonfinite else self._step  # a graph would overwrite the values before
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported as an error
            settings = (key, progress.iteration, rate, self.decay_mask)
            state, metrics = step(before, *batch, *settings, **others, **average)
            if detect_nonfinite:
                where = (self.network, self.config, self._mixed)
                with together(self.group):
                    check_step(*where, (before, state), batch, metrics.loss, self._key, progress.iteration, **others)
        seen = progress.examples_seen + (rows[0].of if rows else batch.y.shape[0])
        progress = progress._replace(iteration=progress.iteration + 1, examples_seen=seen)
        self._position = self._position._replace(state=state, progress=progress, pending=(metrics, pending))
        return metrics

    def _next_report(self) -> int:
        every, earliest = self.report_every, max(self.progress.reported + 1, self.iteration)
        return min(math.ceil(earliest / every) * every, self.iterations)

    def _train_until(self, due: int, callbacks: Sequence[Callback], detect_nonfinite: bool) -> None:
        while self.iteration < due and not self._stop:
            start = time.perf_counter()
            self.step(detect_nonfinite=detect_nonfinite)
            self._add_seconds(time.perf_counter() - start)
            for callback in callbacks:
                callback.on_step(self)
            self._stop = bool(self.group.largest(self._stop))

    def _add_seconds(self, seconds: float) -> None:
        progress = self.progress._replace(training_seconds=self.progress.training_seconds + seconds)
        self._position = self._position._replace(progress=progress)

    def _rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.config.optimizer.learning_rate * (self._schedule.factor(step) * self.progress.plateau.factor)

    @on_own_device
    def flush_metrics(self, *others: Array) -> list[float]:
        """Read the metrics of all steps since the last report or snapshot, of all ranks: the only wait for a device.

        The values of ``others``, arrays of one element, come in the same copy, and are returned.
        """
        _, progress, pending, _ = self._position
        if pending is None and not others:
            return []
        start = time.perf_counter()
        progress, values = read_metrics(progress, pending, self.config, self.group, others)
        now = time.perf_counter()
        seconds = {"training_seconds": progress.training_seconds + now - start, "seconds": now - self._started}
        self._position = self._position._replace(progress=progress._replace(**seconds), pending=None)
        return values

    @on_own_device
    def publish(self) -> None:
        """Give the network the values of the last complete step, as ``run`` does at each record."""
        theta, state = self._position.state.published
        if self.runtime.graph:  # whose next replay overwrites them
            copied = partial(self.backend.xp.asarray, copy=True)
            theta, state = copied(theta), map_tree(copied, state)
        self.network.theta, self.network.state = theta, state
        self.network.optimizer_memory = (self.config.optimizer, self._position.state.optimizer)

    @on_own_device
    def _record(self) -> Record:
        own = self._position.state
        self._position = self._position._replace(state=same_at_report(self.group, self.config, own, self.iteration))
        self.publish()
        scale = [self._position.state.optimizer[SCALE]] if self._mixed and self._mixed.has_scale else []
        squares, *scale = self.flush_metrics(decaying_squares(self.network, self.decay_mask), *scale)
        check_scale(scale, self.iteration)
        where = (self.network, self.data, self.config, self._evaluate, self.progress)
        record = measure(*where, sum_of_squares=squares, learning_rate=self._rate(self.iteration - 1))
        seconds = time.perf_counter() - self._started
        self._position = self._position._replace(progress=self.progress._replace(seconds=seconds))
        return record._replace(seconds=seconds)

    def _after_report(self, record: Record) -> None:
        """Let the record act on the learning rate and on whether to go on."""
        progress, best = self.progress._replace(reported=record.iteration), self.best
        if self._plateau:
            progress = progress._replace(plateau=self._plateau.update(progress.plateau, record.monitored))
        if self.config.early_stopping:
            best = self.config.early_stopping.update(best, record, self.network.theta, self.network.state)
        self._position = self._position._replace(progress=progress, best=best)
