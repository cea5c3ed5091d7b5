"""Labelled images: where they come from, how they are checked, how they are cut into batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from xpnet.checks import pick
from xpnet.datasets import cifar10, fashion_mnist, fer2013, image_folder, mnist, shapes
from xpnet.datasets.base import Dataset
from xpnet.datasets.batches import BatchSampler, split_indices
from xpnet.errors import InputError

__all__ = ["BatchSampler", "Dataset", "load", "names", "split_indices"]

_Loader = Callable[[str | os.PathLike[str] | None], Dataset]
_LOADERS: dict[str, _Loader] = {
    "mnist": mnist.load,
    "fashion_mnist": fashion_mnist.load,
    "cifar10": cifar10.load,
    "fer2013": fer2013.load,
    "shapes": shapes.load,
    "folder": image_folder.load,
}


def names() -> tuple[str, ...]:
    """Names that ``load`` accepts."""
    return tuple(_LOADERS)


def load(name: str, data_dir: str | os.PathLike[str] | None = None, image_size: Sequence[int] | None = None) -> Dataset:
    """Read the named dataset from ``data_dir``, or its bundled or downloaded files where it has any.

    ``image_size`` (height, width) is for the images of a folder; those of the other datasets have their own.

    Raises
    ------
    InputError
        For an unknown name, an image size that has no place, and files that are missing, damaged or inconsistent.
    """
    loader = pick("dataset", _LOADERS, name)
    if image_size is None:
        return loader(data_dir)
    if name != "folder":
        raise InputError(
            f"dataset: expected no image size for {name}, whose images have their own, got one. Leave it out."
        )
    return image_folder.load(data_dir, image_size)
