"""Atomic file writes, in the folder that was meant, and checks that a path is a regular file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xpnet.errors import InputError

Identity = tuple[int, int] | None
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_held: dict[Path, Identity] = {}


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Turn a full disk, or whatever else writing may meet, into one line that says what was being written."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{what}: cannot be written ({reason}). {_advice(error)} or choose another path.") from error


def _advice(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "Create the folder"
    return "Free some space" if getattr(error, "errno", None) in _FULL else "Check the path and its permissions"


def is_file(path: Path) -> bool:
    """Whether there is such a file. Raises InputError where that cannot be found out."""
    try:
        return path.is_file()
    except OSError as error:
        raise InputError(
            f"{path}: expected a file in a readable folder, got: {error.strerror}. Check the path and its permissions."
        ) from error


def identity(path: Path) -> Identity:
    """What tells a file or folder from any other that may take its place; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """Write into the folder that this file or folder is in, and below it, only while nothing has taken its place."""
    _held[path] = identity(path)
    try:
        yield
    finally:
        del _held[path]


def check_held(path: Path) -> None:
    """Raise InputError if a path leads into a folder that is no longer the one that this process holds.

    To be asked right before each write: a folder may be renamed or replaced while a run goes on.
    """
    for held, before in _held.items():
        if held.parent in path.parents and identity(held) != before:
            raise InputError(
                f"{held.parent}: expected the folder that this run holds, found {'another' if held.exists() else 'no'} "
                f"{held.name} in it. Put it back, or resume the run where its folder is now."
            )


def require_readable(path: object, what: str, kind: str) -> None:
    """Raise InputError unless there is a file that can be read: none at all is told from one without permission."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{what} {path!r}: expected a path, got {type(path).__name__}. Pass the path of {kind}.")
    try:
        is_there = stat.S_ISREG(os.stat(path).st_mode)
        if is_there:
            open(path, "rb").close()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with a null character
        is_there = False
    except OSError as error:
        raise InputError(
            f"{what} {path}: expected a readable file, got: {error.strerror}. Check the path and its permissions."
        ) from error
    if not is_there:
        raise InputError(f"{what} {path}: expected {kind}, found none. Check the path.")


def require_regular_file(path: str | os.PathLike[str], what: str = "") -> None:
    """Refuse a pipe, which may take for ever to open, and a device, which no file may replace."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise InputError(f"{what} {path}: expected a file, got a pipe or a device. Use a regular file.".lstrip())


def atomic_write(path: Path, content: bytes, *, what: str = "") -> None:
    """Put a file in place in one step: a reader finds the old content or the new one, also after a power failure.

    Raises InputError, with ``what`` the file is, if that fails, or if the folder is not the one that this process
    holds; the old file is then untouched.
    Source: fsync(2), rename(2).
    """
    require_regular_file(path)
    check_held(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(f"{what} {path}".lstrip()):
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            check_held(path)  # again: to write may have taken seconds
            os.replace(partial, path)
            _sync_folder(path.parent)
        finally:
            partial.unlink(missing_ok=True)


def remove_partial(folder: Path, *names: str) -> None:
    """Remove what a process that was killed in ``atomic_write`` left of files by these names, or patterns of names.

    Nobody else may be writing these there.
    """
    for name in names:
        for partial in folder.glob(f".{name}.*.part"):
            if partial.suffixes[-2][1:].isdecimal() and partial.is_file():
                partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the new name last too, which is the folder's content and not the file's."""
    if os.name == "nt":  # which opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
