"""MNIST: 28x28 grey images of handwritten digits, 60,000 for training and 10,000 for testing."""

import os
from pathlib import Path

from xpnet.datasets.base import Dataset
from xpnet.datasets.idx import read_dataset

_BUNDLED = Path(__file__).parent / "data" / "mnist"
_CLASS_NAMES = tuple("0123456789")


def load(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read MNIST from the bundled files, or from four files of the same names in `data_dir`.

    Shapes: images uint8 (N, 28, 28, 1), labels int32 (N,).

    Raises InputError naming the file that is missing, damaged, or at odds with another.
    Source: LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86(11), 1998.
    """
    return read_dataset(
        "mnist",
        _BUNDLED if data_dir is None else data_dir,
        _CLASS_NAMES,
        "Put the four MNIST files there, or leave the data folder out to use the bundled ones.",
    )
