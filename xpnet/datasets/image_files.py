"""Images that stay in PNG and JPEG files until they are asked for."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Condition
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from xpnet.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
U = TypeVar("U")

MAX_PIXELS = 1 << 26  # 8192 x 8192, of which Pillow takes 4 bytes each
_FORMATS = ("PNG", "JPEG")
_GREY_MODES = ("1", "L", "LA", "I", "I;16")
_THREADS = min(8, os.cpu_count() or 1)
_FILES_PER_TASK = 64  # at most: between two tasks a thread can be stopped
_MEMORY_BYTES = 1 << 30  # that all decoders may take together: seven photographs of 16 million pixels
_BYTES_PER_PIXEL, _BYTES_PER_ROW = 9, 16  # of Pillow's image and its conversions, with a pointer to every row

_logger = logging.getLogger(__name__)


class Header(NamedTuple):
    """What a file says about its image without being decoded."""

    height: int
    width: int
    grey: bool


class ImageFiles:
    """Images (N, H, W, C) that threads decode when they are indexed, as RGB or grey (C = 3 or 1).

    An image of another size is scaled to cover (H, W), and what is over on two sides is cut off. One that turns out to
    be damaged is black, because the others keep their places, and is counted in a warning.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, paths: Sequence[str] | np.ndarray, input_shape: tuple[int, int, int]) -> None:
        self.paths = np.asarray(paths, object)
        self.shape = (len(self.paths), *input_shape)
        self.size = math.prod(self.shape)
        self._damaged: set[str] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Decode what an index, a slice or an array of indices picks, as from an array."""
        if isinstance(key, int | np.integer):
            return self[[key]][0]
        return self.start(key)()

    def start(self, key: Any) -> Callable[[], np.ndarray]:
        """Begin to decode the images of a slice or of an array of indices.

        The function that is returned waits for them: uint8 (n, H, W, C).
        """
        paths = self.paths[key]
        wait = start_decoding(paths, self.shape[1:])

        def images() -> np.ndarray:
            decoded, damage = wait()
            for index, reason in damage.items():
                self._count_damaged(paths[index], reason)
            return decoded

        return images

    def subset(self, indices: np.ndarray) -> ImageFiles:
        """Some of the images, not decoded yet."""
        return ImageFiles(self.paths[indices], self.shape[1:])

    def _count_damaged(self, path: str, reason: str) -> None:
        if path in self._damaged:
            return
        self._damaged.add(path)
        count = len(self._damaged)
        if count in (1, 10, 100, 1000, 10_000):  # not a line for each
            _logger.warning("%r: %s. Black is put in its place. Damaged images so far: %d.", path, reason, count)


def read_image(path: str | os.PathLike[str], input_shape: tuple[int, ...], *, pad: bool = False) -> np.ndarray:
    """One image of any size as uint8 (H, W, C), scaled to cover (H, W) and cropped at the centre.

    With ``pad`` it is scaled to fit into (H, W), and black is put around it.

    Raises InputError if it cannot be read, or the shape is not an image's.
    """
    if len(input_shape) != 3:
        raise InputError(
            f"Image {path}: expected a network for images (H, W, C), got one for inputs of shape {input_shape}. "
            "Use the weights of an image network."
        )
    try:
        return _decode(os.fspath(path), input_shape, pad)
    except Exception as error:  # a damaged image can raise any
        reason = _reason(error)
        raise InputError(
            f"Image {path}: expected a readable PNG or JPEG file, got: {reason}. Use another file."
        ) from error


def read_headers(paths: Sequence[str]) -> list[Header | str]:
    """Read what each file says about its image, or the reason why it cannot be used."""
    return _start(_unless_damaged(_read_header), paths)()


def start_decoding(
    paths: Sequence[str] | np.ndarray, input_shape: tuple[int, ...]
) -> Callable[[], tuple[np.ndarray, dict[int, str]]]:
    """Begin to decode in the background.

    The function that is returned waits for the images, uint8 (N, *input_shape), and for the damaged ones among them:
    index and reason. These are black.
    """
    images = np.zeros((len(paths), *input_shape), np.uint8)

    def decode(index: int) -> None:
        images[index] = _decode(paths[index], input_shape)

    wait = _start(_unless_damaged(decode), range(len(paths)))
    return lambda: (images, {index: reason for index, reason in enumerate(wait()) if reason is not None})


def _read_header(path: str) -> Header:
    with _open(path) as image:
        return Header(image.height, image.width, image.mode in _GREY_MODES)


def _decode(path: str, input_shape: tuple[int, ...], pad: bool = False) -> np.ndarray:
    from PIL import ImageOps

    height, width, channels = input_shape
    with _open(path) as file:
        file.draft(None, (width, height))  # JPEG files are decoded much faster at 1/2, 1/4 or 1/8 of their size
        with _memory().hold(_BYTES_PER_PIXEL * file.width * file.height + _BYTES_PER_ROW * file.height):
            image = _in_eight_bits(file).convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = (ImageOps.pad if pad else ImageOps.fit)(image, (width, height))
            return np.asarray(image).reshape(input_shape)


def _in_eight_bits(image: Image.Image) -> Image.Image:
    """Convert what Pillow's `convert` does badly: it clips 16 bits at 255, and warns of palettes with transparency."""
    from PIL import Image

    if image.mode in ("I", "I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGBA") if "transparency" in image.info else image


@contextmanager
def _open(path: str) -> Iterator[Image.Image]:
    from PIL import Image

    with Image.open(path, formats=_FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels are more than {MAX_PIXELS:,}")
        yield image


def _unless_damaged(function: Callable[[T], U]) -> Callable[[T], U | str]:
    """The function, but for the reason in place of any exception."""

    def guarded(argument: T) -> U | str:
        try:
            return function(argument)
        except Exception as error:  # a damaged image can raise any
            return _reason(error)

    return guarded


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _start(function: Callable[[T], U], arguments: Sequence[T]) -> Callable[[], list[U]]:
    """Begin to call the function in threads; the function that is returned waits for the results, in order."""
    size = max(1, min(_FILES_PER_TASK, math.ceil(len(arguments) / _THREADS)))
    chunks = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    tasks = [_pool().submit(lambda chunk: [function(argument) for argument in chunk], chunk) for chunk in chunks]

    def wait() -> list[U]:
        try:
            return [result for task in tasks for result in task.result()]
        except BaseException:  # Ctrl-C: the process would not end before the last task
            for task in tasks:
                task.cancel()
            raise

    return wait


class _Memory:
    """Bytes that threads hold together; who would exceed the limit waits, unless nobody else holds any."""

    def __init__(self, limit: int) -> None:
        self._limit, self._held, self._changed = limit, 0, Condition()

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Wait until there is room for so many bytes, and hold them."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._held + count <= self._limit)
            self._held += count
        try:
            yield
        finally:
            with self._changed:
                self._held -= count
                self._changed.notify_all()


@cache
def _memory() -> _Memory:
    return _Memory(_MEMORY_BYTES)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="xpnet-images")


def _forget_threads() -> None:
    """A forked child has none of its parent's threads, and what they held is held for ever."""
    _pool.cache_clear()
    _memory.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)
