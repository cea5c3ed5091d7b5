"""Networks by name: one file per family, imported when a name of it is first used."""

from xpnet.models.pretrained import load_weights, start_from
from xpnet.models.registry import Recipe, create, names, options, recipe

__all__ = ["Recipe", "create", "load_weights", "names", "options", "recipe", "start_from"]
