"""Networks by name: one file per family."""

from xpnet.models import (  # noqa: F401 (registers their models)
    alexnet,
    cnn,
    densenet,
    googlenet,
    lenet,
    mlp,
    mobilenet,
    resnet,
    resnet_cifar,
    squeezenet,
    starters,
    unet,
    vgg,
    vit,
)
from xpnet.models.pretrained import load_weights, start_from
from xpnet.models.registry import Recipe, create, names, options, recipe

__all__ = ["Recipe", "create", "load_weights", "names", "options", "recipe", "start_from"]
