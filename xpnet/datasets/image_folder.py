"""Any folder of PNG and JPEG images, with a folder for each class."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.datasets.base import Dataset
from xpnet.datasets.batches import split_indices
from xpnet.datasets.image_files import MAX_PIXELS, Header, ImageFiles, read_headers, start_decoding
from xpnet.errors import InputError
from xpnet.shapes import check_positive

IN_MEMORY_BYTES = 1 << 30
_FOLDERS = {"train": "train", "test": "test", "val": "validation", "validation": "validation"}  # and their parts
_SUFFIXES = (".png", ".jpg", ".jpeg")
_LAYOUT = "Put the images into train/<class>/ and test/<class>/, or all of them into <class>/."
_SPLIT_SEED = 0  # the test images belong to the data, not to a run

_logger = logging.getLogger(__name__)


class _File(NamedTuple):
    path: str
    label: int
    header: Header


def load(data_dir: str | os.PathLike[str] | None, image_size: Sequence[int] | None = None) -> Dataset:
    """Read images from the folders train/<class>, test/<class> and val/<class> (or validation/<class>) in `data_dir`.

    Without a folder train, the folders in `data_dir` are the classes. Without a folder test, a tenth of the training
    images is for testing, the same ones as long as the files stay the same. Classes are in the order of their names.
    Hidden folders, symbolic links, and files not called .png, .jpg or .jpeg are passed over.

    Images are scaled to cover `image_size` (height, width) and cropped to it at the centre; without it, all must have
    one size. They are grey if all are, else RGB; transparency, and the rotation that cameras note in their files, are
    ignored. Up to 1 GiB of pixels is decoded at once; of more, each image is decoded when it is needed (`ImageFiles`).
    Images that cannot be read are left out and counted in a warning.

    Shapes: images uint8 (N, H, W, 1 or 3), labels int32 (N,).

    Raises InputError naming the folder or image that is missing or wrong, or a class without readable images.
    """
    try:
        folders = _part_folders(data_dir)
        class_names = _class_names(folders["train"])
        parts = {part: _scan(folder, class_names) for part, folder in folders.items()}
    except OSError as error:
        raise InputError(f"{error.filename}: expected a readable folder, got: {error.strerror}. {_LAYOUT}") from error
    except InputError:
        raise
    except ValueError as error:  # characters that no path can have
        raise InputError(f"{data_dir!r}: expected a readable folder, got: {error}. {_LAYOUT}") from error
    input_shape = _image_shape(list(chain(*parts.values())), image_size)
    if "test" not in parts:
        parts["train"], parts["test"] = _split(parts["train"])
    decoded_bytes = math.prod(input_shape) * sum(map(len, parts.values()))
    read = _decode if decoded_bytes <= IN_MEMORY_BYTES else _leave_in_files
    arrays = {part: read(files, input_shape) for part, files in parts.items()}
    return Dataset("folder", *arrays["train"], *arrays["test"], class_names, *arrays.get("validation", (None, None)))


def _part_folders(data_dir: str | os.PathLike[str] | None) -> dict[str, Path]:
    if data_dir is None:
        raise InputError(f"folder: expected a folder of images, got no data_dir. Set it. {_LAYOUT}")
    root = Path(data_dir)
    subfolders = _subfolders(root)
    if "train" not in subfolders or not _subfolders(root / "train"):  # there may be a class of trains
        return {"train": root}
    if "val" in subfolders and "validation" in subfolders:
        raise InputError(f"{root}: expected one folder of validation images, got val and validation. Remove one.")
    return {part: root / name for name, part in _FOLDERS.items() if name in subfolders}


def _class_names(folder: Path) -> tuple[str, ...]:
    names = _subfolders(folder)
    if len(names) < 2:
        raise InputError(f"{folder}: expected folders of 2 classes or more, got {len(names)}. {_LAYOUT}")
    for name in names:
        if not name.isprintable():
            raise InputError(f"{folder}: expected class names that can be printed, got {name!r}. Rename this folder.")
    return tuple(names)


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))


def _image_paths(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(
            e.path for e in entries if e.name.lower().endswith(_SUFFIXES) and e.is_file(follow_symlinks=False)
        )


def _scan(folder: Path, class_names: tuple[str, ...]) -> list[_File]:
    """The images of one part whose headers can be read, class by class."""
    labels = {name: label for label, name in enumerate(class_names)}
    files: list[_File] = []
    damage: dict[str, str] = {}
    for name in _subfolders(folder):
        if name not in labels:
            raise InputError(
                f"{folder}: expected the classes of the training images, got {name!r}. "
                "Remove this folder, or add training images of this class."
            )
        paths, readable_before = _image_paths(folder / name), len(files)
        for path, header in zip(paths, read_headers(paths), strict=True):
            if isinstance(header, str):
                damage[path] = header
            else:
                files.append(_File(path, labels[name], header))
        if len(files) == readable_before:
            actual = f"{len(paths)} unreadable ones" if paths else "none"
            raise InputError(
                f"{folder / name}: expected readable PNG or JPEG images, got {actual}. "
                "Add images of this class, or remove its folder."
            )
    _warn_of(damage)
    return files


def _warn_of(damage: Mapping[str, str]) -> None:
    if damage:
        path, reason = next(iter(damage.items()))
        count = len(damage)
        _logger.warning("Images left out because they cannot be read: %d. The first is %r: %s.", count, path, reason)


def _image_shape(files: list[_File], image_size: Sequence[int] | None) -> tuple[int, int, int]:
    channels = 1 if all(file.header.grey for file in files) else 3
    if image_size is None:
        return (*_common_size(files), channels)
    if not isinstance(image_size, Sequence) or len(image_size) != 2:
        raise InputError(f"folder: expected an image size of height and width, got {image_size!r}. Pass two numbers.")
    height, width = image_size
    check_positive("folder", "the image height", height)
    check_positive("folder", "the image width", width)
    if height * width > MAX_PIXELS:
        raise InputError(
            f"folder: expected at most {MAX_PIXELS} pixels in an image, got {height}x{width}. Choose a smaller size."
        )
    return height, width, channels


def _common_size(files: list[_File]) -> tuple[int, int]:
    first = files[0]
    height, width, _ = first.header
    for file in files:
        if file.header[:2] != (height, width):
            raise InputError(
                f"folder: expected images of one size, got {height}x{width} (height x width) in {first.path!r} and "
                f"{file.header.height}x{file.header.width} in {file.path!r}. "
                f"Choose one for all of them, such as image_size=({height}, {width})."
            )
    return height, width


def _split(files: list[_File]) -> tuple[list[_File], list[_File]]:
    """Training and test images."""
    indices = split_indices(len(files), max(len(files) // 10, 1), _SPLIT_SEED)
    train, test = ([files[index] for index in np.sort(part)] for part in indices)
    return train, test


def _decode(files: list[_File], input_shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    images, damage = start_decoding([file.path for file in files], input_shape)()
    labels = _labels(files)
    if damage:
        _warn_of({files[index].path: reason for index, reason in damage.items()})
        images, labels = np.delete(images, list(damage), axis=0), np.delete(labels, list(damage))
    return images, labels


def _leave_in_files(files: list[_File], input_shape: tuple[int, int, int]) -> tuple[ImageFiles, np.ndarray]:
    return ImageFiles([file.path for file in files], input_shape), _labels(files)


def _labels(files: list[_File]) -> np.ndarray:
    return np.asarray([file.label for file in files], np.int32)
