"""From a data set to the batches and the validation examples of one training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.arguments import check_indices
from xpnet.backend import Array, is_array, is_readable, to_numpy
from xpnet.datasets import BatchSampler, Dataset, split_indices
from xpnet.datasets.arrays import check_range
from xpnet.datasets.augment import check_fits
from xpnet.datasets.rows import subset
from xpnet.errors import InputError
from xpnet.network import Network
from xpnet.parallel import ALONE, Group
from xpnet.training.config import TrainConfig
from xpnet.training.feed import Batch, Feed, IterableFeed, make_feed, stays_on_host
from xpnet.training.rows import RowFeed, Rows, RowSampler, WhichRows, check_enough, weights_of_examples
from xpnet.training.weights import check_sample_weights, check_weight_range

_VALIDATION_EXAMPLES = 2000
_OF_DATA_SETS = ("class_weight", "validation", "limit", "measure_training")


class Part(NamedTuple):
    """Inputs and targets of some examples, and their weights where they have any."""

    inputs: Any
    targets: Any
    weights: Any = None

    def pick(self, indices: np.ndarray) -> Part:
        """Some of the examples; images in files stay there."""
        return Part(*(values if values is None else subset(values, indices) for values in self))


class Split(NamedTuple):
    """What a training learns from, and what it is validated on (None: nothing)."""

    train: Part
    validation: Part | None


def split(dataset: Dataset, config: TrainConfig, sample_weight: Array | None = None) -> Split:
    """The training and validation examples that a configuration asks for.

    Where the data set has no validation part, ``config.validation`` training examples are split off at random.

    Raises InputError if that leaves nothing to train on, or less than ``limit``.
    """
    whole = Part(dataset.train_inputs, dataset.train_targets, sample_weight)
    has_validation = dataset.validation_inputs is not None
    count = whole.targets.shape[0]
    split_off = 0 if has_validation else _validation_count(config.validation, count)
    validation = Part(dataset.validation_inputs, dataset.validation_targets) if has_validation else None
    if not split_off and config.limit is None:
        return Split(whole, validation)
    train, apart = split_indices(count, split_off, config.seed)
    if config.limit is not None and config.limit > len(train):
        raise InputError(
            f"Training: expected limit to be at most {len(train)} (the examples of {dataset.name} that are not for "
            f"validation), got {config.limit}. Use {len(train)} or less."
        )
    return Split(whole.pick(train[: config.limit]), whole.pick(apart) if split_off else validation)


def _validation_count(validation: Any, count: int) -> int:
    if validation is None:
        return 0
    if validation == "auto":
        return min(_VALIDATION_EXAMPLES, max(count // 10, 1))
    return validation if isinstance(validation, int) else max(round(validation * count), 1)


class _IndexFeed:
    """A feed whose batches of indices are looked at one by one, since nobody has seen them all."""

    def __init__(self, feed: Feed, network: Network) -> None:
        self._feed, self._network = feed, network

    def batch(self, step: int) -> Batch:
        """The examples to train on in this step, counted from 0. Raises InputError for indices out of range."""
        batch = self._feed.batch(step)
        check_indices(self._network.layer, self._network.input_shape, batch.x)
        return batch


def _all_rows(step: int) -> tuple[Rows, ...]:
    """Of one process, in one part."""
    return ()


@dataclass(frozen=True)
class TrainingData:
    """Where the batches of a training come from, ``batch(step)``, and what it is validated on.

    ``rows`` tells which rows of the batch of a step these are, where processes share it or it is computed in parts.
    """

    feed: Any
    train: Part
    validation: Part | None
    batches_per_epoch: int
    count: int
    rows: WhichRows = _all_rows


def prepare(
    dataset: Dataset,
    config: TrainConfig,
    network: Network,
    sample_weight: Array | None,
    seed: int,
    group: Group = ALONE,
    class_weights: Any = None,
) -> TrainingData:
    """Split the data and put them where batches are taken from: on the device, or left in files and memory maps.

    ``seed`` is that of the batches' order; of each batch this process has its rows among those of a ``group``. They
    count by ``class_weights`` too. Raises InputError as ``split`` and ``BatchSampler`` do, and for weights that
    are all 0.
    """
    if sample_weight is not None:
        count = dataset.train_targets.shape[0]
        sample_weight = check_sample_weights("Training", sample_weight, count, network.dtype)
    if class_weights is not None:
        largest_sum = max(class_weights) * math.prod(dataset.train_targets.shape)
        check_weight_range("Training: expected class_weight", largest_sum, network.dtype)
    for part in ("train", "validation"):
        check_part_range(dataset, part, network.dtype)
    train, validation = split(dataset, config, sample_weight)
    if train.weights is not None and is_readable(train.weights) and not to_numpy(train.weights).any():
        raise InputError(
            "Training: expected a sample_weight above 0 for some training example, got 0 for all. Change sample_weight."
        )
    sampler = BatchSampler(train.targets.shape[0], min(config.batch_size, train.targets.shape[0]), seed, config.shuffle)
    own, rows = sampler, _all_rows
    if group.size > 1 or config.accumulate > 1:
        check_enough(group, sampler.batch_size)
        weights = weights_of_examples(train.targets, train.weights, class_weights)
        own = RowSampler(sampler, group, weights, config.accumulate)
        rows = own.rows
    dtype = None if config.augmentation else network.dtype  # an augmentation is given images as they are
    feed: Any = make_feed(network.backend, *train, own, dtype)
    if network.layer.index_count is not None and stays_on_host(network.backend, train.inputs):
        feed = _IndexFeed(feed, network)
    check_fits(config.augmentation, dataset.input_shape)
    if config.augmentation and len(dataset.target_shape) > 1:
        raise InputError(
            f"Training: expected no augmentation with a class for each pixel, got {config.augmentation[0]}, which "
            "would move the pixels away from their classes. Leave it out."
        )
    if validation is not None and not stays_on_host(network.backend, validation.inputs):
        validation = validation._replace(inputs=network.backend.asarray(validation.inputs))
    return TrainingData(feed, train, validation, sampler.batches_per_epoch, sampler.count, rows)


def check_part_range(dataset: Dataset, part: str, dtype: str) -> None:
    """Raise InputError for numbers of a part of the data set, such as "test", that a network's dtype cannot hold.

    Those in memory maps and large arrays are checked as they are read.
    """
    for values in ("inputs", "targets"):
        array = getattr(dataset, f"{part}_{values}")
        if is_array(array) and not isinstance(array, np.memmap):
            check_range(dataset.name_of(values, part), array, dtype)


def prepare_stream(
    batches: Iterable[Any],
    config: TrainConfig,
    network: Network,
    sample_weight: Array | None,
    group: Group = ALONE,
) -> TrainingData:
    """Batches as an iterable gives them; an epoch is its length, if it has one.

    Raises InputError if it is not known how many batches there will be, if the first is not one for the network, and
    for settings of whole data sets.
    """
    unknown = {"sample_weight": sample_weight, **{name: getattr(config, name) for name in _OF_DATA_SETS}}
    for name, value in unknown.items():
        if value is not None and value is not False:
            raise InputError(
                f"Training: expected no {name} with an iterable of batches, got one. Leave it out; "
                "batches (x, y, weights) weigh examples."
            )
    if isinstance(batches, Sized):
        per_epoch = len(batches)
    elif config.iterations:
        per_epoch = config.iterations
    else:
        raise InputError(
            "Training: expected iterations with an iterable of batches that has no length, got none. "
            "Say how many batches to train on: iterations=1000."
        )
    check_fits(config.augmentation, network.input_shape)
    loss = config.loss or network.own_loss
    classes = network.output_shape[-1] if loss is None or loss.target == "classes" else None
    if (class_weights := getattr(loss, "class_weights", None)) is not None:
        check_weight_range("Training: expected class_weights", class_weights, network.dtype)
    feed: Any = IterableFeed(network.backend, batches, network.input_shape, classes, network.dtype)
    if network.layer.index_count is not None:
        feed = _IndexFeed(feed, network)
    first = feed.batch(0)
    count = first.y.shape[0]
    if config.batch_size not in (TrainConfig.batch_size, count):
        raise InputError(
            f"Training: expected no batch_size with an iterable of batches, which have {count} examples, got "
            f"{config.batch_size}. Leave it out."
        )
    part = Part(first.x, first.y)
    if group.size == 1 and config.accumulate == 1:
        return TrainingData(feed, part, None, per_epoch, 0)
    check_enough(group, count)
    own = RowFeed(feed, group, class_weights, config.accumulate)
    return TrainingData(own, part, None, per_epoch, 0, own.rows)


def target_variance(targets: Any) -> float:
    """The variance of real targets (N,) or (N, K), averaged over K; 1 where they are all the same."""
    with np.errstate(over="ignore", invalid="ignore"):  # then the loss is not finite either, and is refused
        variance = float(np.mean(np.var(to_numpy(targets).astype(np.float64), axis=0)))
    return variance or 1.0
