"""What torchvision's models, trained on ImageNet, expect of pixels and call their classes."""

import importlib
from typing import Any, NamedTuple

PIXEL_MEAN = (255 * 0.485, 255 * 0.456, 255 * 0.406)  # red, green, blue
PIXEL_SCALE = (1 / (255 * 0.229), 1 / (255 * 0.224), 1 / (255 * 0.225))
"""With ``Network.set_normalization(PIXEL_MEAN, PIXEL_SCALE)`` pixels of 0 to 255 come in as torchvision's own."""


class Pixels(NamedTuple):
    """What ``Network.set_normalization`` takes, for pixels of 0 to 255."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]


IMAGENET_PIXELS = Pixels(PIXEL_MEAN, PIXEL_SCALE)
PLAIN_PIXELS = Pixels((127.5,) * 3, (1 / 127.5,) * 3)
"""From -1 to 1, whatever the data."""

_CLASSES = 1000


def class_names(classes: int) -> list[str] | None:
    """What the classes of torchvision's models are called; None if they are not so many, or torchvision is missing."""
    if classes != _CLASSES:
        return None
    try:
        weights: Any = importlib.import_module("torchvision.models").AlexNet_Weights
    except (ImportError, RuntimeError):  # the latter of one that was built for another PyTorch
        return None
    return list(weights.DEFAULT.meta["categories"])  # the same for every model; nothing is downloaded
