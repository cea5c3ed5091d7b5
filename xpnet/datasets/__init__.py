"""Labelled images: where they come from, how they are checked, how they are cut into batches."""

import difflib
import os
from collections.abc import Callable

from xpnet.datasets import cifar10, mnist
from xpnet.datasets.base import Dataset
from xpnet.datasets.batches import BatchSampler, split_indices
from xpnet.errors import InputError

__all__ = ["BatchSampler", "Dataset", "load", "names", "split_indices"]

_LOADERS: dict[str, Callable[[str | os.PathLike[str] | None], Dataset]] = {
    "mnist": mnist.load,
    "cifar10": cifar10.load,
}


def names() -> tuple[str, ...]:
    """Names that `load` accepts."""
    return tuple(_LOADERS)


def load(name: str, data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read the named dataset from `data_dir`, or its bundled files where it has any.

    Raises InputError for an unknown name, and for files that are missing, damaged or inconsistent.
    """
    if name not in _LOADERS:
        nearest = difflib.get_close_matches(name, names(), n=1)
        advice = f"Did you mean {nearest[0]!r}?" if nearest else "Choose one of these."
        raise InputError(f"dataset: expected one of {', '.join(names())}, got {name!r}. {advice}")
    return _LOADERS[name](data_dir)
