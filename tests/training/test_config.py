import dataclasses
import json
import math

import pytest

from tests.helpers import refused
from xpnet import models
from xpnet.datasets.augment import Augmentation
from xpnet.errors import InputError
from xpnet.models import registry
from xpnet.optimizers import OPTIMIZERS, SGD, AdaGrad, Adam, AdamW, Momentum, RMSProp
from xpnet.schedules import Constant, Cosine, Exponential, InverseTime, ReduceOnPlateau, Step, Warmup
from xpnet.training import TrainConfig

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


def make_config(**settings):
    needed = {"model": "mnist_starter", "data": "mnist", "batch_size": 16, "optimizer": "momentum"}
    needed |= {"learning_rate": 0.1, "pixel_scale": 1 / 255, "iterations": 100}
    return TrainConfig(**{**needed, **settings})


def test_a_recipe_may_have_a_schedule_and_augmentation():
    config = TrainConfig.for_model("cifar10_cnn")
    assert config.schedule_minimum == 0  # a default that config.json states
    assert config.make_schedule(100).factor(50) == pytest.approx(0.5)
    assert config.make_augmentation() == Augmentation(crop_padding=2, flip=True)
    changed = TrainConfig.for_model("cifar10_cnn", schedule="step", schedule_every=10, flip=False)
    assert changed.make_schedule(100).factor(10) == pytest.approx(0.1)
    assert changed.make_augmentation() == Augmentation(crop_padding=2)


def test_mnist_starter_is_trained_as_published():
    config = TrainConfig.for_model("mnist_starter")
    assert (config.data, config.iterations, config.epochs, config.batch_size) == ("mnist", 3000, None, 16)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.1, 0.9, 0.005)
    assert (config.momentum_form, config.pixel_scale) == ("moving-average", 1 / 255)
    assert (config.validation_images, config.limit, config.report_every) == (None, None, 100)


def test_cifar10_starter_is_trained_as_published():
    config = TrainConfig.for_model("cifar10_starter")
    assert (config.data, config.iterations, config.batch_size) == ("cifar10", 5000, 16)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (1e-3, 0.95, 0.001)
    assert config.pixel_scale == 1
    assert config.limit == 20_000 - 2000  # those for validation


def test_what_is_given_replaces_what_was_published():
    config = TrainConfig.for_model("mnist_starter", learning_rate=0.01, seed=None)
    assert (config.learning_rate, config.seed) == (0.01, 0)


def test_epochs_replace_iterations():
    config = TrainConfig.for_model("mnist_starter", epochs=2)
    assert (config.iterations, config.epochs) == (None, 2)


def test_iterations_replace_epochs():
    config = TrainConfig.for_model("cnn_32_64", iterations=7)
    assert (config.iterations, config.epochs) == (7, None)


def test_the_published_limit_holds_for_the_published_data_only():
    assert TrainConfig.for_model("cifar10_starter", data="mnist").limit is None
    assert TrainConfig.for_model("cifar10_starter", data="cifar10").limit == 18_000


def test_optimizer_has_the_settings():
    config = TrainConfig.for_model("mnist_starter", momentum_form="heavy-ball")
    assert config.make_optimizer() == Momentum(0.1, 0.9, 0.005, "heavy-ball")


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
    config = make_config(optimizer=optimizer, learning_rate=0.2, weight_decay=0.3, **OWN_SETTINGS[optimizer])
    made = config.make_optimizer()
    assert type(made) is type(expected)
    assert made == expected


def test_momentum_is_the_optimizer_of_settings_that_name_none():
    assert make_config(momentum=0.5, momentum_form="moving-average").make_optimizer() == Momentum(0.1, 0.5)


@pytest.mark.parametrize(("optimizer", "name", "value"), NOT_ITS_OWN)
def test_settings_of_other_optimizers_are_refused(optimizer, name, value):
    with pytest.raises(InputError, match=f"Training: expected no {name} with the optimizer {optimizer}, got {value}"):
        make_config(optimizer=optimizer, **{name: value})


