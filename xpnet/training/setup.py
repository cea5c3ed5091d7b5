"""What is settled before the first step: that data and network fit, loss, score, and the normalisation of inputs."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from xpnet.arguments import check_indices
from xpnet.backend import Array, array_namespace, backend_of, is_array, to_numpy
from xpnet.checks import check_kind
from xpnet.datasets import Dataset
from xpnet.errors import InputError
from xpnet.layers import BatchNorm
from xpnet.losses import BinaryCrossEntropy, Loss, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.network import Network
from xpnet.optimizers.base import OptimizerState
from xpnet.parallel import ALONE, Group
from xpnet.runtime import Runtime
from xpnet.shapes import channels_last_advice
from xpnet.training.config import TrainConfig
from xpnet.training.data import Part, TrainingData, prepare, prepare_stream, target_variance
from xpnet.training.feed import input_statistics
from xpnet.training.mixed_precision import MixedPrecision
from xpnet.training.mixing import check_mixing
from xpnet.training.scores import Score, accuracy, binary_accuracy, r2
from xpnet.training.step import StepMetrics, TrainState, make_step
from xpnet.training.weights import class_weights

_DEFAULT_LOSSES = {"classes": SoftmaxCrossEntropy, "binary": BinaryCrossEntropy, "real": MeanSquaredError}


def check_settings(network: Network, config: TrainConfig, runtime: Runtime) -> None:
    """Refuse settings of another kind, and a runtime with another device or dtype than the network's."""
    check_kind("Training", "network", network, Network, "Network(layers, input_shape)")
    check_kind("Training", "config", config, TrainConfig, "TrainConfig(epochs=1)")
    check_kind("Training", "runtime", runtime, Runtime, "Runtime(device='cuda')")
    here = network.backend
    wanted = (runtime.device or here.device_name(), runtime.backend or here.name)
    if wanted[0] not in (here.device_name(), "auto", here.device_name().partition(":")[0]) or wanted[1] != here.name:
        raise InputError(
            f"Training: expected a runtime for {here.name} on {here.device_name()}, where the network is, got "
            f"{wanted[1]} on {wanted[0]}. Call net.to(device, backend), or leave device and backend out."
        )
    if runtime.dtype not in (None, network.dtype):
        raise InputError(
            f"Training: expected dtype {network.dtype}, the network's, got {runtime.dtype}. "
            "Pass dtype to Network instead."
        )
    runtime.check_applies(here, network.dtype)


def settle_data(
    network: Network,
    dataset: Dataset | Iterable[Any],
    config: TrainConfig,
    sample_weight: Array | None,
    seed: int,
    group: Group = ALONE,
) -> TrainingData:
    """The data to train on; the network is given the loss, and the names of the classes.

    Raises InputError if data, network and configuration do not fit together.
    """
    if isinstance(dataset, Dataset):
        loss = settle_loss(network, dataset, config)
        check_fits(network, dataset, loss)
        class_weights = getattr(loss, "class_weights", None)
        data = prepare(dataset, config, network, sample_weight, seed, group, class_weights)
        network.class_names = dataset.class_names
        if (config.loss or network.own_loss) is None:
            _warn_of_one_hot(dataset.train_targets)
    else:
        data = prepare_stream(dataset, config, network, sample_weight, group)
        loss = settle_stream_loss(network, data.train.targets, config)
    network.loss, network.own_loss = loss, config.loss or network.own_loss
    return data


def _warn_of_one_hot(targets: Array) -> None:
    """Warn of targets (N, K) that are 0 but for one 1 in each row, whose loss follows from their kind."""
    if targets.ndim < 2 or targets.shape[1] == 1:
        return
    targets = to_numpy(targets)
    if not ((targets == 0) | (targets == 1)).all() or not (targets.sum(axis=1) == 1).all():
        return
    warnings.warn(
        "fit: y looks like one-hot classes, but is learned as "
        f"{'real numbers' if targets.dtype.kind == 'f' else '0/1 labels'}. "
        "Pass class numbers, y.argmax(axis=1), for softmax cross-entropy.",
        stacklevel=6,
    )


def settle_loss(network: Network, dataset: Dataset, config: TrainConfig) -> Loss:
    """The loss to train on: the configuration's, else the network's own, else what fits the targets.

    Raises InputError for a loss that does not take such targets, or class weights that a loss does not have.
    """
    loss = config.loss or network.own_loss or _DEFAULT_LOSSES[dataset.task]()
    if config.class_weight is not None:
        if not hasattr(loss, "class_weights") or dataset.class_names is None:
            raise InputError(
                f"Training: expected no class_weight with the loss {type(loss).__name__} and {dataset.task} targets, "
                "got one. Use sample_weight instead."
            )
        weights = class_weights(config.class_weight, to_numpy(dataset.train_targets), dataset.class_names)
        loss = dataclasses.replace(loss, class_weights=weights)  # pyright: ignore[reportArgumentType]
    return loss


