import dataclasses
import math

import pytest

from xpnet.errors import InputError
from xpnet.training import TrainConfig


def test_mnist_starter_is_trained_as_published():
    config = TrainConfig.for_model("mnist_starter")
    assert (config.data, config.iterations, config.epochs, config.batch_size) == ("mnist", 3000, None, 16)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (0.1, 0.9, 0.005)
    assert (config.momentum_form, config.pixel_scale) == ("moving-average", 1 / 255)
    assert (config.validation_images, config.limit, config.report_every) == (2000, None, 100)


def test_cifar10_starter_is_trained_as_published():
    config = TrainConfig.for_model("cifar10_starter")
    assert (config.data, config.iterations, config.batch_size) == ("cifar10", 5000, 16)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (1e-3, 0.95, 0.001)
    assert config.pixel_scale == 1
    assert config.limit + config.validation_images == 20_000


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
    assert dataclasses.astuple(config.optimizer()) == (0.1, 0.9, 0.005, "heavy-ball")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
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
        ({"momentum_form": "nesterov"}, "moving-average or heavy-ball"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    settings = {"model": "mnist_starter", "data": "mnist", **settings}
    if "iterations" not in settings and "epochs" not in settings:
        settings["iterations"] = 1
    with pytest.raises(InputError, match=message):
        TrainConfig(**settings)
