"""Networks by name, their recipes and options."""

import re
from pathlib import Path

import pytest

from tests.helpers import refused
from xpnet import models
from xpnet.errors import InputError
from xpnet.layers import Dense, Flatten, Sequential
from xpnet.layout import Layout
from xpnet.models import registry
from xpnet.optimizers import Adam
from xpnet.runs.settings import make_run
from xpnet.weights import Undrawn


@pytest.fixture
def linear(monkeypatch):
    """A model of the test's own, with one option."""
    recipe = models.recipe("mlp")
    monkeypatch.setattr(registry, "_HOMES", {})
    monkeypatch.setattr(registry, "_MODELS", {})

    @registry.register("linear", input_shape=(2, 3, 1), classes=4, recipe=recipe)
    def linear(input_shape, classes, *, copies=1):
        return Sequential([Flatten(), *[Dense(classes * input_shape[0]) for _ in range(copies)]])


def test_a_builder_gets_shape_classes_and_options(linear):
    assert models.names() == ("linear",)
    assert models.create("linear").output_shape == (8,)
    assert models.create("linear", input_shape=(5, 3, 1), classes=2).output_shape == (10,)
    assert len(models.create("linear", copies=3).layer_info()) == 4
    assert registry.find("linear").options() == ("copies",)


def test_an_unknown_option_is_refused(linear):
    with pytest.raises(InputError, match=r"^Model 'linear': expected options of copies, got 'copy'\. Leave it out"):
        models.create("linear", copy=2)


def linear_of(input_shape, classes):
    return Dense(classes)


def test_a_name_that_is_known_is_refused(linear):
    def other(input_shape, classes):
        return Dense(classes)

    settings = {"input_shape": (3,), "classes": 2, "recipe": registry.find("linear").recipe}
    with refused("Model 'linear'", "a name that is not known yet"):
        registry.register("linear", **settings)(other)
    for _ in range(2):  # a notebook's cell that is run again
        registry.register("other", **settings)(linear_of)
    assert models.create("other").output_shape == (2,)


@pytest.mark.parametrize("is_imported", [False, True])
def test_a_built_in_name_is_refused_before_and_after_its_family_is_imported(monkeypatch, is_imported):
    builtin = registry.find("resnet18")
    monkeypatch.setattr(registry, "_MODELS", {"resnet18": builtin} if is_imported else {})
    settings = {"input_shape": (3,), "classes": 2, "recipe": builtin.recipe}
    with refused("Model 'resnet18'", "a name that is not known yet"):
        registry.register("resnet18", **settings)(linear_of)
    if is_imported:
        with refused("Model 'resnet18'", "a name that is not known yet"):
            registry.register("resnet18", **settings)(builtin.build)


@pytest.mark.parametrize("name", ["vit_tiny", "unet_small", "resnet18"])
def test_shapes_that_are_not_of_images_are_refused(name):
    with refused("Network: expected input_shape to be a tuple, got 5"):
        models.create(name, input_shape=5)
    with refused("expected images (N, H, W, C), got shape (N, 8, 8)", "Add the missing axis"):
        models.create(name, input_shape=(8, 8))


def test_messages_name_the_network_that_was_asked_for():
    with refused("Model 'vit_digits': expected", "multiples of 7, got (8, 8)"):
        models.create("vit_digits", input_shape=(8, 8, 1))
    with refused("Model 'unet_small': expected", "multiples of 16, got (8, 8)"):
        models.create("unet_small", input_shape=(8, 8, 1))
    with refused("Model 'resnet34', stem: expected one of imagenet, small, got 'tiny'"):
        models.create("resnet34", stem="tiny")


def test_all_models_are_there():
    resnets = {f"resnet{depth}" for depth in (18, 34, 50, 101, 152)} | {"resnet50v2", "resnet101v2"}
    others = {"mnist_starter", "cifar10_starter", "mlp", "lenet5", "cnn_32_64", "fer_cnn", "cifar10_cnn", "alexnet"}
    vggs = {f"vgg{depth}{ending}" for depth in (11, 13, 16, 19) for ending in ("", "_bn")}
    narrow = {"resnet20", "resnet32", "resnet56", "resnet110"}
    modern = {"googlenet", "squeezenet1_0", "squeezenet1_1", "densenet121", "mobilenet_v2"}
    transformers = {"vit_tiny", "vit_small", "vit_digits"}
    assert set(models.names()) == resnets | others | vggs | narrow | modern | transformers | {"unet", "unet_small"}


def test_each_is_registered_by_its_familys_file():
    for family, names in registry.FAMILIES.items():
        for name in names:
            build = registry.find(name).build
            assert getattr(build, "func", build).__module__ == f"xpnet.models.{family}"
    assert set(registry._MODELS) == set(models.names())


@pytest.mark.parametrize("name", models.names())
def test_every_recipe_makes_a_configuration(name):
    run, recipe = make_run(name), models.recipe(name)
    assert (run.data, run.train) == (recipe.data, recipe.train)
    assert bool(run.train.iterations) != bool(run.train.epochs)
    assert run.model_options == {}


def test_cnn_32_64_is_trained_as_published():
    recipe = models.recipe("cnn_32_64")
    assert (recipe.data, recipe.train.epochs) == ("mnist", 4)
    assert recipe.train.optimizer == Adam(0.001)


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(InputError, match=r"got 'mnist_startr'\. Did you mean 'mnist_starter'\?"):
        models.create("mnist_startr")
    with pytest.raises(InputError, match="Choose one of these"):
        models.recipe("zzz")


INPUTS = {"unet": ((64, 64, 1), 2)}  # the paper's; all others are for their own


def test_every_network_has_its_row_with_its_count():
    page = (Path(__file__).parents[2] / "docs" / "networks.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([\d,]+)", page, re.MULTILINE))
    counts = {}
    for name in models.names():
        model = registry.find(name)
        input_shape, classes = INPUTS.get(name, (model.input_shape, model.classes))
        counts[name] = f"{Layout.of(model.build(input_shape, classes).init(Undrawn(), input_shape).params).size:,}"
    assert rows == counts
