"""Runs from flat settings: recipes, what replaces them, what is refused; and runs in JSON."""

import dataclasses
import json
import math

import pytest

from tests.helpers import refused
from xpnet import models
from xpnet.datasets.augment import Cutout, HorizontalFlip, RandomCrop
from xpnet.losses import Focal, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.models import registry
from xpnet.optimizers import OPTIMIZERS, SGD, AdaGrad, Adam, AdamW, Momentum, RMSProp
from xpnet.runs import RunConfig
from xpnet.runs.settings import make_run
from xpnet.schedules import Constant, Cosine, Exponential, InverseTime, ReduceOnPlateau, Step, Warmup
from xpnet.training import CutMix, EarlyStopping, Mixup

OWN_SETTINGS = {
    "sgd": {},
    "momentum": {"momentum": 0.8, "momentum_form": "nesterov"},
    "adagrad": {"lr_decay": 0.1, "epsilon": 1e-6},
    "rmsprop": {"rho": 0.8, "epsilon": 1e-6},
    "adam": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-6, "amsgrad": True},
    "adamw": {"beta1": 0.8, "beta2": 0.9, "epsilon": 1e-6, "amsgrad": True},
}
NOT_ITS_OWN = [
    (optimizer, name, value)
    for optimizer, own in OWN_SETTINGS.items()
    for name, value in {name: value for others in OWN_SETTINGS.values() for name, value in others.items()}.items()
    if name not in own
]


def train(**settings):
    return make_run(**{"model": "mnist_starter", **settings}).train


def test_a_recipe_may_have_a_schedule_and_augmentation():
    recipe = train(model="cifar10_cnn")
    assert recipe.schedule == Cosine()
    assert recipe.augmentation == (RandomCrop(2), HorizontalFlip())
    changed = train(model="cifar10_cnn", schedule="step", schedule_every=10, flip=False)
    assert changed.schedule == Step(10, 0.1)
    assert changed.augmentation == (RandomCrop(2),)
    assert train(model="cifar10_cnn", crop_padding=0, cutout=3).augmentation == (HorizontalFlip(), Cutout(3))


def test_mixing_is_one_of_two_or_left_out():
    assert train().mixing is None
    assert train(mixup=0.2).mixing == train(mixup=0.2, cutmix=0).mixing == Mixup(0.2)
    assert train(cutmix=1).mixing == CutMix(1)
    assert train(mixup=0, cutmix=0).mixing is None
    with refused("mixup or cutmix"):
        train(mixup=0.2, cutmix=1.0)
    run = make_run("mnist_starter", cutmix=0.5)
    assert RunConfig.from_json(json.loads(json.dumps(run.to_json()))) == run


def test_mnist_starter_is_trained_as_published():
    run = make_run("mnist_starter")
    assert (run.data, run.train.iterations, run.train.epochs, run.train.batch_size) == ("mnist", 3000, None, 16)
    assert run.train.optimizer == Momentum(0.1, 0.9, 0.005, "moving-average")
    assert (run.train.normalize, run.train.validation, run.train.limit) == (1 / 255, "auto", None)
    assert run.train.report_every == 100


def test_cifar10_starter_is_trained_as_published():
    run = make_run("cifar10_starter")
    assert (run.data, run.train.iterations, run.train.batch_size) == ("cifar10", 5000, 16)
    assert run.train.optimizer == Momentum(1e-3, 0.95, 0.001)
    assert (run.train.normalize, run.train.limit) == (1, 20_000 - 2000)  # the rest is for validation


def test_what_is_given_replaces_what_was_published():
    config = train(learning_rate=0.01, seed=None)
    assert (config.optimizer.learning_rate, config.seed) == (0.01, 0)


def test_epochs_and_iterations_replace_each_other():
    assert (train(epochs=2).iterations, train(epochs=2).epochs) == (None, 2)
    config = train(model="cnn_32_64", iterations=7)
    assert (config.iterations, config.epochs) == (7, None)


