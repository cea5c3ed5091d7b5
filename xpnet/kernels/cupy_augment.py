"""Crops, mirrors and cutouts of CuPy arrays in one kernel instead of 60 array operations, with the same bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import cupy
import numpy as np

from xpnet.backend import Array
from xpnet.datasets.augment import Augmentation, Cutout, HorizontalFlip, RandomCrop
from xpnet.kernels.cuda_sources import source
from xpnet.random import is_for_rows

_MOST = 8  # augmentations at once, as in cuda/augment.cu
_MOST_VALUES = 2**30  # of an image, so that no sum of two indices leaves 32 bits
_KINDS = {RandomCrop: 0, HorizontalFlip: 1, Cutout: 2}  # as there
_TYPES = {"uint8": "unsigned char", "float32": "float", "float64": "double"}
_AUGMENTATIONS = np.dtype([("count", np.int32), *((name, np.int32, _MOST) for name in ("kind", "size", "number"))])
_THREADS = 256


def serves(
    operation: str, images: Array, augmentations: Sequence[Augmentation], numbers: Sequence[int], key: Array
) -> bool:
    """Images without gaps of the usual dtypes, and xpnet's own augmentations."""
    is_known = len(augmentations) <= _MOST and all(type(augmentation) in _KINDS for augmentation in augmentations)
    fits = images.flags.c_contiguous and images.dtype.name in _TYPES and math.prod(images.shape[1:]) <= _MOST_VALUES
    return is_known and fits and images.size > 0


def augment(images: Array, augmentations: Sequence[Augmentation], numbers: Sequence[int], key: Array) -> Array:
    """Images with all augmentations applied in order; each one's key is folded by its number unless that is below 0."""
    packed, result = np.zeros((), _AUGMENTATIONS), cupy.empty_like(images)
    packed["count"] = len(augmentations)
    for position, augmentation in enumerate(augmentations):
        packed["kind"][position] = _KINDS[type(augmentation)]
        packed["size"][position] = _size(augmentation)
        packed["number"][position] = numbers[position]
    sizes = map(np.int32, images.shape[1:])
    arguments = (images, key, result, packed, *sizes, np.int32(is_for_rows(key)))
    _kernel(images.dtype.name)((images.shape[0],), (_THREADS,), arguments)
    return result


def _size(augmentation: Augmentation) -> int:
    match augmentation:
        case RandomCrop(padding=size) | Cutout(size=size):
            return size
    return 0


@cache
def _kernel(dtype: str) -> Any:
    return cupy.RawKernel(f"#define TYPE {_TYPES[dtype]}\n{source('augment.cu')}", "augment")
