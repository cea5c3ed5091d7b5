"""Everything that decides how a training run goes."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from xpnet import kernels, models
from xpnet.checks import check_above_zero, pick
from xpnet.datasets.augment import Augmentation, Cutout, HorizontalFlip, RandomCrop
from xpnet.errors import InputError
from xpnet.losses import LOSSES, Loss, SoftmaxCrossEntropy
from xpnet.optimizers import OPTIMIZERS, Optimizer, check_clip_norm
from xpnet.schedules import SCHEDULES, Constant, ReduceOnPlateau, Schedule, Warmup
from xpnet.shapes import check_positive, is_whole

PRECISIONS = (*kernels.PRECISIONS, "float16")
_KINDS: Mapping[str, Mapping[str, type]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
# Settings of a run that an optimizer or schedule may have, and what it calls them.
_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "optimizer": {
        "learning_rate": "learning_rate",
        "weight_decay": "weight_decay",
        "momentum": "momentum",
        "momentum_form": "form",
        "lr_decay": "lr_decay",
        "rho": "rho",
        "beta1": "beta1",
        "beta2": "beta2",
        "epsilon": "epsilon",
        "amsgrad": "amsgrad",
    },
    "schedule": {
        "schedule_every": "every",
        "schedule_gamma": "gamma",
        "schedule_minimum": "minimum",
        "schedule_patience": "patience",
    },
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of one run; with the seed, all that is needed to repeat it.

    ``pixel_scale`` is what pixels are multiplied by once each channel's mean is subtracted, ``validation_images`` how
    many training images are split off where the data set has no validation part (None: 2,000, or a tenth if that is
    less). ``crop_padding``, ``flip`` and ``cutout`` are those of ``datasets.augment``, 0 or False for none,
    ``loss`` a name in ``losses.LOSSES``.

    ``weights`` is a file or a run's folder to start from; with ``replace_head``, all but the last layer of it;
    ``load_weights`` says what it may be. ``freeze`` names parameters that stay as they are, as ``Network.freeze`` does,
    with the running statistics of a batch normalisation that is frozen whole.
    ``decay_biases`` False spares biases and the scales of batch normalisation weight decay.

    ``image_size`` is the height and width that the images of a folder are brought to.

    ``threads`` and ``kernels`` are what programs tell their process, since rounding depends on them: how many threads
    share NumPy's convolutions, and whether only the "pure" kernels may serve or cuDNN's as well.
    ``precision`` "tf32" lets float32 be multiplied less exactly on CuPy arrays; "float16" computes forward and backward
    passes in that, as ``mixed_precision`` says.
    With ``graph`` CuPy replays the step as one CUDA graph; with ``deterministic`` a GPU gives the same bits each time.

    Either ``iterations`` or ``epochs`` says how long. ``limit`` is the number of images to train on (None: all that are
    not for validation), ``report_every`` the iterations between two lines of the history, ``model_options`` what
    ``models.create`` takes for this model. With ``measure_training`` the training accuracy is measured on all training
    images at each report. ``schedule_every`` and ``warmup`` are counted in iterations,
    ``schedule_patience`` and ``early_stopping`` (a patience too) in reports.
    Gradients longer than ``clip_norm`` are shortened to it.

    What the model's recipe always says has no default here; see ``for_model``.

    Settings that only some optimizers or schedules have are None where their own defaults hold or they do not belong.

    Raises InputError if a setting is of another type or out of range, or does not belong to the chosen optimizer or
    schedule.
    """

    model: str
    data: str
    batch_size: int
    optimizer: str
    learning_rate: float
    pixel_scale: float
    validation_images: int | None = None
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_dir: str | None = None
    image_size: list[int] | None = None
    weights: str | None = None
    replace_head: bool = False
    freeze: list[str] | None = None
    device: str = "cpu"
    backend: str | None = None
    dtype: str = "float32"
    threads: int | None = None
    kernels: str = "fastest"
    precision: str = "float32"
    graph: bool = False
    deterministic: bool = False
    seed: int = 0
    iterations: int | None = None
    epochs: int | None = None
    weight_decay: float = 0.0
    decay_biases: bool = True
    momentum: float | None = None
    momentum_form: str | None = None
    lr_decay: float | None = None
    rho: float | None = None
    beta1: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    amsgrad: bool | None = None
    clip_norm: float | None = None
    schedule: str = "constant"
    schedule_every: int | None = None
    schedule_gamma: float | None = None
    schedule_minimum: float | None = None
    schedule_patience: int | None = None
    warmup: int | None = None
    early_stopping: int | None = None
    limit: int | None = None
    report_every: int = 100
    measure_training: bool = False
    loss: str = "cross-entropy"
    label_smoothing: float | None = None
    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(TrainConfig).items():
            if not _fits(getattr(self, name), kind):
                raise InputError(
                    f"Training: expected {name} to be {_kind_text(kind)}, got {getattr(self, name)!r}. Change {name}."
                )
        for name in ("batch_size", "report_every"):
            check_positive("Training", name, getattr(self, name))
        for name in ("threads", "iterations", "epochs", "limit", "validation_images", "warmup", "early_stopping"):
            if getattr(self, name) is not None:
                check_positive("Training", name, getattr(self, name))
        if (self.iterations is None) == (self.epochs is None):
            raise InputError("Training: expected either iterations or epochs, got both or none. Give one of them.")
        if self.replace_head and self.weights is None:
            raise InputError("Training: expected weights with replace_head, got none. Give a file, or leave it out.")
        pick("Training, precision", dict.fromkeys(PRECISIONS), self.precision)
        if self.precision == "float16" and self.dtype != "float32":
            raise InputError(
                f"Training: expected dtype float32 with precision float16, got {self.dtype}. Leave one of them out."
            )
        check_above_zero("Training", "pixel_scale", self.pixel_scale, "Try 1/255.")
        if self.clip_norm is not None:
            check_clip_norm(self.clip_norm)
        # These check their own settings. Of a run in epochs the iterations are not known yet; any number will do.
        self.make_optimizer()
        self.make_schedule(self.iterations or (self.warmup or 0) + 1)
        self.make_plateau()
        self.make_loss()
        self.make_augmentation()

    @classmethod
    def for_model(cls, model: str, **overrides: Any) -> TrainConfig:
        """The model's published settings, with those given (not None) in their place.

        With another optimizer than the published one, the published momentum goes, and so does the published learning
        rate if the optimizer has a default of its own: the steps of those that have do not grow with the gradient. The
        weight decay goes if the optimizer's own default is not 0, as is AdamW's, whose decay is no term of the loss.

        Raises InputError for an unknown model.
        """
        settings = {key: value for key, value in dataclasses.asdict(models.recipe(model)).items() if value is not None}
        if "train_images" in settings:
            settings["limit"] = settings.pop("train_images")
        overrides = {name: value for name, value in overrides.items() if value is not None}
        if "epochs" in overrides or "iterations" in overrides:
            settings.pop("epochs", None)
            settings.pop("iterations", None)
        if overrides.get("data", settings["data"]) != settings["data"]:
            settings.pop("limit", None)  # the published number of images belongs to the published data
        optimizer = overrides.get("optimizer", settings["optimizer"])
        defaults = _defaults("optimizer", optimizer)
        if optimizer != settings["optimizer"]:
            settings.pop("momentum", None)
            settings.pop("momentum_form", None)
            for name in ("learning_rate", "weight_decay"):
                if defaults.get(name):
                    del settings[name]
        defaults |= _defaults("schedule", overrides.get("schedule", settings.get("schedule", cls.schedule)))
        return cls(model=model, **{**defaults, **settings, **overrides})

    def make_loss(self) -> Loss:
        """The loss that these settings describe."""
        kind = pick("Training, loss", LOSSES, self.loss)
        if self.label_smoothing is None:
            return kind()
        if self.loss != "cross-entropy":
            raise InputError(f"Training: expected no label_smoothing with the loss {self.loss}. Leave it out.")
        return SoftmaxCrossEntropy(self.label_smoothing)

    def make_augmentation(self) -> tuple[Augmentation, ...]:
        """The random changes of training images that these settings describe, in order."""
        crop = (RandomCrop(self.crop_padding),) if self.crop_padding else ()
        flip = (HorizontalFlip(),) if self.flip else ()
        return (*crop, *flip, *((Cutout(self.cutout),) if self.cutout else ()))

    def make_optimizer(self) -> Optimizer:
        """The optimizer that these settings describe."""
        return _make("optimizer", self)

    def make_schedule(self, iterations: int) -> Schedule:
        """The schedule of a run of so many iterations; a cosine ends with it.

        Raises InputError if the warm-up is as long as the run.
        """
        warmup = self.warmup or 0
        if warmup >= iterations:
            raise InputError(
                f"Training: expected a warmup of less than {iterations} iterations, got {warmup}. Use fewer."
            )
        if self.schedule == "plateau":
            schedule = Constant()
        elif self.schedule == "cosine":
            schedule = _make("schedule", self, steps=iterations - warmup)
        else:
            schedule = _make("schedule", self)
        return Warmup(warmup, schedule) if warmup else schedule

    def make_plateau(self) -> ReduceOnPlateau | None:
        """What follows the validation accuracy, if that is the schedule."""
        return _make("schedule", self) if self.schedule == "plateau" else None


