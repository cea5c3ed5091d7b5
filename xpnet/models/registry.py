"""Networks by name, each with settings that work: the published ones where they are known."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


_MODELS: dict[str, Model] = {}


def register(
    name: str, *, input_shape: Shape, classes: int, recipe: Recipe, pixels: Pixels = IMAGENET_PIXELS
) -> Callable[[Callable[..., Layer]], Callable[..., Layer]]:
    """Make a function that builds layers known under a name, with the shapes of its own data set; see ``Model``."""

    def decorate(build: Callable[..., Layer]) -> Callable[..., Layer]:
        _MODELS[name] = Model(build, input_shape, classes, recipe, pixels)
        return build

    return decorate


def names() -> tuple[str, ...]:
    """Names of all models."""
    return tuple(_MODELS)


def recipe(name: str) -> Recipe:
    """The settings of a model, the published ones where they are known.

    Raises
    ------
    InputError
        For an unknown name.
    """
    return pick("Model", _MODELS, name).recipe


def pixels(name: str) -> Pixels:
    """The pixels that PyTorch's weights of a model were trained on. Raises InputError for an unknown name."""
    return pick("Model", _MODELS, name).pixels


def options(name: str) -> tuple[str, ...]:
    """Names of the settings that a model has beside input shape and classes.

    Raises
    ------
    InputError
        For an unknown name.
    """
    return pick("Model", _MODELS, name).options()


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
    model = pick("Model", _MODELS, name)
    for option in options:
        if option not in model.options():
            raise InputError(
                f"Model {name!r}: expected {_listed(model.options())}, got {option!r}. "
                "Leave it out or choose another model."
            )
    shape = model.input_shape if input_shape is None else input_shape
    layer = model.build(shape, model.classes if classes is None else classes, **options)
    return Network(layer, shape, seed=seed, dtype=dtype, device=device, backend=backend)


def _listed(options: tuple[str, ...]) -> str:
    return f"options of {', '.join(options)}" if options else "no options"
