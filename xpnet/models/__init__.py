"""Networks by name: one file per family."""

from xpnet.models import alexnet, cnn, lenet, mlp, resnet, starters  # noqa: F401 (registers their models)
from xpnet.models.pretrained import start_from
from xpnet.models.registry import Recipe, create, names, options, recipe

__all__ = ["Recipe", "create", "names", "options", "recipe", "start_from"]
