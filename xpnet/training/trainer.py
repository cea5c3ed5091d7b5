"""The training loop: a pure step, repeated; nothing is read back from the device between two reports."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from xpnet import models
from xpnet.backend import Array, to_numpy
from xpnet.compile import compiled, graphed
from xpnet.datasets import BatchSampler, Dataset, split_indices
from xpnet.datasets.augment import Augmentation
from xpnet.datasets.base import Images
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.layers import BatchNorm
from xpnet.layers.base import State
from xpnet.layout import map_tree
from xpnet.models.pretrained import load_weights
from xpnet.network import Network
from xpnet.optimizers import Factor, Optimizer, OptimizerState, clip_by_global_norm, optimizer_update
from xpnet.random import fold_in, make_key
from xpnet.schedules import PlateauState
from xpnet.training.config import TrainConfig
from xpnet.training.early_stopping import Best, EarlyStopping
from xpnet.training.evaluation import Evaluation, Evaluator
from xpnet.training.feed import channel_means, make_feed, subset
from xpnet.training.history import MovingAverage, Record
from xpnet.training.mixed_precision import LEAST_SCALE, SCALE, MixedPrecision, in_float16
from xpnet.training.nonfinite import all_finite, first_nonfinite
from xpnet.training.run_folder import RunFolder
from xpnet.training.snapshot import Progress, Snapshot, check_alike, part, prefixed

_VALIDATION_IMAGES = 2000
_AUGMENTATION = -1  # folded into a step's key; layers fold in their positions, from 0


class TrainState(NamedTuple):
    """All that training changes: parameters, the layers' state, the optimizer's state."""

    theta: Array
    state: State
    optimizer: OptimizerState


class StepMetrics(NamedTuple):
    """What is known about a batch after a step, as arrays without axes."""

    loss: Array
    accuracy: Array


def make_step(
    network: Network,
    optimizer: Optimizer,
    clip_norm: float | None = None,
    augmentation: Augmentation | None = None,
    mixed: MixedPrecision | None = None,
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """One training step as a pure function: (values, images, labels, ...) -> (values, figures of the batch).

    ``key`` is the run's, for augmentation and the layers that draw random numbers (None without any); that of the step
    is folded from it and ``iteration``. ``lr_scale`` and ``decay_mask`` are those of ``optimizers``; what is frozen
    does not decay either. As arguments they may change from step to step without a new compilation; a Python number
    costs no transfer to the device. With ``mixed`` forward and backward passes are in float16.
    """

    def step(
        values: TrainState,
        images: Array,
        labels: Array,
        key: Array | None = None,
        iteration: int | Array = 0,
        lr_scale: Factor = 1.0,
        decay_mask: Factor = 1.0,
    ) -> tuple[TrainState, StepMetrics]:
        xp = network.backend.xp
        key = None if key is None else fold_in(key, iteration)
        x = _prepared(network, augmentation, images, key)
        if mixed:
            scale = values.optimizer[SCALE]
            result = mixed.loss_and_gradient(values.theta, values.state, scale, x, labels, key)
        else:
            result = network.loss_and_gradient(values.theta, values.state, x, labels, key=key)
        loss, gradient, logits, state = result
        if clip_norm is not None:
            gradient = clip_by_global_norm(gradient, clip_norm)
        theta, optimizer_state = optimizer_update(
            *(optimizer, values.theta, gradient, values.optimizer),
            lr_scale=lr_scale,
            decay_mask=decay_mask * network.trainable,
        )
        after = TrainState(theta, state, optimizer_state)
        if mixed:
            after = mixed.skip_on_overflow(values, after, result.gradient)
        hits = xp.astype(xp.argmax(logits, axis=1), labels.dtype) == labels
        return after, StepMetrics(loss, xp.mean(xp.astype(hits, theta.dtype)))

    return compiled(step, network.backend)


class Trainer:
    """Trains a model on a data set as a configuration says.

    ``run`` yields a ``Record`` every ``report_every`` iterations and at the end. ``stop`` ends it after the iteration
    in progress, with a record of its own; another ``run`` goes on from there as if nothing had happened, and so does
    one of another trainer with the same settings that was given a ``snapshot`` to ``restore``. The network holds the
    current values after every record; after the last one, with early stopping, those of the ``best``.

    A ``network`` that is given is trained further as it is, where it is: the configuration's model, weights, device,
    backend and dtype then count for nothing, and its pixel normalisation stays, as does that of ``weights``.

    Raises InputError if data, configuration and network do not fit together.
    """

    def __init__(self, config: TrainConfig, dataset: Dataset, network: Network | None = None) -> None:
        self.config = config
        self.dataset = dataset
        self.network = network or make_network(config, dataset)
        _check_fits(self.network, dataset)
        self.network.loss = config.make_loss()
        if config.freeze:
            self.network.freeze(*config.freeze)
        images, labels, validation_images, self._validation_labels = split_data(config, dataset)
        self.sampler = BatchSampler(len(labels), config.batch_size, config.seed)
        self.iterations = config.iterations or (config.epochs or 0) * self.sampler.batches_per_epoch
        if self.iterations >= self.sampler.batches_per_epoch:
            _check_last_batch(self.network, len(labels), config.batch_size)
        self.iteration = 0
        self.reported = 0  # the iteration of the last record that counts
        self.seconds = 0.0
        self.training_seconds = 0.0
        self.images_seen = 0

        if network is None and config.weights is None:
            self.network.set_normalization(channel_means(images), config.pixel_scale)
        backend = self.network.backend
        # Each step is given the whole rate instead: its rounding to θ's dtype is then the same in an array.
        optimizer = dataclasses.replace(config.make_optimizer(), learning_rate=1.0)
        self._feed = make_feed(backend, images, labels, self.sampler)
        in_memory = isinstance(validation_images, np.ndarray)
        self._validation_images = backend.asarray(validation_images) if in_memory else validation_images
        self._measured = (images, labels) if config.measure_training else None
        theta, self._augmentation = self.network.theta, config.make_augmentation()
        self._augmentation.check_fits(dataset.input_shape)
        self._mixed = MixedPrecision(self.network) if config.precision == "float16" else None
        scaling = self._mixed.init(theta) if self._mixed else {}
        self._values = TrainState(theta, self.network.state, {**optimizer.init(theta), **scaling})
        self._plain_step = make_step(self.network, optimizer, config.clip_norm, self._augmentation, self._mixed)
        self._step = graphed(self._plain_step, backend) if config.graph else self._plain_step
        self._key = backend.asarray(make_key(config.seed))
        self._is_random = self.network.layer.is_random or bool(self._augmentation)
        self._decays = 1.0 if config.decay_biases else _spare_vectors(self.network)
        self._schedule = config.make_schedule(self.iterations)
        self._plateau, self._plateau_state = config.make_plateau(), PlateauState()
        self._early_stopping = EarlyStopping(config.early_stopping) if config.early_stopping else None
        self.best: Best | None = None
        self._evaluate = Evaluator(self.network)
        self._stop = False
        self._started = 0.0
        self._pending: list[StepMetrics] = []
        self._loss, self._accuracy = MovingAverage(), MovingAverage()

    def run(
        self, on_iteration: Callable[[int], Any] = lambda iteration: None, *, detect_nonfinite: bool = False
    ) -> Iterator[Record]:
        """Train; ``on_iteration`` is called with the number of iterations done, after each.

        With ``detect_nonfinite`` the loss and θ are read back after every step, so that the first step that goes wrong
        is known, and is repeated layer by layer to find where.

        Raises TrainingDivergedError if the loss becomes infinite or NaN; with ``detect_nonfinite`` it names the first
        layer whose output or gradient did.
        """
        self._started, self._stop = time.perf_counter() - self.seconds, False
        while not (self._stop or self.is_over()):
            due = self._next_report()
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported as an error
                self._train_until(due, on_iteration, detect_nonfinite)
                record = self._record()
            if record.iteration == due:  # one after ``stop`` changes nothing, or another ``run`` would go another way
                self._after_report(record)
            yield record
        if self.best:
            self.network.theta, self.network.state = self.best.theta, self.best.state

    def step(self, *, detect_nonfinite: bool = False) -> StepMetrics:
        """Train on the next batch, and nothing else: no record, and unless asked for no look at the loss.

        Raises TrainingDivergedError as ``run`` does with ``detect_nonfinite``.
        """
        images, labels = self._feed.batch(self.iteration)
        before, key, rate = self._values, self._key if self._is_random else None, self._rate(self.iteration)
        step = self._plain_step if detect_nonfinite else self._step  # a graph would overwrite the values before
        self._values, figures = step(before, images, labels, key, self.iteration, rate, self._decays)
        if detect_nonfinite:
            self._check_step(before, images, labels, figures.loss)
        self.iteration += 1
        self.images_seen += labels.shape[0]
        return figures

    def stop(self) -> None:
        """End ``run`` after the iteration in progress."""
        self._stop = True

    def snapshot(self) -> Snapshot:
        """Everything that ``restore`` needs; it may be taken between any two iterations and changes nothing."""
        self._flush_metrics()
        theta, state, optimizer = self._values
        arrays = {
            **prefixed("network", self.network.tensors(theta, state)),
            **prefixed("optimizer", optimizer),
            **(prefixed("best", self.network.tensors(self.best.theta, self.best.state)) if self.best else {}),
            "key": self._key,
        }
        progress = Progress(
            iteration=self.iteration,
            reported=self.reported,
            images_seen=self.images_seen,
            seconds=self.seconds,
            training_seconds=self.training_seconds,
            loss=(self._loss.value, self._loss.count),
            accuracy=(self._accuracy.value, self._accuracy.count),
            plateau=self._plateau_state,
            best=self.best.record if self.best else None,
            reports_since_best=self.best.reports_since if self.best else 0,
        )
        return Snapshot({name: to_numpy(array) for name, array in arrays.items()}, progress)

    def restore(self, snapshot: Snapshot, *, source: str = "Snapshot") -> None:
        """Go on from a snapshot of a run with the same settings, but for device, backend and length.

        Raises InputError that begins with ``source`` if the snapshot is of other settings, naming the first tensor that
        differs, or of a longer run.
        """
        tensors, progress = snapshot
        if progress.iteration > self.iterations:
            raise InputError(
                f"{source}: expected at most {self.iterations} iterations, got {progress.iteration}. Train for longer."
            )
        backend = self.network.backend
        theta, state = self.network.from_tensors(part("network", tensors), source=source)
        others = {**prefixed("optimizer", self._values.optimizer), "key": self._key}
        check_alike(
            {name: tensor for name, tensor in tensors.items() if not name.startswith(("network/", "best/"))},
            {name: to_numpy(array) for name, array in others.items()},
            source,
        )
        optimizer = {name: backend.asarray(tensor) for name, tensor in part("optimizer", tensors).items()}
        best = None
        if progress.best:
            values = self.network.from_tensors(part("best", tensors), source=source)
            best = Best(progress.best, *values, progress.reports_since_best)
        self.best = best
        self._values = TrainState(theta, state, optimizer)
        self.network.theta, self.network.state = theta, state
        self._key = backend.asarray(tensors["key"])
        self.iteration, self.reported, self.images_seen = progress.iteration, progress.reported, progress.images_seen
        self.seconds, self.training_seconds = progress.seconds, progress.training_seconds
        self._loss.value, self._loss.count = progress.loss
        self._accuracy.value, self._accuracy.count = progress.accuracy
        self._plateau_state = progress.plateau
        self._pending = []

    def test(self) -> Evaluation:
        """Evaluate the network's values on the test images.

        Raises TrainingDivergedError if the loss is infinite or NaN.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            evaluation = self._evaluate(
                self.network.theta, self.network.state, self.dataset.test_inputs, self.dataset.test_targets
            )
        self._check_finite("loss on the test images", evaluation.loss, self.iteration)
        return evaluation

    @property
    def images_per_second(self) -> float:
        """Training images per second of training, validation not counted."""
        return self.images_seen / self.training_seconds if self.training_seconds else 0.0

    def is_over(self) -> bool:
        """Whether nothing is left to do, since all iterations are done or early stopping's patience is out."""
        patience_is_out = self._early_stopping and self.best and self._early_stopping.is_over(self.best)
        return bool(patience_is_out) or self.reported == self.iterations

    def _next_report(self) -> int:
        every, earliest = self.config.report_every, max(self.reported + 1, self.iteration)
        return min(math.ceil(earliest / every) * every, self.iterations)

    def _train_until(self, due: int, on_iteration: Callable[[int], Any], detect_nonfinite: bool) -> None:
        while self.iteration < due and not self._stop:
            start = time.perf_counter()
            self._pending.append(self.step(detect_nonfinite=detect_nonfinite))
            self.training_seconds += time.perf_counter() - start
            on_iteration(self.iteration)
        self._flush_metrics()

    def _rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.config.learning_rate * (self._schedule.factor(step) * self._plateau_state.factor)

    def _flush_metrics(self) -> None:
        """Read the figures of all steps since the last report or snapshot: the only wait for the device."""
        if not self._pending:
            return
        start = time.perf_counter()
        pending, self._pending = self._pending, []
        losses, accuracies = (
            to_numpy(self.network.backend.xp.stack(column)).tolist() for column in zip(*pending, strict=True)
        )
        first = self.iteration - len(pending) + 1
        for number, loss, accuracy in zip(itertools.count(first), losses, accuracies):
            self._check_finite("loss", loss, number)
            self._loss.add(loss)
            self._accuracy.add(accuracy)
        now = time.perf_counter()
        self.training_seconds += now - start
        self.seconds = now - self._started

    def _check_finite(self, what: str, value: float, iteration: int) -> None:
        if not math.isfinite(value):
            raise TrainingDivergedError(
                f"Training: the {what} became {value} in iteration {iteration}. Likely causes: a learning rate "
                f"({self.config.learning_rate}) or initial weights too large, or pixels not scaled. "
                f"Try --lr {self.config.learning_rate / 10:g}."
            )

    def _check_scale(self) -> None:
        """Raise TrainingDivergedError if gradients overflow whatever the scale, so that every step is left out."""
        scale = float(to_numpy(self._values.optimizer[SCALE])[0])
        if scale < LEAST_SCALE:
            raise TrainingDivergedError(
                f"Training: by iteration {self.iteration} the loss scale fell to {scale:.1g}, since gradients do not "
                "fit into float16. Try --precision float32."
            )

    def _check_step(self, before: TrainState, images: Array, labels: Array, loss: Array) -> None:
        """Raise TrainingDivergedError with the first layer that went wrong if the step just done was not finite."""
        if all_finite(loss) and all_finite(self._values.theta):
            return
        key = fold_in(self._key, self.iteration)
        network, theta = self.network, before.theta
        x = _prepared(network, self._augmentation, images, key)
        if self._mixed:
            network, theta, x = self._mixed.as_float16(before.optimizer[SCALE]), in_float16(theta), in_float16(x)
        found = first_nonfinite(network, theta, before.state, x, labels, key)
        raise TrainingDivergedError(
            f"Training: in iteration {self.iteration + 1}, "
            f"{found or 'the optimizer: the parameters after its step are not finite, but all gradients are'}. "
            f"Try --lr {self.config.learning_rate / 10:g}."
        )

    def _record(self) -> Record:
        theta, state, _ = self._values
        if self.config.graph:  # whose next replay overwrites them
            theta, state = self._copy(theta), map_tree(self._copy, state)
        self.network.theta, self.network.state = theta, state
        decay = self.config.weight_decay / 2 * float(self.network.backend.xp.sum(self._decays * theta * theta))
        self._check_finite("sum of the squared weights", decay, self.iteration)
        if self._mixed:
            self._check_scale()
        training = self._evaluate(theta, state, *self._measured).accuracy if self._measured else self._accuracy.value
        validation = self._evaluate(theta, state, self._validation_images, self._validation_labels).accuracy
        self.seconds = time.perf_counter() - self._started
        return Record(
            self.iteration,
            self._loss.value,
            decay,
            self._loss.value + decay,
            training,
            validation,
            self.seconds,
            self._rate(self.iteration - 1),
        )

    def _copy(self, array: Array) -> Array:
        return self.network.backend.xp.asarray(array, copy=True)

    def _after_report(self, record: Record) -> None:
        """Let the validation accuracy act on the learning rate and on whether to go on."""
        self.reported = record.iteration
        if self._plateau:
            self._plateau_state = self._plateau.update(self._plateau_state, record.validation_accuracy)
        if self._early_stopping:
            self.best = self._early_stopping.update(self.best, record, self.network.theta, self.network.state)


