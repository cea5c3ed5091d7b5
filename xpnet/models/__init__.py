"""Networks by name: one file per family."""

from xpnet.models import starters  # noqa: F401 (registers its models)
from xpnet.models.registry import Recipe, create, names, recipe

__all__ = ["Recipe", "create", "names", "recipe"]