def test_a_refused_setting_says_where_it_belongs():
    with pytest.raises(InputError, match=r"Leave it out, or choose the optimizer adam or adamw\."):
        make_config(beta2=0.9)


@pytest.mark.parametrize(
    ("optimizer", "learning_rate"),
    [("sgd", 0.1), ("adagrad", 0.01), ("rmsprop", 0.01), ("adam", 0.001), ("adamw", 0.001)],
)
def test_another_optimizer_has_its_own_learning_rate_if_any(optimizer, learning_rate):
    config = TrainConfig.for_model("mnist_starter", optimizer=optimizer)
    assert (config.learning_rate, config.momentum) == (learning_rate, None)
    assert TrainConfig.for_model("mnist_starter", optimizer=optimizer, learning_rate=0.7).learning_rate == 0.7


@pytest.mark.parametrize("model", ["mnist_starter", "mlp"])
def test_another_optimizer_keeps_the_weight_decay_unless_its_own_is_no_term_of_the_loss(model):
    for optimizer in OPTIMIZERS:
        expected = 0.01 if optimizer == "adamw" else models.recipe(model).weight_decay
        assert TrainConfig.for_model(model, optimizer=optimizer).make_optimizer().weight_decay == expected
    assert TrainConfig.for_model(model, optimizer="adamw", weight_decay=0.0).weight_decay == 0


def test_settings_of_a_model_hold_the_defaults_they_depend_on():
    config = TrainConfig.for_model("mnist_starter", optimizer="adam", schedule="plateau")
    assert (config.beta1, config.beta2, config.epsilon, config.amsgrad) == (0.9, 0.999, 1e-8, False)
    assert (config.schedule_patience, config.schedule_gamma, config.schedule_every) == (10, 0.1, None)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_settings_survive_json(optimizer):
    config = TrainConfig.for_model("mnist_starter", optimizer=optimizer, schedule="cosine", warmup=10, clip_norm=1.0)
    assert TrainConfig(**json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_recipe_names_its_optimizer(monkeypatch):
    recipe = dataclasses.replace(
        models.recipe("mnist_starter"), optimizer="adam", learning_rate=0.003, momentum=None, weight_decay=0.0
    )
    model = dataclasses.replace(registry._MODELS["mnist_starter"], recipe=recipe)
    monkeypatch.setitem(registry._MODELS, "with_adam", model)
    assert TrainConfig.for_model("with_adam").make_optimizer() == Adam(0.003)
    assert TrainConfig.for_model("with_adam", optimizer="rmsprop").make_optimizer() == RMSProp()
    assert TrainConfig.for_model("with_adam", optimizer="momentum").make_optimizer() == Momentum(0.003)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, Constant()),
        ({"schedule": "step", "schedule_every": 7}, Step(7)),
        ({"schedule": "step", "schedule_every": 7, "schedule_gamma": 0.5}, Step(7, 0.5)),
        ({"schedule": "exponential", "schedule_every": 7, "schedule_gamma": 0.5}, Exponential(7, 0.5)),
        ({"schedule": "inverse-time", "schedule_every": 7}, InverseTime(7)),
        ({"schedule": "cosine"}, Cosine(100)),
        ({"schedule": "cosine", "schedule_minimum": 0.2, "warmup": 30}, Warmup(30, Cosine(70, 0.2))),
        ({"warmup": 5}, Warmup(5, Constant())),
        ({"schedule": "plateau", "warmup": 5}, Warmup(5, Constant())),
    ],
)
def test_schedules(settings, expected):
    config = make_config(**settings)
    assert config.make_schedule(100) == expected
    assert (config.make_plateau() is not None) == (settings.get("schedule") == "plateau")


