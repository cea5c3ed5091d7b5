"""Networks by name, each with settings that work: the published ones where they are known."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from xpnet.arguments import checked_input_shape
from xpnet.checks import pick
from xpnet.errors import InputError
from xpnet.layers.base import Layer
from xpnet.models.imagenet import IMAGENET_PIXELS, Pixels
from xpnet.network import Network
from xpnet.shapes import Shape
from xpnet.training.config import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """The data set that a model is for, and how it is trained on it unless told otherwise."""

    data: str
    train: TrainConfig


@dataclass(frozen=True)
class Model:
    """A network that can be built for any input shape (H, W, C) and number of classes, and its recipe.

    ``build(input_shape, classes, **options)`` gives the layers; its keyword-only parameters are the model's options.
    ``pixels`` is what PyTorch's published weights for it were trained on.
    """

    build: Callable[..., Layer]
    input_shape: Shape
    classes: int
    recipe: Recipe
    pixels: Pixels = IMAGENET_PIXELS

    def options(self) -> tuple[str, ...]:
        """Names of the settings that this model has beside input shape and classes."""
        parameters = inspect.signature(self.build).parameters.values()
        return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


FAMILIES: Mapping[str, tuple[str, ...]] = {
    "alexnet": ("alexnet",),
    "cnn": ("cnn_32_64", "fer_cnn", "cifar10_cnn"),
    "densenet": ("densenet121",),
    "googlenet": ("googlenet",),
    "lenet": ("lenet5",),
    "mlp": ("mlp",),
    "mobilenet": ("mobilenet_v2",),
    "resnet": ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50v2", "resnet101v2"),
    "resnet_cifar": ("resnet20", "resnet32", "resnet56", "resnet110"),
    "squeezenet": ("squeezenet1_0", "squeezenet1_1"),
    "starters": ("mnist_starter", "cifar10_starter"),
    "unet": ("unet", "unet_small"),
    "vgg": ("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    "vit": ("vit_tiny", "vit_small", "vit_digits"),
}
_HOMES = {name: family for family, members in FAMILIES.items() for name in members}
_MODELS: dict[str, Model] = {}


def register(
    name: str, *, input_shape: Shape, classes: int, recipe: Recipe, pixels: Pixels = IMAGENET_PIXELS
) -> Callable[[Callable[..., Layer]], Callable[..., Layer]]:
    """Make a function that builds layers known under a name, with the shapes of its own data set; see ``Model``.

    Raises
    ------
    InputError
        For a name that is known already; the same function may be registered again, as a notebook's cell does.
    """

    def decorate(build: Callable[..., Layer]) -> Callable[..., Layer]:
        if not _is_free(name, build):
            raise InputError(f"Model {name!r}: expected a name that is not known yet, got one that is. Choose another.")
        _MODELS[name] = Model(build, input_shape, classes, recipe, pixels)
        return build

    return decorate


def _is_free(name: str, build: Callable[..., Layer]) -> bool:
    """Whether a function may have the name: a built-in one is its family's, which may not be imported yet."""
    if name in _HOMES:
        home = getattr(build, "func", build).__module__
        return name not in _MODELS and home == f"xpnet.models.{_HOMES[name]}"
    return name not in _MODELS or _place(_MODELS[name].build) == _place(build)


def _place(build: Any) -> tuple[str, str]:
    function = getattr(build, "func", build)
    return function.__module__, function.__qualname__


def check_multiples(name: str, input_shape: Shape, side: int) -> None:
    """Raise InputError for images whose sides are not multiples; what is not images, the layers refuse."""
    if len(input_shape) == 3 and any(length % side for length in input_shape[:2]):
        raise InputError(
            f"Model {name!r}: expected images whose height and width are multiples of {side}, got {input_shape[:2]}. "
            "Change the image size."
        )


def names() -> tuple[str, ...]:
    """Names of all models."""
    return tuple({**_HOMES, **_MODELS})


def find(name: str) -> Model:
    """A model by its name; its family's file is imported when it is first asked for.

    Raises
    ------
    InputError
        For an unknown name.
    """
    model = pick("Model", {**_HOMES, **_MODELS}, name)
    if isinstance(model, str):
        import_module(f"xpnet.models.{model}")
        model = _MODELS[name]
    return model


def recipe(name: str) -> Recipe:
    """The settings of a model, the published ones where they are known.

    Raises
    ------
    InputError
        For an unknown name.
    """
    return find(name).recipe


def pixels(name: str) -> Pixels:
    """The pixels that PyTorch's weights of a model were trained on. Raises InputError for an unknown name."""
    return find(name).pixels


def options(name: str) -> tuple[str, ...]:
    """Names of the settings that a model has beside input shape and classes.

    Raises
    ------
    InputError
        For an unknown name.
    """
    return find(name).options()


def create(
    name: str,
    *,
    input_shape: Shape | None = None,
    classes: int | None = None,
    seed: int | None = 0,
    dtype: str = "float32",
    device: str | None = None,
    backend: str | None = None,
    **options: Any,
) -> Network:
    """Build a model with new weights.

    Parameters
    ----------
    name
        One of ``names()``.
    input_shape, classes
        By default those of the model's own data set.
    seed, dtype, device, backend
        As for ``Network``.
    **options
        The model's own, such as ``hidden=(100, 100)`` of "mlp".

    Raises
    ------
    InputError
        For an unknown name, an option the model does not have, or an input the layers do not fit.

    Examples
    --------
    >>> create("mlp", input_shape=(28, 28, 1), classes=10, hidden=(16,)).parameter_count
    12730
    """
    model = find(name)
    for option in options:
        if option not in model.options():
            raise InputError(
                f"Model {name!r}: expected {_listed(model.options())}, got {option!r}. "
                "Leave it out or choose another model."
            )
    shape = model.input_shape if input_shape is None else checked_input_shape(input_shape)
    layer = model.build(shape, model.classes if classes is None else classes, **options)
    return Network(layer, shape, seed=seed, dtype=dtype, device=device, backend=backend)


def _listed(options: tuple[str, ...]) -> str:
    return f"options of {', '.join(options)}" if options else "no options"
