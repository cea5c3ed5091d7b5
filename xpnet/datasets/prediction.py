"""Inputs to predict from: what training takes, converted in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array, Backend, backend_of, check_real_numbers, has_kind, is_traced
from xpnet.datasets.arrays import as_array, check_values, is_finite
from xpnet.datasets.base import Dataset
from xpnet.datasets.image_files import ImageFiles
from xpnet.datasets.rows import HostRows
from xpnet.errors import InputError
from xpnet.shapes import Shape


def prediction_inputs(where: str, values: Any, input_shape: Shape) -> Any:
    """Inputs (N, ...) of a network as an array, memory map or files; of a data set the test inputs.

    Raises InputError for what is not an array of real numbers, and for a data set without a test part.
    """
    if isinstance(values, Dataset):
        if values.test_inputs is None:
            raise InputError(
                f"{where}: expected a data set with a test part, got {values.name} without. Pass an array."
            )
        values = values.test_inputs
    if isinstance(values, ImageFiles | HostRows):
        return values
    array = as_array(where, values)
    check_real_numbers(where, array)
    return with_channel(array, input_shape)


def with_channel(x: Any, input_shape: Shape) -> Any:
    """Images (N, H, W) as (N, H, W, 1), where the network takes one channel; other inputs as they are."""
    if len(input_shape) == 3 and input_shape[-1] == 1 and tuple(x.shape[1:]) == input_shape[:2]:
        return x[..., None]
    return x


def in_batches(
    where: str, x: Any, batch_size: int, backend: Backend, dtype: str, function: Callable[[Array], Array]
) -> Array:
    """A function of batches on a backend, in a dtype; the result is an array of the inputs' own library."""
    results = []
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, x.shape[0], batch_size):
            rows = x[start : min(start + batch_size, x.shape[0]), ...]
            batch = backend.asarray(rows, dtype)
            check_batch(where, rows, batch, dtype, start)
            results.append(backend_of(rows).asarray(function(batch)))
    home = backend_of(results[0])
    with home.current():
        return results[0] if len(results) == 1 else home.xp.concat(results)


def check_batch(where: str, rows: Array, batch: Array, dtype: str, first: int) -> None:
    """Raise InputError unless rows of the inputs are finite, also in the batch that was made of them."""
    if has_kind(rows, "real floating") and not is_traced(rows) and not is_finite(batch):
        indices = np.arange(first, first + rows.shape[0])
        check_values(where, rows, dtype, indices)
