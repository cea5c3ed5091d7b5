"""Networks by name, each with the settings it was published with."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from xpnet.errors import InputError
from xpnet.layers.base import Layer
from xpnet.network import Network
from xpnet.shapes import Shape


@dataclass(frozen=True)
class Recipe:
    """How a model is trained unless told otherwise, by the names of ``training.TrainConfig``.

    ``train_images`` None means all that are not for validation, ``momentum`` None the optimizer's own default.
    """

    data: str
    iterations: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    pixel_scale: float  # what pixels of 0 to 255 are multiplied by, after their mean has been subtracted
    optimizer: str = "momentum"
    momentum: float | None = None
    validation_images: int = 2000
    train_images: int | None = None


@dataclass(frozen=True)
class Model:
    """A network that can be built for any input shape (H, W, C) and number of classes, and its recipe."""

    build: Callable[[int], Layer]
    input_shape: Shape
    classes: int
    recipe: Recipe


_MODELS: dict[str, Model] = {}


def register(
    name: str, *, input_shape: Shape, classes: int, recipe: Recipe
) -> Callable[[Callable[[int], Layer]], Callable[[int], Layer]]:
    """Make a function from the number of classes to layers known under a name, with the shapes of its own data set."""

    def decorate(build: Callable[[int], Layer]) -> Callable[[int], Layer]:
        _MODELS[name] = Model(build, input_shape, classes, recipe)
        return build

    return decorate


def names() -> tuple[str, ...]:
    """Names of all models."""
    return tuple(_MODELS)


def recipe(name: str) -> Recipe:
    """The settings that a model was published with. Raises InputError for an unknown name."""
    return _find(name).recipe


def create(
    name: str,
    *,
    input_shape: Shape | None = None,
    classes: int | None = None,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    backend: str | None = None,
) -> Network:
    """Build a model with new weights; shape and classes default to those of its own data set.

    Raises InputError for an unknown name, or an input the layers do not fit.
    """
    model = _find(name)
    layer = model.build(model.classes if classes is None else classes)
    shape = model.input_shape if input_shape is None else input_shape
    return Network(layer, shape, seed=seed, dtype=dtype, device=device, backend=backend)


def _find(name: str) -> Model:
    if name not in _MODELS:
        nearest = difflib.get_close_matches(name, names(), n=1)
        advice = f"Did you mean {nearest[0]!r}?" if nearest else "Choose one of these."
        raise InputError(f"Model: expected one of {', '.join(names())}, got {name!r}. {advice}")
    return _MODELS[name]
