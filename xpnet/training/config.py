"""How a network is trained: everything that decides what it learns."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xpnet.checks import check_above_zero, check_bool
from xpnet.datasets.augment import Augmentation
from xpnet.errors import InputError, short
from xpnet.losses import Loss, checked_loss
from xpnet.optimizers import Adam, Optimizer
from xpnet.optimizers.clipping import check_clip_norm
from xpnet.random import check_seed
from xpnet.schedules import Constant, Schedule, for_run
from xpnet.shapes import check_positive, is_whole
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.mixing import Mixing


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one training; with the data and the network's seed, all that is needed to repeat it.

    Parameters
    ----------
    epochs, iterations
        How long: passes over the training examples, or steps of one batch each. One epoch if both are None.
    batch_size
        Examples in a step; the last one of an epoch may have fewer.
    accumulate
        In how many parts a batch is computed, one after the other: their gradients are added, with the result of the
        whole batch in the memory of one part. Batch normalisation alone sees each part by itself.
    optimizer
        One of ``xpnet.optimizers``.
    schedule
        The factor of the optimizer's learning rate in each step.
    loss
        None: the network's own or, if it was made without one, what fits the targets: cross-entropy for classes, binary
        cross-entropy for 0/1 targets, squared error for real ones.
    class_weight
        Weights by names or numbers of classes, or "balanced".
    augmentation
        Random changes of training images, applied in order (``xpnet.datasets.augment``).
    mixing
        Mixup or CutMix, which then blends the examples of a batch with each other, and learns the targets of both.
    normalize
        How an untrained network shifts and scales its inputs first: to mean 0 and standard deviation 1 for each channel
        (True), to mean 0 and by a fixed factor (a number, such as 1/255), or not at all (False).
    validation
        How many training examples are set apart where the data have no validation part: a number, a fraction, "auto"
        (2,000, or a tenth if that is less) or None.
    limit
        Number of examples to train on.
    clip_norm
        Longer gradients are shortened to this length.
    ema
        The decay d of a moving average of the weights (``xpnet.training.average``), which the network is given at each
        record and at the end, while training goes on without it; None: none.
    decay_biases
        False excludes biases and norm scales from weight decay.
    shuffle
        False takes the examples in the order they have.
    freeze
        Patterns of parameters that stay as they are (``Network.freeze``).
    early_stopping
        When to end without improvement; it counts reports, as ``ReduceOnPlateau`` does.
    report_every
        Iterations between two records; None: an epoch.
    measure_training
        True measures the training score on all training examples at each report; otherwise it is a moving average over
        the batches.
    sync_batch_norm
        Whether batch normalisation sees the whole batch where several ranks share it, so that results do not depend on
        their number; otherwise each normalises its own examples, and the running statistics are rank 0's.
    seed
        What batches, validation split, dropout and augmentation depend on.

    Raises
    ------
    InputError
        If a setting is of another type or out of range.

    Examples
    --------
    >>> config = TrainConfig(epochs=3, optimizer=Adam(1e-3), validation=0.1)
    >>> config.batch_size
    32
    """

    epochs: int | None = None
    iterations: int | None = None
    batch_size: int = 32
    accumulate: int = 1
    optimizer: Optimizer = Adam()
    schedule: Schedule = Constant()
    loss: Loss | None = None
    class_weight: Mapping[Any, float] | Literal["balanced"] | None = None
    augmentation: tuple[Augmentation, ...] = ()
    mixing: Mixing | None = None
    normalize: bool | float = True
    validation: int | float | Literal["auto"] | None = None
    limit: int | None = None
    clip_norm: float | None = None
    ema: float | None = None
    decay_biases: bool = True
    shuffle: bool = True
    freeze: tuple[str, ...] = ()
    early_stopping: EarlyStopping | None = None
    report_every: int | None = None
    measure_training: bool = False
    sync_batch_norm: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate"):
            check_positive("Training", name, getattr(self, name))
        if self.accumulate > self.batch_size:
            raise InputError(
                f"Training: expected accumulate to be at most batch_size, {self.batch_size}, got {self.accumulate}. "
                "Use fewer parts."
            )
        for name in ("epochs", "iterations", "limit", "report_every"):
            if getattr(self, name) is not None:
                check_positive("Training", name, getattr(self, name))
        if self.epochs and self.iterations:
            raise InputError("Training: expected either epochs or iterations, got both. Pass one of them.")
        for name in ("decay_biases", "shuffle", "measure_training", "sync_batch_norm"):
            check_bool("Training", name, getattr(self, name))
        check_seed(self.seed)
        _check_kind("optimizer", self.optimizer, Optimizer, "an optimizer", "xpnet.optimizers.Adam(1e-3)")
        _check_kind("schedule", self.schedule, Schedule, "a schedule", "xpnet.schedules.Cosine()")
        _check_kind("mixing", self.mixing, Mixing | None, "Mixup or CutMix", "xpnet.training.Mixup(0.2)")
        stopping = self.early_stopping
        _check_kind("early_stopping", stopping, EarlyStopping | None, "an EarlyStopping", "EarlyStopping(10)")
        if self.loss is not None:
            checked_loss("Training", self.loss)
        pairs: Any = self.class_weight
        if isinstance(pairs, tuple):  # from a file: JSON has no numbers as keys
            object.__setattr__(self, "class_weight", dict(pairs))
        object.__setattr__(self, "augmentation", _checked_augmentation(self.augmentation))
        if isinstance(self.freeze, str) or not all(isinstance(pattern, str) for pattern in self.freeze):
            raise InputError(
                f"Training: expected freeze to be a list of patterns, got {short(self.freeze)}. Pass a list."
            )
        object.__setattr__(self, "freeze", tuple(self.freeze))
        if not isinstance(self.normalize, bool):
            check_above_zero("Training", "normalize", self.normalize, "Pass True, False or a factor such as 1/255.")
        _check_validation(self.validation)
        if self.clip_norm is not None:
            check_clip_norm(self.clip_norm)
        if self.ema is not None and not (isinstance(self.ema, numbers.Real) and 0 < float(self.ema) < 1):
            raise InputError(f"Training: expected ema above 0 and below 1, got {short(self.ema)}. Try 0.999.")
        if self.iterations:
            for_run(self.schedule, self.iterations)


def _check_kind(name: str, value: Any, kind: Any, what: str, example: str) -> None:
    if not isinstance(value, kind) or isinstance(value, type):
        raise InputError(
            f"Training: expected {name} to be {what}, got {short(value)}. Pass an instance such as {example}."
        )


def _checked_augmentation(augmentation: Any) -> tuple[Augmentation, ...]:
    if not isinstance(augmentation, list | tuple):
        raise InputError(
            f"Training: expected augmentation to be a list, got {short(augmentation)}. "
            "Pass a list such as [RandomCrop(4), HorizontalFlip()]."
        )
    return tuple(augmentation)


def _check_validation(validation: Any) -> None:
    is_auto = isinstance(validation, str) and validation == "auto"
    if validation is None or is_auto or (is_whole(validation) and int(validation) > 0):
        return
    if not (isinstance(validation, numbers.Real) and 0 < float(validation) < 1):  # NaN is not
        raise InputError(
            f"Training: expected validation to be a number of examples, a fraction between 0 and 1, 'auto' or None, "
            f"got {short(validation)}. Try 0.1."
        )
