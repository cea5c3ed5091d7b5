"""What ``Network.fit`` and ``Network.evaluate`` do: from arrays, data sets and iterables to a trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backend import Array, backend_of, is_array, same_location
from xpnet.datasets import Dataset
from xpnet.datasets.arrays import as_inputs
from xpnet.errors import InputError
from xpnet.network import Network, with_channel
from xpnet.optimizers import Adam
from xpnet.runtime import Runtime
from xpnet.schedules import Constant
from xpnet.training.callbacks import Callback
from xpnet.training.config import TrainConfig
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
    if epochs is None and iterations is None:
        epochs = 1
    data, validation = _data(network, x, y, validation)
    _move_to(network, data)
    config = TrainConfig(
        optimizer=optimizer or Adam(),
        schedule=schedule or Constant(),
        epochs=epochs,
        iterations=iterations,
        validation=validation,
        **settings,
    )
    trainer = Trainer(network, data, config, runtime, sample_weight=sample_weight, order=network.fits)
    network.fits += 1
    if not progress:
        return trainer.run(callbacks)
    with closing(ProgressBar()) as bar:
        return trainer.run([*callbacks, bar])


def evaluate(network: Network, x: Any, y: Any) -> AnyEvaluation:
    """Evaluate a network as ``Network.evaluate`` says."""
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
        data = Dataset("arrays", _inputs(network, x), y, class_names=network.class_names)
        inputs, targets = data.train_inputs, data.train_targets
    check_fits(network, data)
    with network.backend.current(), np.errstate(over="ignore", invalid="ignore"):
        return Evaluator(network)(network.theta, network.state, inputs, targets)


def _data(network: Network, x: Any, y: Any, validation: Any) -> tuple[Any, Any]:
    """The data set (or iterable of batches), and the validation that is still to be split off."""
    part, rest = None, validation
    if isinstance(validation, tuple | list):
        if len(validation) != 2:
            raise InputError(f"fit: expected validation data (x, y), got {len(validation)} values. Pass two arrays.")
        part, rest = (_inputs(network, validation[0]), validation[1]), None
    if isinstance(x, Dataset):
        if y is not None:
            raise InputError("fit: expected no y beside a data set, which has its own targets, got one. Remove y.")
        if validation is not None and x.validation_inputs is not None:
            raise InputError(
                f"fit: expected no validation beside {x.name}, which has its own, got one. Remove validation."
            )
        return x if part is None else replace(x, validation_inputs=part[0], validation_targets=part[1]), rest
    if y is None:
        if is_array(x) or not isinstance(x, Iterable):
            raise InputError(
                f"fit: expected targets y for the inputs x, got x ({type(x).__name__}) without y. "
                "Call fit(x, y), or pass a Dataset or an iterable of batches (x, y)."
            )
        if validation is not None:
            raise InputError("fit: expected no validation with an iterable of batches. Evaluate after fit instead.")
        return x, None
    return Dataset.from_arrays(_inputs(network, x), y, validation=part, class_names=network.class_names), rest


def _inputs(network: Network, x: Any) -> Any:
    """Inputs as an array, of images without a channel axis as the network takes them."""
    return with_channel(as_inputs("x", x), network.input_shape)


def _move_to(network: Network, data: Any) -> None:
    """Move a network that nobody has placed to the library and device of its data."""
    if network.is_placed or not isinstance(data, Dataset) or not is_array(data.train_inputs):
        return
    if not same_location(network.theta, data.train_inputs):
        network.move(backend_of(data.train_inputs))