def test_plateau_has_its_settings():
    assert make_config(schedule="plateau").make_plateau() == ReduceOnPlateau()
    settings = {"schedule_patience": 3, "schedule_gamma": 0.5}
    assert make_config(schedule="plateau", **settings).make_plateau() == ReduceOnPlateau(3, 0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "descent"}, "Training, optimizer: expected one of sgd, momentum, .*, got 'descent'"),
        ({"optimizer": "adam", "beta1": 1.0}, "Adam: expected a beta1 in"),
        ({"clip_norm": 0.0}, "Clipping: expected a finite norm above 0, got 0.0"),
        ({"clip_norm": math.inf}, "Clipping: expected a finite norm above 0, got inf"),
        ({"schedule": "linear"}, "Training, schedule: expected one of constant, step, .*, got 'linear'"),
        ({"schedule": "step"}, "expected schedule_every with the schedule step, got none"),
        ({"schedule": "inverse-time"}, "expected schedule_every with the schedule inverse-time, got none"),
        ({"schedule_gamma": 0.5}, "no schedule_gamma with the schedule constant.*step or exponential or plateau"),
        ({"schedule": "cosine", "schedule_every": 7}, "no schedule_every with the schedule cosine"),
        ({"schedule": "plateau", "schedule_minimum": 0.1}, "no schedule_minimum with the schedule plateau"),
        (
            {"schedule": "step", "schedule_every": 7, "schedule_patience": 2},
            "no schedule_patience with the schedule st",
        ),
        ({"schedule": "plateau", "schedule_patience": 0}, "ReduceOnPlateau: expected patience"),
        ({"schedule": "step", "schedule_every": 0}, "Step: expected every"),
        ({"warmup": -1}, "warmup"),
        ({"warmup": 100}, "a warmup of less than 100 iterations, got 100"),
        ({"early_stopping": 0}, "early_stopping"),
        ({"batch_size": 0}, "batch_size"),
        ({"iterations": 0}, "iterations"),
        ({"iterations": True}, "iterations"),
        ({"epochs": -1}, "epochs"),
        ({"limit": 0}, "limit"),
        ({"iterations": 5, "epochs": 5}, "either iterations or epochs"),
        ({"pixel_scale": 0.0}, "pixel_scale"),
        ({"pixel_scale": math.inf}, "pixel_scale"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"weight_decay": math.nan}, "weight_decay"),
        ({"momentum": 1.0}, "grows without bound"),
        ({"momentum": -0.1}, "brakes"),
        ({"momentum_form": "nestrov"}, "moving-average, heavy-ball, nesterov"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    if "epochs" in settings:
        settings = {"iterations": None, **settings}
    with pytest.raises(InputError, match=message):
        make_config(**settings)


def test_a_warmup_of_a_run_in_epochs_is_compared_with_its_iterations():
    config = make_config(iterations=None, epochs=2, warmup=50)
    assert config.make_schedule(51) == Warmup(50, Constant())
    with pytest.raises(InputError, match="a warmup of less than 50 iterations, got 50"):
        config.make_schedule(50)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "hinge"}, "Training, loss: expected one of cross-entropy, .*, huber, got .hinge"),
        ({"loss": "mean-squared-error", "label_smoothing": 0.1}, "no label_smoothing with the loss mean-squared-error"),
        ({"label_smoothing": 1.0}, "label_smoothing in"),
        ({"crop_padding": -1}, "crop_padding"),
        ({"cutout": -1}, "cutout"),
    ],
)
def test_losses_and_augmentation_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        TrainConfig.for_model("mnist_starter", **settings)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("data", ["mnist"], "a printable text"),
        ("backend", 3, "a printable text or nothing"),
        ("data_dir", "a\0b", "a printable text or nothing"),
        ("model", "\x1b[31mred", "a printable text"),
        ("flip", 1, "true or false"),
        ("learning_rate", "0.1", "a number"),
        ("batch_size", 16.0, "a whole number"),
        ("iterations", True, "a whole number or nothing"),
        ("image_size", [32, "32"], "list[int] or nothing"),
        ("model_options", [], "Mapping"),
    ],
)
def test_a_setting_of_another_type_is_refused(name, value, expected):
    """Such as one from a file that somebody changed."""
    with refused(f"expected {name} to be {expected}", repr(value)):
        make_config(**{name: value})


def test_a_momentum_that_is_no_number_is_called_that():
    with refused("momentum in [0, 1), got nan: it is no number"):
        make_config(momentum=float("nan"))