def settle_stream_loss(network: Network, targets: Array, config: TrainConfig) -> Loss:
    """The loss to train on with batches from an iterable, of which these are the first targets."""
    is_real = array_namespace(targets).isdtype(targets.dtype, "real floating")
    task = "real" if is_real else "binary" if targets.ndim == 2 else "classes"
    return config.loss or network.own_loss or _DEFAULT_LOSSES[task]()


def check_fits(network: Network, dataset: Dataset, loss: Loss | None = None) -> None:
    """Refuse data whose inputs or targets do not fit the network.

    Raises InputError that says what the data are and what the network is for.
    """
    loss = loss or network.loss
    if network.input_shape != tuple(dataset.input_shape):
        advice = channels_last_advice(dataset.input_shape, network.input_shape)
        raise InputError(
            f"Network: expected inputs of shape {network.input_shape}, got {tuple(dataset.input_shape)} in "
            f"{dataset.name_of('inputs')}. {advice or 'Reshape them, or make a network with that input_shape.'}"
        )
    outputs, wanted = network.output_shape, _wanted_outputs(dataset, loss)
    if outputs != wanted and (dataset.task == "classes" or loss.target != "classes"):
        targets = f"{dataset.classes} classes" if dataset.task == "classes" else f"{dataset.task} targets"
        raise InputError(
            f"Network: expected {_outputs_text(wanted)} for the {targets} in {dataset.name_of('targets')}, got "
            f"{_outputs_text(outputs)}. {_last_layer(dataset, outputs, wanted)}"
        )
    _check_kind(network, dataset, loss)
    if is_array(dataset.train_inputs) and not isinstance(dataset.train_inputs, np.memmap):
        check_indices(network.layer.index_count, dataset.train_inputs)


def _outputs_text(shape: tuple[int, ...]) -> str:
    if len(shape) > 1:
        return f"outputs of shape {shape}"
    count = math.prod(shape)
    return f"{count} output{'s' if count > 1 else ''}"


