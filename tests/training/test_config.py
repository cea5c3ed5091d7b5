"""TrainConfig: what it takes, and what it refuses in one line."""

import dataclasses
import math

import pytest

from tests.helpers import refused
from xpnet.datasets.augment import Cutout, HorizontalFlip, RandomCrop
from xpnet.losses import Huber
from xpnet.optimizers import SGD, Adam
from xpnet.schedules import Constant, Cosine, Warmup
from xpnet.training import EarlyStopping, Mixup, TrainConfig


def test_without_settings_it_is_an_epoch_of_adam():
    config = TrainConfig()
    assert (config.epochs, config.iterations, config.batch_size) == (None, None, 32)
    assert (config.optimizer, config.schedule, config.loss) == (Adam(), Constant(), None)


def test_lists_become_tuples():
    config = TrainConfig(augmentation=[RandomCrop(4), HorizontalFlip(), Cutout(8)], freeze=["conv1.*"])
    assert config.augmentation == (RandomCrop(4), HorizontalFlip(), Cutout(8))
    assert config.freeze == ("conv1.*",)
    assert hash(dataclasses.replace(config, seed=1)) != hash(config)


@pytest.mark.parametrize("validation", [None, "auto", 1, 2000, 0.1, 0.999])
@pytest.mark.parametrize("normalize", [True, False, 1 / 255, 1])
def test_validation_and_normalization_may_be_said_in_several_ways(validation, normalize):
    config = TrainConfig(validation=validation, normalize=normalize)
    assert (config.validation, config.normalize) == (validation, normalize)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *(
            ({name: value}, name)
            for name in ("batch_size", "iterations", "epochs")
            for value in (0, -1, 1.5, "3", True)
        ),
        *(({name: 0}, name) for name in ("limit", "report_every")),
        ({"iterations": 5, "epochs": 5}, "either epochs or iterations"),
        ({"optimizer": "adam"}, "optimizer"),
        ({"optimizer": Adam}, "optimizer"),
        ({"optimizer": None}, "optimizer"),
        ({"schedule": "cosine"}, "schedule"),
        ({"schedule": Cosine}, "schedule"),
        ({"loss": "huber"}, "loss"),
        ({"early_stopping": 3}, "early_stopping"),
        ({"augmentation": "flip"}, "augmentation"),
        ({"augmentation": HorizontalFlip()}, "augmentation"),
        ({"mixing": "mixup"}, "mixing"),
        ({"mixing": 0.2}, "mixing"),
        ({"mixing": Mixup}, "mixing"),
        ({"freeze": "conv1.*"}, "freeze"),
        ({"freeze": [1]}, "freeze"),
        ({"decay_biases": 1}, "decay_biases"),
        ({"measure_training": "yes"}, "measure_training"),
        ({"clip_norm": 0.0}, "norm"),
        ({"clip_norm": math.inf}, "norm"),
        ({"normalize": 0.0}, "normalize"),
        ({"normalize": math.inf}, "normalize"),
        *(({"validation": value}, "validation") for value in (0, -1, 0.0, 1.0, 1.5, math.nan, "tenth")),
        ({"iterations": 100, "schedule": Warmup(100, Cosine())}, "100 iterations"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with refused(words):
        TrainConfig(**settings)


def test_classes_in_the_place_of_objects_are_refused_with_an_example():
    with refused("EarlyStopping(10)"):
        TrainConfig(early_stopping=EarlyStopping)
    with refused("xpnet.optimizers.Adam(1e-3)", "SGD"):
        TrainConfig(optimizer=SGD)
    with refused("Pass an instance", "Huber()"):
        TrainConfig(loss=Huber)
