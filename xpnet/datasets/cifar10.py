"""CIFAR-10: 32x32 colour images of ten kinds of things, 50,000 for training and 10,000 for testing."""

import io
import os
import pickle
import pickletools
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xpnet.datasets.arrays import check_counts, check_labels
from xpnet.datasets.base import Dataset
from xpnet.datasets.download import RemoteFile, check_hash, fetch
from xpnet.errors import InputError
from xpnet.files import is_file

_FOLDER = "cifar-10-batches-py"
_TRAIN_FILES = tuple(f"data_batch_{i}" for i in range(1, 6))
_TEST_FILE = "test_batch"
_NAMES_FILE = "batches.meta"
_FILES = (*_TRAIN_FILES, _TEST_FILE, _NAMES_FILE)
_ARCHIVE = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
_HOW_TO_GET_IT = f"Download {_ARCHIVE.url} and give the folder that it is in as data_dir."
_CLASSES = 10
_VALUES_PER_IMAGE = 3 * 32 * 32
_MAX_FILE_BYTES = 1 << 28  # the official files have 31 MB
_MAX_OPERATIONS = 1 << 20  # and need 30,000 to 40,000


def load(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read the official Python version of CIFAR-10; without a folder, download it.

    `data_dir` is the folder of its files, or one that holds this folder or the archive cifar-10-python.tar.gz. This is
    the version that torchvision and Keras download and unpack, so those who have CIFAR-10 have it in this form.

    Shapes: images uint8 (N, 32, 32, 3), labels int32 (N,).

    Raises InputError naming the file that is missing, damaged or not what it should be, or cannot be downloaded.
    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    class_names: tuple[str, ...] = ()
    for name, path, content in _contents(data_dir):
        if name == _NAMES_FILE:
            class_names = _read_class_names(path, content)
        else:
            batches[name] = _read_batch(path, content)
    train = [batches[name] for name in _TRAIN_FILES]
    return Dataset(
        "cifar10",
        np.concatenate([images for images, _ in train]),
        np.concatenate([labels for _, labels in train]),
        *batches[_TEST_FILE],
        class_names,
    )


def _contents(data_dir: str | os.PathLike[str] | None) -> Iterator[tuple[str, Path, bytes]]:
    """Name, path and content of every file, one at a time and in any order."""
    if data_dir is None:
        return _in_archive(fetch("cifar10", _ARCHIVE, _HOW_TO_GET_IT))
    parent = Path(data_dir)
    folder = parent / _FOLDER if os.path.isdir(parent / _FOLDER) else parent
    archive = parent / _ARCHIVE.name
    missing = [name for name in _FILES if not is_file(folder / name)]
    if not missing:
        return _in_folder(folder)
    if is_file(archive):
        check_hash(archive, _ARCHIVE, _HOW_TO_GET_IT)
        return _in_archive(archive)
    raise InputError(f"cifar10: expected the official files in {folder}, got no {', '.join(missing)}. {_HOW_TO_GET_IT}")


def _in_folder(folder: Path) -> Iterator[tuple[str, Path, bytes]]:
    for name in _FILES:
        path = folder / name
        try:
            size = path.stat().st_size
            if size > _MAX_FILE_BYTES:
                raise InputError(f"{path}: expected at most {_MAX_FILE_BYTES:,} bytes, got {size:,}. {_HOW_TO_GET_IT}")
            yield name, path, path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: expected a readable file, got: {error.strerror}. {_HOW_TO_GET_IT}") from error


def _in_archive(archive: Path) -> Iterator[tuple[str, Path, bytes]]:
    """Read members by name from an archive whose hash was checked; nothing is written to disk."""
    members = {f"{_FOLDER}/{name}": name for name in _FILES}
    with tarfile.open(archive, "r|gz") as tar:  # from front to back: to seek is to decompress again
        for member in tar:
            file = tar.extractfile(member) if member.name in members else None
            if file:
                yield members[member.name], archive / member.name, file.read()


def _read_batch(path: Path, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,) of one file."""
    batch = _unpickle(path, content)
    images = _pixels(path, _entry(path, batch, "data"))
    labels = _labels(path, _entry(path, batch, "labels"))
    check_counts(f"'data' of {path}", images, f"'labels' of {path}", labels)
    check_labels(f"'labels' of {path}", labels, _CLASSES)
    channels_last = images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(channels_last), labels.astype(np.int32)


def _read_class_names(path: Path, content: bytes) -> tuple[str, ...]:
    names = _entry(path, _unpickle(path, content), "label_names")
    if isinstance(names, list) and len(names) == _CLASSES and all(isinstance(n, str | bytes) for n in names):
        texts = tuple(name if isinstance(name, str) else name.decode("ascii", "replace") for name in names)
        if all(text.isprintable() for text in texts) and len(set(texts)) == _CLASSES:
            return texts
    raise InputError(
        f"{path}: expected 'label_names' to be {_CLASSES} different names, got other content. {_HOW_TO_GET_IT}"
    )


def _entry(path: Path, batch: object, key: str) -> Any:
    """The value under a key that Python 2 wrote as bytes and Python 3 as str."""
    if isinstance(batch, dict):
        for spelling in (key, key.encode()):
            if spelling in batch:
                return batch[spelling]
    raise InputError(f"{path}: expected a dictionary with the key {key!r}, got other content. {_HOW_TO_GET_IT}")


def _pixels(path: Path, data: object) -> np.ndarray:
    array = data.array if isinstance(data, _Array) else None
    if array is None or array.ndim != 2 or array.shape[1] != _VALUES_PER_IMAGE:
        actual = "other content" if array is None else f"shape {array.shape}"
        raise InputError(
            f"{path}: expected 'data' to be a uint8 array (N, {_VALUES_PER_IMAGE}), got {actual}. {_HOW_TO_GET_IT}"
        )
    return array


def _labels(path: Path, values: object) -> np.ndarray:
    if isinstance(values, list) and all(type(value) is int for value in values):
        labels = np.asarray(values)
        if labels.dtype == np.int64:  # float64 when the list is empty, another type when a value is too large
            return labels
    raise InputError(f"{path}: expected 'labels' to be a list of integers, got other content. {_HOW_TO_GET_IT}")


# A pickle can call anything it can name, and NumPy's own reconstruction believes what it is told about
# memory. So the NumPy names in a file stand for the classes below, which make uint8 arrays and nothing else.


class _DType:
    """What a pickle gets for numpy.dtype."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and alignment mean nothing for single bytes."""


class _Array:
    """What a pickle gets for numpy.ndarray: empty when called, then filled from its state."""

    array: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran_order, values = state
        self.array = _uint8_array(values, dtype, shape, "F" if fortran_order else "C")


class _ArrayFromBuffer(_Array):
    """What a pickle of protocol 5 gets: all in one call."""

    def __init__(self, values: Any, dtype: Any, shape: Any, order: Any) -> None:
        self.array = _uint8_array(values, dtype, shape, order)


def _uint8_array(values: Any, dtype: _DType, shape: Any, order: Any) -> np.ndarray:
    if dtype.code not in ("u1", b"u1"):
        code = dtype.code if isinstance(dtype.code, str | bytes) else type(dtype.code)
        raise pickle.UnpicklingError(f"an array of {code!r:.40} where uint8 ('u1') is expected")
    return np.frombuffer(values, np.uint8).reshape(shape, order=order)


_ADMITTED: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _ArrayFromBuffer,
    ("numpy._core.numeric", "_frombuffer"): _ArrayFromBuffer,
}
_SETS = (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)
_MAX_KEYS = 100  # the official files have 3 or 4
_ENCODE = ("_codecs", "encode")  # how Python 3 writes bytes in protocols 0 to 2


