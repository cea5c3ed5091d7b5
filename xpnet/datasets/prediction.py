"""Inputs to predict from: what training takes, converted in the same way."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backend import Array, check_real_numbers, has_kind, is_traced
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


def finite_batch(where: str, rows: Array, batch: Array, first: int) -> Array:
    """A batch that was converted from rows of the inputs. Raises InputError, naming the row, for NaN and infinity."""
    if has_kind(rows, "real floating") and not is_traced(rows):
        check_finite(where, batch, np.arange(first, first + rows.shape[0]))
    return batch
