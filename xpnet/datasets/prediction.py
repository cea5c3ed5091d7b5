"""Inputs to predict from: what training takes, converted in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xpnet.backend import Array, backend_of, check_real_numbers, has_kind, is_traced
from xpnet.datasets.arrays import as_array, check_finite
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
    where: str, x: Any, batch_size: int, asarray: Callable[[Any], Array], function: Callable[[Array], Array]
) -> Array:
    """A function of batches that ``asarray`` makes arrays of; the result is an array of the inputs' own library."""
    results = []
    for start in range(0, x.shape[0], batch_size):
        rows = x[start : min(start + batch_size, x.shape[0]), ...]
        batch = finite_batch(where, rows, asarray(rows), start)
        results.append(backend_of(rows).asarray(function(batch)))
    home = backend_of(results[0])
    with home.current():
        return results[0] if len(results) == 1 else home.xp.concat(results)


def finite_batch(where: str, rows: Array, batch: Array, first: int) -> Array:
    """A batch that was converted from rows of the inputs. Raises InputError, naming the row, for NaN and infinity."""
    if has_kind(rows, "real floating") and not is_traced(rows):
        check_finite(where, batch, np.arange(first, first + rows.shape[0]))
    return batch
