"""Files that are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place in one step: a reader finds the old content or the new one, also after a power failure.

    Raises OSError if that fails; the old file is then untouched.  Source: fsync(2), rename(2).
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove what a process that was killed in ``write_whole`` left behind; nobody else may be writing there."""
    for partial in folder.glob(".*.part"):
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
