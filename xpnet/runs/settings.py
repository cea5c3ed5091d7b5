"""Runs from flat settings, as the flags of the command line and the spaces of a search name them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xpnet import models
from xpnet.checks import pick
from xpnet.datasets.augment import Augmentation, Cutout, HorizontalFlip, RandomCrop
from xpnet.errors import InputError
from xpnet.losses import CLASS_LOSSES, Loss
from xpnet.optimizers import OPTIMIZERS, Optimizer
from xpnet.runs.config import RunConfig
from xpnet.runtime import Runtime
from xpnet.schedules import SCHEDULES, Schedule, Warmup
from xpnet.training.config import TrainConfig
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.mixing import CutMix, Mixing, Mixup

MODEL_OPTIONS = ("hidden", "activation", "batch_norm", "dropout", "weight_init", "stem")
# Flat names of settings, by the objects that have them, and what they are called there.
OPTIMIZER = {
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
}
SCHEDULE = {
    "schedule_every": "every",
    "schedule_gamma": "gamma",
    "schedule_minimum": "minimum",
    "schedule_patience": "patience",
}
LOSS = {"label_smoothing": "label_smoothing", "focal_gamma": "gamma"}
AUGMENTATION: Mapping[str, type] = {"crop_padding": RandomCrop, "flip": HorizontalFlip, "cutout": Cutout}  # their order
MIXING: Mapping[str, type[Mixing]] = {"mixup": Mixup, "cutmix": CutMix}
EARLY_STOPPING = {"early_stopping": "patience", "min_delta": "min_delta"}
TRAIN = (
    "epochs",
    "iterations",
    "batch_size",
    "accumulate",
    "shuffle",
    "class_weight",
    "normalize",
    "validation",
    "limit",
    "clip_norm",
    "ema",
    "decay_biases",
    "freeze",
    "report_every",
    "measure_training",
    "sync_batch_norm",
    "seed",
)
RUNTIME = tuple(field.name for field in dataclasses.fields(Runtime))
RUN = ("data", "data_dir", "image_size", "weights", "replace_head")
SETTINGS = (
    *("model", *RUN, *MODEL_OPTIONS, *TRAIN, *RUNTIME, *AUGMENTATION, *MIXING, *EARLY_STOPPING),
    *("optimizer", *OPTIMIZER, "schedule", *SCHEDULE, "warmup", "loss", *LOSS),
)
# Flat names of what an object's own errors call otherwise, by its class.
FIELDS: Mapping[str, Mapping[str, str]] = {
    **{kind.__name__: {there: here for here, there in OPTIMIZER.items()} for kind in OPTIMIZERS.values()},
    **{kind.__name__: {there: here for here, there in SCHEDULE.items()} for kind in SCHEDULES.values()},
    **{kind.__name__: {there: here for here, there in LOSS.items()} for kind in CLASS_LOSSES.values()},
    "EarlyStopping": {there: here for here, there in EARLY_STOPPING.items()},
    "Warmup": {"steps": "warmup"},
    "RandomCrop": {"padding": "crop_padding"},
    "Cutout": {"size": "cutout"},
    **{kind.__name__: {"alpha": name} for name, kind in MIXING.items()},
    "Clipping": {"norm": "clip_norm"},
}


def make_run(model: str, **settings: Any) -> RunConfig:
    """A run of a model as its recipe says, with flat settings (those that are not None) in place of the recipe's.

    With another optimizer than the recipe's, momentum and its form are the optimizer's own; so is the learning rate if
    the optimizer has a default, and the weight decay if that default is not 0. Other data than the recipe's are taken
    whole.

    Raises InputError for an unknown model or setting, and for one that does not belong to the optimizer, schedule or
    loss.
    """
    recipe = models.recipe(model)
    given = {name: value for name, value in settings.items() if value is not None}
    options = {**given.pop("model_options", {}), **{name: given.pop(name) for name in MODEL_OPTIONS if name in given}}
    train = dict(vars(recipe.train))
    if "epochs" in given or "iterations" in given:
        train |= {"epochs": None, "iterations": None}
    if given.get("data", recipe.data) != recipe.data:
        train["limit"] = None  # the published number of examples belongs to the published data
    train["optimizer"] = _optimizer(recipe.train.optimizer, given)
    train["schedule"] = _schedule(recipe.train.schedule, given)
    train["loss"] = _loss(recipe.train.loss, given)
    train["augmentation"] = _augmentation(recipe.train.augmentation, given)
    train["mixing"] = _mixing(recipe.train.mixing, given)
    train["early_stopping"] = _early_stopping(recipe.train.early_stopping, given)
    train |= {name: given.pop(name) for name in TRAIN if name in given}
    train["validation"] = train["validation"] or None  # 0 is how a flag says it
    runtime = Runtime(**{"dtype": "float32", **{name: given.pop(name) for name in RUNTIME if name in given}})
    run = {name: given.pop(name) for name in RUN if name in given}
    if "image_size" in run:
        run["image_size"] = tuple(run["image_size"])
    if given:
        pick("Run, setting", dict.fromkeys(SETTINGS), next(iter(given)))
    return RunConfig(
        model=model,
        train=TrainConfig(**train),
        runtime=runtime,
        model_options=options,
        **{"data": recipe.data, **run},
    )


def change(run: RunConfig, **settings: Any) -> RunConfig:
    """A run with other flat settings of its optimizer or model options, such as those of a trial of a search."""
    options = {name: settings.pop(name) for name in MODEL_OPTIONS if name in settings}
    optimizer = replace(run.train.optimizer, **{OPTIMIZER[name]: value for name, value in settings.items()})
    train = replace(run.train, optimizer=optimizer)
    return replace(run, train=train, model_options={**run.model_options, **options})


def _optimizer(published: Optimizer, given: dict[str, Any]) -> Optimizer:
    name = given.pop("optimizer", name_of(OPTIMIZERS, published))
    kind = pick("Training, optimizer", OPTIMIZERS, name)
    settings = _settings_of("optimizer", name, OPTIMIZERS, OPTIMIZER, given)
    if type(published) is kind:
        return replace(published, **settings)
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for field in ("learning_rate", "weight_decay"):
        if defaults[field] is dataclasses.MISSING or not defaults[field]:
            settings.setdefault(field, getattr(published, field))
    return kind(**settings)


def _schedule(published: Schedule, given: dict[str, Any]) -> Schedule:
    warmup = given.pop("warmup", None)
    name = given.pop("schedule", name_of(SCHEDULES, published))
    kind = pick("Training, schedule", SCHEDULES, name)
    settings = _settings_of("schedule", name, SCHEDULES, SCHEDULE, given)
    if type(published) is kind:
        schedule = replace(published, **settings)  # pyright: ignore[reportArgumentType] (all of them are dataclasses)
    else:
        _require(kind, settings, f"schedule {name}", SCHEDULE)
        schedule = kind(**settings)
    return schedule if warmup is None else Warmup(warmup, schedule)


def _loss(published: Loss | None, given: dict[str, Any]) -> Loss | None:
    if "loss" not in given and not LOSS.keys() & given.keys():
        return published
    name = given.pop("loss", name_of(CLASS_LOSSES, published) if published else "cross-entropy")
    kind = pick("Training, loss", CLASS_LOSSES, name)
    settings = _settings_of("loss", name, CLASS_LOSSES, LOSS, given)
    if published is None or type(published) is not kind:
        return kind(**settings)
    return replace(published, **settings)  # pyright: ignore[reportArgumentType] (all of them are dataclasses)


def _early_stopping(published: EarlyStopping | None, given: dict[str, Any]) -> EarlyStopping | None:
    settings = {there: given.pop(here) for here, there in EARLY_STOPPING.items() if here in given}
    if "min_delta" in settings and "patience" not in settings and published is None:
        raise InputError("Training: expected early_stopping with min_delta, got none. Say how many reports to wait.")
    return EarlyStopping(**settings) if settings and published is None else published and replace(published, **settings)


def _augmentation(published: tuple[Augmentation, ...], given: dict[str, Any]) -> tuple[Augmentation, ...]:
    """The recipe's random changes, each replaced, added or (by 0 or False) left out where a setting says so."""
    kept = {type(one): one for one in published}
    for name, kind in AUGMENTATION.items():
        if name not in given:
            continue
        value = given.pop(name)
        kept.pop(kind, None)
        if value is True:
            kept[kind] = kind()
        elif value != 0:  # nor False
            kept[kind] = kind(value)
    ordered = [kept.pop(kind) for kind in AUGMENTATION.values() if kind in kept]
    return (*ordered, *kept.values())