def _make(what: str, config: TrainConfig, **known: Any) -> Any:
    """The optimizer or schedule that a configuration names, with the settings it has there."""
    kind, names = _find(what, getattr(config, what)), _SETTINGS[what]
    given = {name: getattr(config, name) for name in names if getattr(config, name) is not None}
    for name, value in given.items():
        if not _has(kind, names[name]):
            owners = [key for key, other in _KINDS[what].items() if _has(other, names[name])]
            raise InputError(
                f"Training: expected no {name} with the {what} {getattr(config, what)}, got {value}. "
                f"Leave it out, or choose the {what} {' or '.join(owners)}."
            )
    for name in names:
        if _has(kind, names[name]) and not hasattr(kind, names[name]) and name not in given:
            raise InputError(f"Training: expected {name} with the {what} {getattr(config, what)}, got none. Give one.")
    return kind(**{names[name]: value for name, value in given.items()}, **known)


def _defaults(what: str, name: str) -> dict[str, Any]:
    """What an optimizer or schedule takes for its settings unless told otherwise."""
    kind = _find(what, name)  # a class, on which a dataclass keeps its fields' defaults
    return {ours: getattr(kind, theirs) for ours, theirs in _SETTINGS[what].items() if hasattr(kind, theirs)}


def _find(what: str, name: str) -> type:
    return pick(f"Training, {what}", _KINDS[what], name)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value, such as one read from a file, is of a field's type."""
    if get_origin(kind) is UnionType:
        return any(_fits(value, one) for one in get_args(kind))
    if kind is float:
        return isinstance(value, numbers.Real) and not isinstance(value, bool)
    if kind is int:
        return is_whole(value)
    if get_origin(kind) is list:
        return isinstance(value, list | tuple) and all(_fits(item, get_args(kind)[0]) for item in value)
    if kind is str:
        return isinstance(value, str) and value.isprintable()
    return isinstance(value, get_origin(kind) or kind)


def _kind_text(kind: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "a printable text",
        bool: "true or false",
        type(None): "nothing",
    }
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    return " or ".join(names.get(one, str(one).removeprefix("collections.abc.")) for one in kinds)


def _has(kind: Any, setting: str) -> bool:
    return setting in kind.__dataclass_fields__