def _prepared(network: Network, augmentation: Augmentation | None, images: Array, key: Array | None) -> Array:
    """A batch as a step sees it: augmented, in θ's dtype."""
    if augmentation:
        images = augmentation(fold_in(key, _AUGMENTATION), images)
    return network.backend.xp.astype(images, network.theta.dtype)


def make_network(config: TrainConfig, dataset: Dataset) -> Network:
    """The network that a configuration describes, with its ``weights`` if it names some.

    Raises InputError if they do not fit.
    """
    network = models.create(
        config.model,
        input_shape=dataset.input_shape,
        classes=dataset.classes,
        seed=config.seed,
        dtype=config.dtype,
        device=config.device,
        backend=config.backend,
        **config.model_options,
    )
    if config.weights is not None:
        load_weights(network, RunFolder.weights_in(config.weights), replace_head=config.replace_head)
    return network


def _check_fits(network: Network, dataset: Dataset) -> None:
    if (network.input_shape, network.output_shape) != (dataset.input_shape, (dataset.classes,)):
        raise InputError(
            f"Training: expected a network for images {dataset.input_shape} of {dataset.classes} classes, as in "
            f"{dataset.name}, got one for {network.input_shape} that gives {network.output_shape}. "
            "Choose other data or another network."
        )


def _check_last_batch(network: Network, images: int, batch_size: int) -> None:
    """Refuse an epoch that ends with a batch of one image where batch normalisation would have one value to go by."""
    last = (images - 1) % batch_size + 1
    for name, layer, shape in network.layer.leaves(network.input_shape):
        if isinstance(layer, BatchNorm) and not layer.frozen and last * math.prod(shape[:-1]) == 1:
            raise InputError(
                f"Training: expected at least 2 images in every batch for batch normalisation ('{name}'), got 1 in the "
                f"last one of {images:,} images in batches of {batch_size}. Choose another batch size or limit."
            )


