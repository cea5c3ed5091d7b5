"""The IDX file format of MNIST and the datasets made in its likeness."""

import gzip
import io
import lzma
import math
import os
import zlib
from pathlib import Path

import numpy as np

from xpnet.errors import InputError

_UINT8 = 0x08
_MAX_DIMENSIONS = 4
_CHUNK_BYTES = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file of unsigned bytes; names that end in .gz or .xz are decompressed.

    Format: the bytes 0, 0, type (8 = unsigned byte), d; then d sizes, big-endian int32; then the values in C
    order.

    Raises InputError for a file that is unreadable, damaged, truncated, too long, or not of this format.
    Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits".
    """
    path = Path(path)
    try:
        with _open(path) as file:
            shape = _read_shape(path, file)
            announced = math.prod(shape)
            values = _read_at_most(file, announced + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
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


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".xz":
        return lzma.open(path)
    return open(path, "rb")


def _read_shape(path: Path, file: io.BufferedIOBase) -> tuple[int, ...]:
    magic = file.read(4)
    if len(magic) != 4 or magic[:3] != bytes([0, 0, _UINT8]) or not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise InputError(
            f"{path}: expected the magic number 0000080d (d = 1 to {_MAX_DIMENSIONS} dimensions) of an IDX "
            f"file of unsigned bytes, got {magic.hex() or 'an empty file'}. Use the original file."
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


def _read_at_most(file: io.BufferedIOBase, limit: int) -> bytearray:
    """Read in chunks, because `file.read(limit)` would allocate a limit that the header only pretends."""
    values = bytearray()
    while chunk := file.read(min(_CHUNK_BYTES, limit - len(values))):
        values += chunk
    return values
