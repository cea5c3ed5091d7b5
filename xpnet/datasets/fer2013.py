"""FER2013: 48x48 grey images of faces with seven expressions, from the challenge of 2013."""

import io
import os
import warnings
from pathlib import Path

import numpy as np

from xpnet.datasets.base import Dataset
from xpnet.errors import InputError
from xpnet.files import is_file

_FILE = "fer2013.csv"
_HEADER = b"emotion,pixels,Usage"
_CLASS_NAMES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
_LABELS = {str(label).encode(): label for label in range(len(_CLASS_NAMES))}
_TRAINING, _VALIDATION, _TEST = b"Training", b"PublicTest", b"PrivateTest"
_SIDE = 48
_PIXELS = _SIDE * _SIDE
_MAX_LINE_BYTES = 1 << 15  # three times the longest line of 2,304 pixels
_HOW_TO_GET_IT = (
    f"Download {_FILE} from https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-"
    "recognition-challenge/data (it needs an account) and give its folder as data_dir."
)


def load(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read fer2013.csv from the folder `data_dir`, or from the folder fer2013 in it.

    The published training, public and private test images are the training, validation and test part; a file without
    public ones has no validation part.

    Shapes: images uint8 (N, 48, 48, 1), labels int32 (N,).

    Raises InputError without a folder or file, and naming the line that is not what it should be.
    Source: Goodfellow et al., "Challenges in Representation Learning: A report on three machine learning contests",
    Neural Networks 64, 2015.
    """
    path = _find(data_dir)
    parts = {_TRAINING: _Part(), _VALIDATION: _Part(), _TEST: _Part()}
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # NumPy's error for bad text was a warning before 2.3
            _read_lines(path, file, parts)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, got: {error.strerror}. {_HOW_TO_GET_IT}") from error
    for usage in (_TRAINING, _TEST):
        if not parts[usage].labels:
            raise InputError(
                f"{path}: expected lines of the usage {usage.decode()}, got none. Use the whole file. {_HOW_TO_GET_IT}"
            )
    validation = parts[_VALIDATION].arrays() if parts[_VALIDATION].labels else (None, None)
    return Dataset("fer2013", *parts[_TRAINING].arrays(), *parts[_TEST].arrays(), _CLASS_NAMES, *validation)


class _Part:
    """Images and labels as they are read, in buffers that grow."""

    def __init__(self) -> None:
        self.pixels = bytearray()
        self.labels: list[int] = []

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 48, 48, 1) and labels (N,)."""
        images = np.frombuffer(self.pixels, np.uint8).reshape(-1, _SIDE, _SIDE, 1)
        return images, np.asarray(self.labels, np.int32)


def _find(data_dir: str | os.PathLike[str] | None) -> Path:
    if data_dir is None:
        raise InputError(f"fer2013: expected the folder of {_FILE}, got no data folder. {_HOW_TO_GET_IT}")
    for path in (Path(data_dir) / _FILE, Path(data_dir) / "fer2013" / _FILE):
        if is_file(path):
            return path
    raise InputError(f"fer2013: expected {_FILE} in {data_dir}, got no such file. {_HOW_TO_GET_IT}")


def _read_lines(path: Path, file: io.BufferedIOBase, parts: dict[bytes, _Part]) -> None:
    header = file.readline(_MAX_LINE_BYTES).strip()
    if header != _HEADER:
        raise _wrong_line(path, 1, f"the header {_HEADER.decode()}", header)
    lines = iter(lambda: file.readline(_MAX_LINE_BYTES), b"")
    for number, line in enumerate(lines, start=2):
        line = line.strip()
        emotion, separator, rest = line.partition(b",")
        pixels, _, usage = rest.rpartition(b",")
        if usage not in parts:
            expected = f"emotion,pixels,Usage with a usage of {', '.join(map(bytes.decode, parts))}"
            raise _wrong_line(path, number, expected, usage if separator else line)
        if emotion not in _LABELS:
            raise _wrong_line(path, number, f"an emotion from 0 to {len(_CLASS_NAMES) - 1}", emotion)
        parts[usage].pixels += _parse_pixels(path, number, pixels.strip(b'"'))
        parts[usage].labels.append(_LABELS[emotion])


def _parse_pixels(path: Path, number: int, text: bytes) -> bytes:
    expected = f"{_PIXELS} pixels from 0 to 255"
    try:
        pixels = np.fromstring(text, np.int64, sep=" ")
    except (ValueError, DeprecationWarning) as error:
        raise _wrong_line(path, number, expected, text) from error
    if pixels.size != _PIXELS:
        raise _wrong_line(path, number, expected, f"{pixels.size} pixels")
    if pixels.min() < 0 or pixels.max() > 255:
        raise _wrong_line(path, number, expected, f"pixels from {pixels.min()} to {pixels.max()}")
    return pixels.astype(np.uint8).tobytes()


def _wrong_line(path: Path, number: int, expected: str, actual: str | bytes) -> InputError:
    if isinstance(actual, bytes):
        actual = repr(actual[:40])[1:] + ("..." if len(actual) > 40 else "")
    return InputError(f"{path}, line {number}: expected {expected}, got {actual}. {_HOW_TO_GET_IT}")
