"""How much examples and classes count in the loss."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xpnet.backend import Array, check_real_numbers, is_readable, to_numpy
from xpnet.checks import pick
from xpnet.datasets.arrays import as_array
from xpnet.errors import InputError, short
from xpnet.shapes import is_whole


def class_weights(spec: Mapping[Any, float] | str, targets: Array, class_names: Sequence[str]) -> tuple[float, ...]:
    """The weight of each class: 1 but for those in ``spec``, which maps names or numbers of classes to weights.

    "balanced" gives all classes the same weight in total, as far as they have examples (others keep 1):

        w_k = N / (K N_k)

    with N examples, N_k of them of class k, and K classes. ``targets`` are class numbers.

    Raises InputError for classes that do not exist or are named twice, and for weights that are not finite, negative,
    or all 0.  Source: King and Zeng, "Logistic regression in rare events data", Political Analysis 9(2), 2001.
    """
    if isinstance(spec, str):
        pick("class_weight", {"balanced": None}, spec)
        counts = np.bincount(to_numpy(targets).reshape(-1), minlength=len(class_names)).tolist()
        return tuple(sum(counts) / (len(counts) * count) if count else 1.0 for count in counts)
    if not isinstance(spec, Mapping):
        raise InputError(
            f'class_weight: expected "balanced" or a dict of names or numbers of classes, got {type(spec).__name__}. '
            "Pass a dict such as {0: 1.0, 1: 2.5}."
        )
    weights: dict[int, float] = {}
    for key, value in spec.items():
        number = _number(key, class_names)
        if number in weights:
            raise InputError(f"class_weight: expected each class once, got {short(key)} twice. Remove one of them.")
        check_class_weight(key, value)
        weights[number] = float(value)
    if len(weights) == len(class_names) and not any(weights.values()):
        raise InputError("class_weight: expected one weight above 0, got 0 for all classes. Change them.")
    return tuple(weights.get(number, 1.0) for number in range(len(class_names)))


def check_class_weight(key: Any, value: Any) -> None:
    """Raise InputError unless the weight of a class is finite and at least 0."""
    if not isinstance(value, numbers.Real) or not 0 <= float(value) < math.inf:  # NaN is not
        raise InputError(
            f"class_weight: expected finite weights of at least 0, got {short(value)} for {short(key)}. Change it."
        )


def _number(key: Any, class_names: Sequence[str]) -> int:
    """The number of a class that goes by a name or its number."""
    if is_whole(key) and 0 <= key < len(class_names):
        return int(key)
    if isinstance(key, str):
        return pick("class_weight", {name: number for number, name in enumerate(class_names)}, key)
    raise InputError(
        f"class_weight: expected names of classes or numbers from 0 to {len(class_names) - 1}, got {short(key)}. "
        "Change it."
    )


def check_sample_weights(where: str, values: Any, count: int, dtype: str = "float32") -> Array:
    """Weights (N,) of the examples, where they are.

    Raises InputError unless they are ``count`` real numbers and, where no device has to be waited for, finite and at
    least 0, with a sum that ``dtype`` can hold.
    """
    weights = as_array(f"{where}, sample_weight", values)
    check_real_numbers(f"{where}, sample_weight", weights)
    if tuple(weights.shape) != (count,):
        raise InputError(
            f"{where}: expected sample_weight of shape ({count},), one for each example, got "
            f"{tuple(weights.shape)}. Change sample_weight."
        )
    if is_readable(weights) and count:
        least, most = float(to_numpy(weights).min()), float(to_numpy(weights).max())
        if not 0 <= least <= most < math.inf:
            raise InputError(
                f"{where}: expected sample_weight to be finite and at least 0, got {least} to {most}. "
                "Change sample_weight."
            )
        check_weight_range(f"{where}: expected sample_weight", to_numpy(weights), dtype)
    return weights


def check_weight_range(expected: str, weights: Any, dtype: str) -> None:
    """Raise InputError, beginning with what was ``expected``, if the sum of weights is more than ``dtype`` can hold."""
    with np.errstate(over="ignore"):
        total, limit = float(np.sum(weights, dtype=np.float64)), float(np.finfo(dtype).max)
    if total > limit:
        raise InputError(
            f"{expected} with a sum within the range of {dtype} (up to {limit:.2g}), got {total:.3g}. "
            "Divide the weights by their largest: only ratios count."
        )