def test_the_published_limit_holds_for_the_published_data_only():
    assert train(model="cifar10_starter", data="mnist").limit is None
    assert train(model="cifar10_starter", data="cifar10").limit == 18_000


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ("sgd", SGD(0.2, 0.3)),
        ("momentum", Momentum(0.2, 0.8, 0.3, "nesterov")),
        ("adagrad", AdaGrad(0.2, 0.3, 0.1, 1e-6)),
        ("rmsprop", RMSProp(0.2, 0.3, 0.8, 1e-6)),
        ("adam", Adam(0.2, 0.3, 0.8, 0.9, 1e-6, amsgrad=True)),
        ("adamw", AdamW(0.2, 0.3, 0.8, 0.9, 1e-6, amsgrad=True)),
    ],
)
def test_every_optimizer_has_its_settings(optimizer, expected):
    made = train(optimizer=optimizer, learning_rate=0.2, weight_decay=0.3, **OWN_SETTINGS[optimizer]).optimizer
    assert type(made) is type(expected)
    assert made == expected


@pytest.mark.parametrize(("optimizer", "name", "value"), NOT_ITS_OWN)
def test_settings_of_other_optimizers_are_refused(optimizer, name, value):
    with refused(f"no {name} with the optimizer {optimizer}", f"got {value}"):
        train(optimizer=optimizer, **{name: value})


def test_a_refused_setting_says_where_it_belongs():
    with refused("adam or adamw"):
        train(beta2=0.9)


@pytest.mark.parametrize(
    ("optimizer", "learning_rate"),
    [("sgd", 0.1), ("adagrad", 0.01), ("rmsprop", 0.01), ("adam", 0.001), ("adamw", 0.001)],
)
def test_another_optimizer_has_its_own_learning_rate_if_any(optimizer, learning_rate):
    assert train(optimizer=optimizer).optimizer.learning_rate == learning_rate
    assert train(optimizer=optimizer, learning_rate=0.7).optimizer.learning_rate == 0.7


@pytest.mark.parametrize("model", ["mnist_starter", "mlp"])
def test_another_optimizer_keeps_the_weight_decay_unless_its_own_is_decoupled(model):
    for optimizer in OPTIMIZERS:
        expected = 0.01 if optimizer == "adamw" else models.recipe(model).train.optimizer.weight_decay
        assert train(model=model, optimizer=optimizer).optimizer.weight_decay == expected
    assert train(model=model, optimizer="adamw", weight_decay=0.0).optimizer.weight_decay == 0


def test_a_recipe_names_its_optimizer(monkeypatch):
    published = models.recipe("mnist_starter")
    recipe = dataclasses.replace(published, train=dataclasses.replace(published.train, optimizer=Adam(0.003)))
    model = dataclasses.replace(registry.find("mnist_starter"), recipe=recipe)
    monkeypatch.setitem(registry._MODELS, "with_adam", model)
    assert train(model="with_adam").optimizer == Adam(0.003)
    assert train(model="with_adam", beta1=0.8).optimizer == Adam(0.003, beta1=0.8)
    assert train(model="with_adam", optimizer="rmsprop").optimizer == RMSProp()
    assert train(model="with_adam", optimizer="momentum").optimizer == Momentum(0.003)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Constant()),
        ({"schedule": "step", "schedule_every": 7}, Step(7)),
        ({"schedule": "step", "schedule_every": 7, "schedule_gamma": 0.5}, Step(7, 0.5)),
        ({"schedule": "exponential", "schedule_every": 7, "schedule_gamma": 0.5}, Exponential(7, 0.5)),
        ({"schedule": "inverse-time", "schedule_every": 7}, InverseTime(7)),
        ({"schedule": "cosine"}, Cosine()),
        ({"schedule": "cosine", "schedule_minimum": 0.2, "warmup": 30}, Warmup(30, Cosine(minimum=0.2))),
        ({"warmup": 5}, Warmup(5, Constant())),
        ({"schedule": "plateau", "schedule_patience": 3, "schedule_gamma": 0.5}, ReduceOnPlateau(3, 0.5)),
    ],
)
def test_schedules(settings, expected):
    assert train(**settings).schedule == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"loss": "cross-entropy"}, SoftmaxCrossEntropy()),
        ({"label_smoothing": 0.1}, SoftmaxCrossEntropy(0.1)),
        ({"loss": "focal", "focal_gamma": 1.0}, Focal(1.0)),
        ({"loss": "mean-squared-error"}, MeanSquaredError()),
    ],
)
def test_losses(settings, expected):
    assert train(**settings).loss == expected