def _last_layer(dataset: Dataset, outputs: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What to change where the number of outputs does not fit."""
    if len(wanted) == 3:
        return f"End with Conv2D({wanted[-1]}, kernel_size=1) on images of the targets' size."
    layers = f"{'Flatten() and ' if len(outputs) > 1 else ''}Dense({math.prod(wanted)})"
    if outputs == (1,) and dataset.classes == 2:
        return f"End with {layers}, or train with BinaryCrossEntropy()."
    if outputs == (1,) and dataset.classes:
        return f"End with {layers}; for regression, convert the targets to a floating-point dtype."
    return f"End with {layers}."


def _check_kind(network: Network, dataset: Dataset, loss: Loss) -> None:
    """Let the loss refuse targets of another kind, by the first of them repeated: nothing is computed or copied."""
    count = dataset.train_targets.shape[0]
    targets = to_numpy(dataset.train_targets[:1, ...])
    outputs = np.broadcast_to(np.zeros((), network.dtype), (count, *network.output_shape))
    loss.check(outputs, np.broadcast_to(targets, (count, *targets.shape[1:])))


def _wanted_outputs(dataset: Dataset, loss: Loss) -> tuple[int, ...]:
    if dataset.task == "classes":
        is_one = loss.target == "binary" and dataset.classes == 2 and not dataset.target_shape
        return (1,) if is_one else (*dataset.target_shape, int(dataset.classes or 0))
    return tuple(dataset.target_shape) or (1,)


def settle_score(loss: Loss, targets: Any) -> Score:
    """How a step says how good it is."""
    if loss.target == "binary":
        return binary_accuracy
    if not is_array(targets) or backend_of(targets).xp.isdtype(targets.dtype, "integral"):
        return accuracy
    return r2(target_variance(targets))


def metric_name(loss: Loss, targets: Any) -> str:
    """What the score is called."""
    return "accuracy" if settle_score(loss, targets) in (accuracy, binary_accuracy) else "r2"


def settle_network(
    network: Network, data: TrainingData, config: TrainConfig, iterations: int, group: Group = ALONE
) -> None:
    """Freeze what the configuration says, check that batches can be mixed and are large enough, normalise inputs."""
    check_mixing(config.mixing, network, data.train.targets, group.size * config.accumulate)
    if config.freeze:
        network.freeze(*config.freeze)
    if data.count and (iterations >= data.batches_per_epoch or config.accumulate > 1):
        parts = config.accumulate * (1 if config.sync_batch_norm else group.size)
        _check_last_batch(network, data, config, parts)
    normalize_inputs(network, data.train, config)


def normalize_inputs(network: Network, train: Part, config: TrainConfig) -> None:
    """Give an untrained network the mean and scale of its training inputs, unless somebody has set them.

    x' = (x - mean)/std for each channel, or (x - mean)·s with a number s; channels that never change are only shifted.
    Indices, which an ``Embedding`` takes, stay as they are.
    """
    if network.layer.index_count is not None:
        return
    if config.normalize is False or not network.is_untrained or _is_set(network):
        return
    mean, std = input_statistics(train.inputs)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        channel = int(np.argmin(np.isfinite(mean) & np.isfinite(std)))
        raise InputError(
            f"Training inputs: expected a finite mean and standard deviation, got {mean[channel]:.3g} and "
            f"{std[channel]:.3g} in {'feature' if train.inputs.ndim == 2 else 'channel'} {channel}. Scale the inputs."
        )
    scale = 1 / np.where(std > 0, std, 1.0) if config.normalize is True else config.normalize
    network.set_normalization(mean, scale)


def _is_set(network: Network) -> bool:
    name = network.normalization
    if name is None:
        return False
    state = network.state[name]
    return bool(np.any(to_numpy(state["mean"]) != 0) or np.any(to_numpy(state["scale"]) != 1))


def _check_last_batch(network: Network, data: TrainingData, config: TrainConfig, parts: int) -> None:
    """Refuse an epoch that ends with a batch of one example where batch normalisation would have one value to go by.

    So does a batch of which each of several ``parts`` is normalised by itself.
    """
    last = max(((data.count - 1) % config.batch_size + 1) // parts, 1)
    advice = "Use a smaller accumulate, or change batch_size." if config.accumulate > 1 else "Change batch_size."
    for name, layer, shape in network.layer.leaves(network.input_shape):
        if isinstance(layer, BatchNorm) and not layer.frozen and last * math.prod(shape[:-1]) == 1:
            raise InputError(
                f"Training: expected at least 2 examples in every batch for batch normalisation ('{name}'), got 1 in "
                f"{'a part of ' if parts > 1 else ''}the last one of {data.count:,} examples in batches of "
                f"{config.batch_size}. {advice}"
            )


def weights_only(network: Network) -> Array:
    """1 for the weights of dense and convolutional layers, 0 for biases and the scales of normalisation."""
    slots = network.layout.slots()
    return network.mask(lambda name: len(slots[name].shape) > 1)


def step_of(
    network: Network, config: TrainConfig, targets: Any, mixed: MixedPrecision | None, group: Group, sent: str | None
) -> Callable[..., tuple[TrainState, StepMetrics]]:
    """A configuration's step, of gradients ``sent`` in a dtype; ``lr_scale`` is the whole rate, to round as arrays."""
    return make_step(
        network,
        dataclasses.replace(config.optimizer, learning_rate=1.0),
        settle_score(network.loss, targets),
        clip_norm=config.clip_norm,
        augmentation=config.augmentation,
        mixing=config.mixing,
        mixed=mixed,
        group=group,
        allreduce_dtype=sent,
        accumulate=config.accumulate,
    )


def first_state(network: Network, config: TrainConfig, mixed: MixedPrecision | None) -> TrainState:
    """The network's values, of which an average begins as a copy, and what the optimizer knows."""
    average = {"theta": network.theta, "state": network.state} if config.ema else {}
    return TrainState(network.theta, network.state, _first_optimizer_state(network, config, mixed), average)


def _first_optimizer_state(network: Network, config: TrainConfig, mixed: MixedPrecision | None) -> OptimizerState:
    """What the optimizer remembers of the network's last training, if it has the same form.

    A change of learning rate or weight decay keeps it.
    """
    with network.backend.current():
        fresh = {**config.optimizer.init(network.theta), **(mixed.init(network.theta) if mixed else {})}
    before, state = network.optimizer_memory or (None, {})
    rates = {"learning_rate": config.optimizer.learning_rate, "weight_decay": config.optimizer.weight_decay}
    is_alike = before is not None and dataclasses.replace(before, **rates) == config.optimizer
    return state if is_alike and state.keys() == fresh.keys() else fresh