_PythonUnpickler: Any = pickle._Unpickler  # type checkers do not know what it is made of


class _Unpickler(_PythonUnpickler):
    """The unpickler that is written in Python, which can look at a dictionary before it is built.

    Numbers can be chosen so that they all fall on one place of its table, and tuples of tuples so that the hash of one
    takes years. Neither can be done to text and bytes, whose hashes are salted.
    """

    dispatch: ClassVar[Any] = {
        code: load for code, load in _PythonUnpickler.dispatch.items() if bytes([code]) not in _SETS
    }

    def load_dict(self) -> None:
        """Build a dictionary from the keys and values since the last mark."""
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_setitem(self) -> None:
        """Put one value into a dictionary."""
        _check_keys([*self.stack[-3], self.stack[-2]])
        super().load_setitem()

    def load_setitems(self) -> None:
        """Put the keys and values since the last mark into a dictionary."""
        _check_keys([*self.metastack[-1][-1], *self.stack[::2]])
        super().load_setitems()

    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems

    def __init__(self, path: Path, content: bytes) -> None:
        # From memory, where a length that goes beyond the end of the file cannot make `read` allocate it.
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._path = path
        self._bytes_to_encode = len(content)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == _ENCODE:
            return self._encode
        if (module, name) not in _ADMITTED:
            raise InputError(
                f"{self._path}: expected arrays, lists and text only, got the global {f'{module}.{name}'!r}, "
                f"which was not run. Do not use this file. {_HOW_TO_GET_IT}"
            )
        return _ADMITTED[module, name]

    def _encode(self, text: str, encoding: str) -> bytes:
        self._bytes_to_encode -= len(text)
        if encoding != "latin1" or self._bytes_to_encode < 0:
            raise pickle.UnpicklingError("text that is encoded in another way, or again and again")
        return text.encode("latin1")


def _check_keys(keys: list[Any]) -> None:
    if len(keys) > _MAX_KEYS or not all(type(key) in (str, bytes) for key in keys):
        raise pickle.UnpicklingError(f"a dictionary with other keys than up to {_MAX_KEYS} texts")


def _check_operations(content: bytes) -> None:
    """Refuse a pickle that would take far more memory than it is long.

    A place in the memo is as large a table as its number says; an empty set is one byte in the file and 216 in memory.
    """
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if count == _MAX_OPERATIONS:
            raise pickle.UnpicklingError(f"more than {_MAX_OPERATIONS:,} operations")
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > count:
            raise pickle.UnpicklingError(f"place {argument:,} of the memo after {count:,} operations")


def _unpickle(path: Path, content: bytes) -> object:
    try:
        _check_operations(content)
        return _Unpickler(path, content).load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise any exception
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: expected a complete pickle file, got: {reason}. {_HOW_TO_GET_IT}") from error