def _spare_vectors(network: Network) -> Array:
    """1 for the weights of dense and convolutional layers, 0 for biases and the scales of batch normalisation."""
    slots = network.layout.slots()
    return network.mask(lambda name: len(slots[name].shape) > 1)


def split_data(config: TrainConfig, dataset: Dataset) -> tuple[Images, np.ndarray, Images, np.ndarray]:
    """Images and labels to train on and to validate on.

    Where the data set has no validation part, training images are split off: as many as the configuration says, or
    2,000, but then no more than a tenth.
    """
    images, labels = dataset.train_inputs, dataset.train_targets
    usual = min(_VALIDATION_IMAGES, max(len(labels) // 10, 1))
    split_off = (config.validation_images or usual) if dataset.validation_inputs is None else 0
    train, validation = split_indices(len(labels), split_off, config.seed)
    if config.limit is not None and config.limit > len(train):
        raise InputError(
            f"Training: expected a limit of at most {len(train)} (the images of {dataset.name} not for validation), "
            f"got {config.limit}. Give --limit {len(train)} or less."
        )
    train = train[: config.limit]
    if dataset.validation_inputs is None or dataset.validation_targets is None:
        return subset(images, train), labels[train], images[validation], labels[validation]
    return subset(images, train), labels[train], dataset.validation_inputs, dataset.validation_targets
