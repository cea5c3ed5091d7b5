"""The IDX file format, and the four files of MNIST and of the datasets made in its likeness."""

import gzip
import io
import lzma
import math
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.datasets.arrays import check_counts, check_image_shapes, check_labels
from xpnet.datasets.base import Dataset
from xpnet.errors import InputError
from xpnet.files import is_file

_COMPRESSED: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}
_UINT8 = 0x08
_MAX_DIMENSIONS = 4
_CHUNK_BYTES = 1 << 20
_MAX_DECOMPRESSED_BYTES = 1 << 31  # three times the largest of MNIST's kin, EMNIST


def read_idx(path: str | os.PathLike[str], content: str = "", dimensions: int | None = None) -> np.ndarray:
    """Read an IDX file of unsigned bytes; names that end in .gz or .xz are decompressed.

    ``dimensions`` is how many the content, such as "images", should have; None takes any number.

    Format: the bytes 0, 0, type (8 = unsigned byte), d; then d sizes, big-endian int32; then the values in C
    order.

    Raises InputError for a file that is unreadable, damaged, truncated, too long, or not of this format.
    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    path = Path(path)
    try:
        with _open(path) as file:
            shape = _read_shape(path, file, content, dimensions)
            announced = math.prod(shape)
            _check_decompressed_size(path, shape)
            values = _read_at_most(file, announced + 1)
    except (OSError, EOFError, MemoryError, lzma.LZMAError, zlib.error) as error:
        raise InputError(
            f"{path}: expected a readable IDX file, got: {error}. Download it again or check its permissions."
        ) from error
    if len(values) != announced:
        actual = "more" if len(values) > announced else len(values)
        raise InputError(
            f"{path}: expected {announced} bytes after the header, which announces the shape {shape}, "
            f"got {actual}. Download the file again."
        )
    return np.frombuffer(values, dtype=np.uint8).reshape(shape)


def read_dataset(
    name: str, folder: str | os.PathLike[str], class_names: tuple[str, ...], how_to_get_it: str
) -> Dataset:
    """Read a dataset of grey images whose four files are called as those of MNIST.

    Shapes: images uint8 (N, H, W, 1), labels int32 (N,).

    Raises InputError naming the file that is missing, damaged, or at odds with another.
    """
    parts = []
    for part in ("train", "t10k"):
        images_path = _find(name, Path(folder), f"{part}-images", "idx3-ubyte", how_to_get_it)
        labels_path = _find(name, Path(folder), f"{part}-labels", "idx1-ubyte", how_to_get_it)
        images = read_idx(images_path, "images", dimensions=3)[..., np.newaxis]
        labels = read_idx(labels_path, "labels", dimensions=1)
        check_counts(str(images_path), images, str(labels_path), labels)
        check_labels(str(labels_path), labels, len(class_names))
        parts.append((str(images_path), images, labels.astype(np.int32)))
    (train_path, train_inputs, train_targets), (test_path, test_inputs, test_targets) = parts
    check_image_shapes(train_path, train_inputs, test_path, test_inputs)
    return Dataset(name, train_inputs, train_targets, test_inputs, test_targets, class_names)


def _find(name: str, folder: Path, stem: str, kind: str, how_to_get_it: str) -> Path:
    names = [f"{stem}{separator}{kind}" for separator in "-."]
    for spelling in names:
        for compression in ("", ".gz", ".xz"):
            path = folder / (spelling + compression)
            if is_file(path):
                return path
    raise InputError(
        f"{name}: expected {names[0]} or {names[1]} (as it is, .gz or .xz) in {folder}, got no such file. "
        f"{how_to_get_it}"
    )


def _open(path: Path) -> io.BufferedIOBase:
    return _COMPRESSED.get(path.suffix, open)(path, "rb")


def _read_shape(path: Path, file: io.BufferedIOBase, content: str, dimensions: int | None) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:3] != bytes([0, 0, _UINT8]) or not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise InputError(
            f"{path}: expected the magic number 0000080d (d = 1 to {_MAX_DIMENSIONS} dimensions) of an IDX "
            f"file of unsigned bytes, got {magic.hex() or 'an empty file'}. Use the original file."
        )
    if dimensions is not None and magic[3] != dimensions:
        raise InputError(
            f"{path}: expected {content} with the magic number 0000080{dimensions}, got {magic.hex()}. "
            "Put the right content under this name."
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) != 4 * magic[3]:
        raise InputError(
            f"{path}: expected {magic[3]} sizes of 4 bytes in the header, got {len(sizes)} bytes. "
            "Download the file again."
        )
    shape = tuple(np.frombuffer(sizes, dtype=">i4").tolist())
    if min(shape) < 1:
        raise InputError(f"{path}: expected sizes of at least 1 in the header, got {shape}. Download the file again.")
    return shape


def _check_decompressed_size(path: Path, shape: tuple[int, ...]) -> None:
    """A file as it is can hold no more than its own size; a few compressed megabytes may hold any number of zeros."""
    if path.suffix in _COMPRESSED and math.prod(shape) > _MAX_DECOMPRESSED_BYTES:
        raise InputError(
            f"{path}: expected at most {_MAX_DECOMPRESSED_BYTES:,} bytes in a compressed file, got a header that "
            f"announces the shape {shape}. If you trust the file, decompress it."
        )


def _read_at_most(file: io.BufferedIOBase, limit: int) -> bytearray:
    """Read in chunks, because `file.read(limit)` would allocate a limit that the header only pretends."""
    values = bytearray()
    while chunk := file.read(min(_CHUNK_BYTES, limit - len(values))):
        values += chunk
    return values
