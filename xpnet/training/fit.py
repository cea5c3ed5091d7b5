"""What ``Network.fit`` and ``Network.evaluate`` do: from arrays, data sets and iterables to a trainer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from xpnet.backend import Array, backend_of, is_array
from xpnet.datasets import Dataset
from xpnet.errors import InputError
from xpnet.network import Network
from xpnet.optimizers import Adam
from xpnet.random import generator
from xpnet.runtime import Runtime
from xpnet.schedules import Constant
from xpnet.training.callbacks import Callback
from xpnet.training.config import TrainConfig
from xpnet.training.evaluation import AnyEvaluation, Evaluator
from xpnet.training.history import History
from xpnet.training.progress import ProgressBar
from xpnet.training.trainer import Trainer, check_fits


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
    seed: int,
    **settings: Any,
) -> History:
    """Train a network as ``Network.fit`` says."""
    if epochs is None and iterations is None:
        epochs = 1
    data, validation = _data(x, y, validation, network.class_names)
    _move_to(network, data)
    config = TrainConfig(
        optimizer=optimizer or Adam(),
        schedule=schedule or Constant(),
        epochs=epochs,
        iterations=iterations,
        validation=validation,
        seed=_seed(seed, network.fits),
        **settings,
    )
    trainer = Trainer(network, data, config, runtime, sample_weight=sample_weight)
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
                f"Evaluation: expected a data set with a test part, got {data.name} without. Give x and y."
            )
        inputs, targets = data.test_inputs, data.test_targets
    else:
        if y is None:
            raise InputError("Evaluation: expected targets y for the inputs x, got None. Give net.evaluate(x, y).")
        data = Dataset.from_arrays(x, y, class_names=network.class_names, name="x and y")
        inputs, targets = data.train_inputs, data.train_targets
    check_fits(network, data)
    return Evaluator(network)(network.theta, network.state, inputs, targets)


def _data(x: Any, y: Any, validation: Any, class_names: tuple[str, ...] | None) -> tuple[Any, Any]:
    """The data set (or iterable of batches), and the validation that is still to be split off."""
    part = tuple(validation) if isinstance(validation, tuple | list) else None
    if part is not None and len(part) != 2:
        raise InputError(f"fit: expected validation data (x, y), got {len(part)} values. Give two arrays.")
    if isinstance(x, Dataset):
        if y is not None:
            raise InputError("fit: expected no y beside a data set, which has its own targets, got one. Leave it out.")
        return x, None if x.validation_inputs is not None else validation
    if y is None:
        if is_array(x) or not isinstance(x, Iterable):
            raise InputError(
                f"fit: expected targets y for the inputs x, got None. Give fit(x, y), a Dataset, or an iterable of "
                f"batches (x, y); x is {type(x).__name__}."
            )
        if validation is not None:
            raise InputError("fit: expected no validation with an iterable of batches. Evaluate after fit instead.")
        return x, None
    data = Dataset.from_arrays(x, y, validation=part, class_names=class_names)
    return data, None if part is not None else validation


def _move_to(network: Network, data: Any) -> None:
    """Move a network that nobody has placed to the library and device of its data."""
    if network.is_placed or not isinstance(data, Dataset) or not is_array(data.train_inputs):
        return
    network.move(backend_of(data.train_inputs))


def _seed(seed: int, fits: int) -> int:
    """Another order of batches in each call of ``fit``."""
    return seed if fits == 0 else int(generator(seed, fits).integers(2**32))