def _mixing(published: Mixing | None, given: dict[str, Any]) -> Mixing | None:
    """The recipe's mixing, replaced by the one that a setting is for, or left out where its own setting is 0."""
    alphas = {kind: given.pop(name) for name, kind in MIXING.items() if name in given}
    chosen = [kind(alpha) for kind, alpha in alphas.items() if alpha != 0]
    if len(chosen) > 1:
        raise InputError("Training: expected mixup or cutmix, got both. Pass one of them.")
    return chosen[0] if chosen else None if type(published) in alphas else published


def _settings_of(
    what: str, name: str, kinds: Mapping[str, Any], names: Mapping[str, str], given: dict[str, Any]
) -> dict[str, Any]:
    """The given settings that belong to one kind of object; refuse those that belong to others of its sort."""
    settings = {}
    for here, there in names.items():
        if here not in given:
            continue
        value = given.pop(here)
        if not _has(kinds[name], there):
            owners = [other for other, kind in kinds.items() if _has(kind, there)]
            raise InputError(
                f"Training: expected no {here} with the {what} {name}, got {value}. "
                f"Leave it out, or choose the {what} {' or '.join(owners)}."
            )
        settings[there] = value
    return settings


def _require(kind: type, settings: Mapping[str, Any], what: str, names: Mapping[str, str]) -> None:
    for here, there in names.items():
        needed = [field for field in dataclasses.fields(kind) if field.name == there]
        if needed and needed[0].default is dataclasses.MISSING and there not in settings:
            raise InputError(f"Training: expected {here} with the {what}, got none. Set it.")