def test_early_stopping_and_its_least_gain():
    assert train().early_stopping is None
    assert train(early_stopping=3).early_stopping == EarlyStopping(3)
    assert train(early_stopping=3, min_delta=0.01).early_stopping == EarlyStopping(3, 0.01)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "lenet6"}, ["expected one of", "'lenet5'"]),
        ({"optimizer": "descent"}, ["optimizer", "'descent'"]),
        ({"optimizer": "adam", "beta1": 1.0}, ["beta1"]),
        ({"clip_norm": math.inf}, ["norm"]),
        ({"schedule": "linear"}, ["schedule", "'linear'"]),
        ({"schedule": "step"}, ["expected schedule_every with the schedule step, got none"]),
        ({"schedule": "inverse-time"}, ["expected schedule_every with the schedule inverse-time, got none"]),
        ({"schedule_gamma": 0.5}, ["no schedule_gamma with the schedule constant", "step or exponential or plateau"]),
        ({"schedule": "cosine", "schedule_every": 7}, ["no schedule_every with the schedule cosine"]),
        ({"schedule": "plateau", "schedule_minimum": 0.1}, ["no schedule_minimum with the schedule plateau"]),
        ({"schedule": "plateau", "schedule_patience": 0}, ["patience"]),
        ({"schedule": "step", "schedule_every": 0}, ["every"]),
        ({"warmup": -1}, ["steps"]),
        ({"warmup": 3000}, ["3000 iterations"]),
        ({"early_stopping": 0}, ["patience"]),
        ({"min_delta": 0.1}, ["early_stopping"]),
        ({"loss": "hinge"}, ["loss", "'hinge'"]),
        ({"loss": "mean-squared-error", "label_smoothing": 0.1}, ["no label_smoothing with the loss"]),
        ({"label_smoothing": 1.0}, ["label_smoothing"]),
        ({"crop_padding": -1}, ["padding"]),
        ({"cutout": -1}, ["size"]),
        ({"learning_rate": -1.0}, ["learning_rate"]),
        ({"weight_decay": math.nan}, ["weight_decay"]),
        ({"momentum": 1.0}, ["momentum"]),
        ({"momentum_form": "nestrov"}, ["'nesterov'"]),
        ({"colour": 1}, ["Run, setting", "'colour'"]),
        ({"replace_head": True}, ["weights"]),
        ({"data": "a\0b"}, ["data", "printable"]),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with refused(*words):
        make_run(**{"model": "mnist_starter", **settings})


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_survives_json(optimizer):
    run = make_run(
        "mlp",
        optimizer=optimizer,
        schedule="cosine",
        warmup=10,
        clip_norm=1.0,
        hidden=(3, 4),
        loss="focal",
        early_stopping=2,
        cutout=3,
        flip=True,
        freeze=("a*",),
        threads=2,
        image_size=(8, 9),
        class_weight={1: 2.0, "three": 0.5},
    )
    assert RunConfig.from_json(json.loads(json.dumps(run.to_json()))) == run


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 1}, "version"),
        ({"version": None}, "version"),
        ({"colour": 1}, "colour"),
        ({"model": 3}, "expected one of"),
        ({"data_dir": ["/x"]}, "data_dir"),
        ({"train": {}}, "train"),
        ({"train": None}, "train"),
        ({"runtime": {"type": "TrainConfig"}}, "runtime"),
        ({"model_options": []}, "model_options"),
        ({"runtime": {"type": "Runtime", "threads": "2"}}, "threads"),
        ({"train": {"type": "TrainConfig", "batch_size": 16.0}}, "batch_size"),
        ({"train": {"type": "TrainConfig", "optimizer": {"type": "SGD", "learning_rate": "0.1"}}}, ""),
        ({"train": {"type": "Popen", "args": ["true"]}}, ""),
    ],
)
def test_settings_of_a_file_that_somebody_changed_are_refused(change, words, tmp_path):
    """In one line, as reading a run's folder gives it."""
    from xpnet.runs.folder import RunFolder

    values = json.loads(json.dumps(make_run("mlp").to_json()))
    (tmp_path / "config.json").write_text(json.dumps({**values, **change}))
    with refused(f"{tmp_path / 'config.json'}: expected the settings of a run", words):
        RunFolder(tmp_path).read_config()
