"""What ``Network.fit`` and ``Network.evaluate`` do: from arrays, data sets and iterables to a trainer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backend import Array, array_namespace, backend_of, has_kind, is_array, same_location
from xpnet.checks import check_kind
from xpnet.datasets import Dataset
from xpnet.datasets.arrays import as_array, as_inputs
from xpnet.datasets.prediction import with_channel
from xpnet.errors import InputError
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.optimizers import Adam
from xpnet.parallel import ALONE, Group
from xpnet.runtime import Runtime, configure_once
from xpnet.schedules import Constant
from xpnet.training.callbacks import Callback, check_callbacks
from xpnet.training.config import TrainConfig
from xpnet.training.data import check_part_range
from xpnet.training.evaluation import AnyEvaluation, Evaluator
from xpnet.training.history import History
from xpnet.training.progress import ProgressBar
from xpnet.training.setup import check_fits
from xpnet.training.trainer import Trainer


def fit(
    network: Network,
    x: Any,
    y: Any,
    *,
    validation: Any,
    sample_weight: Array | None,
    callbacks: Sequence[Callback],
    progress: bool,
    runtime: Runtime | None,
    optimizer: Any,
    schedule: Any,
    epochs: int | None,
    iterations: int | None,
    **settings: Any,
) -> History:
    """Train a network as ``Network.fit`` says."""
    callbacks = check_callbacks(callbacks)  # this and what follows: before anything changes
    if runtime is not None:
        check_kind("Training", "runtime", runtime, Runtime, "Runtime(device='cuda')")
    if epochs is None and iterations is None:
        epochs = 1
    config = TrainConfig(
        optimizer=optimizer or Adam(),
        schedule=schedule or Constant(),
        epochs=epochs,
        iterations=iterations,
        validation=None if isinstance(validation, tuple | list) else validation,
        **settings,
    )
    data = _data(network, x, y, validation, config.loss or network.own_loss)
    if runtime and not network.is_placed and (runtime.device or runtime.backend):
        network.to(runtime.own_device or "cpu", runtime.backend)
    data = _move_to(network, data)
    trainer = Trainer(network, data, config, runtime, sample_weight=sample_weight, order=network.fits)
    network.fits += 1
    if not progress:
        return trainer.run(callbacks)
    with closing(ProgressBar()) as bar:
        return trainer.run([*callbacks, bar])


def evaluate(network: Network, x: Any, y: Any, group: Group = ALONE) -> AnyEvaluation:
    """Evaluate a network as ``Network.evaluate`` says; the ranks of a group share the work."""
    if isinstance(x, Dataset):
        data = x
        if data.test_inputs is None:
            raise InputError(
                f"Evaluation: expected a data set with a test part, got {data.name} without one. Pass x and y."
            )
        inputs, targets = data.test_inputs, data.test_targets
    else:
        if y is None:
            raise InputError("Evaluation: expected targets y for the inputs x, got None. Call evaluate(x, y).")
        targets = _targets(network, y, network.own_loss if network.is_untrained else network.loss)
        data = Dataset("arrays", _inputs(network, x), targets, class_names=network.class_names)
        inputs, targets = data.train_inputs, data.train_targets
    check_fits(network, data)
    check_part_range(data, "test" if isinstance(x, Dataset) else "train", network.dtype)
    configure_once()
    with network.backend.current(), np.errstate(over="ignore", invalid="ignore"):
        return Evaluator(network, group)(network.theta, network.state, inputs, targets)


def _data(network: Network, x: Any, y: Any, validation: Any, loss: Loss | None) -> Any:
    """The data set, with validation data if they are given, or the iterable of batches."""
    part = None
    if isinstance(validation, tuple | list):
        if len(validation) != 2:
            raise InputError(f"fit: expected validation data (x, y), got {len(validation)} values. Pass two arrays.")
        part = _inputs(network, validation[0]), _targets(network, validation[1], loss)
    if isinstance(x, Dataset):
        if y is not None:
            raise InputError("fit: expected no y beside a data set, which has its own targets, got one. Remove y.")
        if validation is not None and x.validation_inputs is not None:
            raise InputError(
                f"fit: expected no validation beside {x.name}, which has its own, got one. Remove validation."
            )
        return x if part is None else replace(x, validation_inputs=part[0], validation_targets=part[1])
    if y is None:
        if is_array(x) or not isinstance(x, Iterable):
            raise InputError(
                f"fit: expected targets y for the inputs x, got x ({type(x).__name__}) without y. "
                "Call fit(x, y), or pass a Dataset or an iterable of batches (x, y)."
            )
        if validation is not None:
            raise InputError("fit: expected no validation with an iterable of batches. Evaluate after fit instead.")
        return x
    inputs, targets = _inputs(network, x), _targets(network, y, loss)
    return Dataset.from_arrays(inputs, targets, validation=part, class_names=network.class_names)


def _targets(network: Network, values: Any, loss: Loss | None) -> Any:
    """Targets as the loss takes them: integers become real numbers, and real numbers that are integers class numbers.

    Integers (N,) stay class numbers for a network with several outputs, whose squared error is that to one-hot rows.
    """
    array = as_array("y", values)
    if not is_array(array) or array.ndim > 2:
        return array
    is_vector = array.ndim == 1 and math.prod(network.output_shape) > 1
    kind = loss.target if loss else "classes" if is_vector else None
    xp = array_namespace(array)
    is_real = xp.isdtype(array.dtype, "real floating")
    if kind == "real" and not is_vector and xp.isdtype(array.dtype, ("bool", "integral")):
        return xp.astype(array, getattr(xp, network.dtype))
    if (
        kind == "classes"
        and is_real
        and array.ndim == 1
        and bool(xp.all(xp.isfinite(array) & (array == xp.round(array))))
    ):
        return xp.astype(array, xp.int32)
    if kind == "binary" and is_real and bool(xp.all((array == 0) | (array == 1))):
        return xp.astype(array, xp.bool)
    return array


def _inputs(network: Network, x: Any) -> Any:
    """Inputs as an array, of images without a channel axis as the network takes them."""
    if len(network.input_shape) == 2 and is_array(x) and has_kind(x, "integral"):  # sequences, not images
        xp = array_namespace(x)
        x = xp.astype(x, getattr(xp, network.dtype))
    return with_channel(as_inputs("x", x), network.input_shape)


def _move_to(network: Network, data: Any) -> Any:
    """Move a network that nobody has placed to the library and device of its data; returns the data."""
    if network.is_placed:
        return data
    if isinstance(data, Dataset):
        inputs = data.train_inputs
    else:
        inputs, data = _first_inputs(data)
    if is_array(inputs) and not same_location(network.theta, inputs):
        network.move(backend_of(inputs))
    return data


def _first_inputs(batches: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """The inputs of the first batch, if that is one, and the batches, of which none is lost."""
    iterator = iter(batches)
    first = next(iterator, None)
    if iterator is batches:  # a generator, which gives its batches once
        batches = iterator if first is None else itertools.chain([first], iterator)
    return first[0] if isinstance(first, tuple | list) and first else None, batches