def _has(kind: Any, field: str) -> bool:
    return field in kind.__dataclass_fields__


def name_of(kinds: Mapping[str, type], value: Any) -> str:
    """The name that an object's class goes by on the command line."""
    return next(name for name, kind in kinds.items() if type(value) is kind)


def flatten(run: RunConfig) -> dict[str, Any]:
    """The flat settings of a run, the inverse of ``make_run``; None for those that its objects do not have."""
    train, schedule = run.train, run.train.schedule
    warmup = schedule.steps if isinstance(schedule, Warmup) else None
    schedule = schedule.then if isinstance(schedule, Warmup) else schedule
    augmentation = {type(one): one for one in train.augmentation}
    mixing = {type(train.mixing): train.mixing}
    return {
        "model": run.model,
        **{name: getattr(run, name) for name in RUN},
        **{name: run.model_options.get(name) for name in MODEL_OPTIONS},
        **{name: getattr(run.runtime, name) for name in RUNTIME},
        **{name: getattr(train, name) for name in TRAIN},
        "optimizer": name_of(OPTIMIZERS, train.optimizer),
        **{here: getattr(train.optimizer, there, None) for here, there in OPTIMIZER.items()},
        "schedule": name_of(SCHEDULES, schedule),
        **{here: getattr(schedule, there, None) for here, there in SCHEDULE.items()},
        "warmup": warmup,
        "loss": name_of(CLASS_LOSSES, train.loss) if train.loss else None,
        **{here: getattr(train.loss, there, None) for here, there in LOSS.items()},
        **{here: getattr(train.early_stopping, there, None) for here, there in EARLY_STOPPING.items()},
        "crop_padding": getattr(augmentation.get(RandomCrop), "padding", 0),
        "flip": HorizontalFlip in augmentation,
        "cutout": getattr(augmentation.get(Cutout), "size", 0),
        **{name: getattr(mixing.get(kind), "alpha", 0) for name, kind in MIXING.items()},
    }
