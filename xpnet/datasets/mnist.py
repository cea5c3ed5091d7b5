"""MNIST: 28x28 grey images of handwritten digits, 60,000 for training and 10,000 for testing."""

import os
from pathlib import Path

import numpy as np

from xpnet.datasets.base import Dataset, check_counts, check_image_shapes, check_labels
from xpnet.datasets.idx import read_idx
from xpnet.errors import InputError

_BUNDLED = Path(__file__).parent / "data" / "mnist"
_CLASS_NAMES = tuple("0123456789")


def load(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read MNIST from the bundled files, or from four files of the same names in `data_dir`.

    Shapes: images uint8 (N, 28, 28, 1), labels int32 (N,).

    Raises InputError naming the file that is missing, damaged, or at odds with another.
    Source: LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86(11), 1998.
    """
    folder = _BUNDLED if data_dir is None else Path(data_dir)
    train_path, train_images, train_labels = _read_part(folder, "train")
    test_path, test_images, test_labels = _read_part(folder, "t10k")
    check_image_shapes(str(train_path), train_images, str(test_path), test_images)
    return Dataset("mnist", train_images, train_labels, test_images, test_labels, _CLASS_NAMES)


def _read_part(folder: Path, part: str) -> tuple[Path, np.ndarray, np.ndarray]:
    """Path of the images, images (N, H, W, 1), labels (N,)."""
    images_path = _find(folder, f"{part}-images", "idx3-ubyte")
    labels_path = _find(folder, f"{part}-labels", "idx1-ubyte")
    images = _read(images_path, "images", dimensions=3)
    labels = _read(labels_path, "labels", dimensions=1)
    check_counts(str(images_path), images, str(labels_path), labels)
    check_labels(str(labels_path), labels, len(_CLASS_NAMES))
    return images_path, images[..., np.newaxis], labels.astype(np.int32)


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{separator}{kind}" for separator in "-."]
    for name in names:
        for compression in ("", ".gz", ".xz"):
            path = folder / (name + compression)
            if path.is_file():
                return path
    raise InputError(
        f"mnist: expected {names[0]} or {names[1]} (as it is, .gz or .xz) in {folder}, got no such file. "
        "Put the four MNIST files there, or give no data folder to use the bundled ones."
    )


def _read(path: Path, content: str, dimensions: int) -> np.ndarray:
    array = read_idx(path)
    if array.ndim != dimensions:
        raise InputError(
            f"{path}: expected {content} with the magic number 0000080{dimensions}, "
            f"got 0000080{array.ndim}. Put the right content under this name."
        )
    return array
