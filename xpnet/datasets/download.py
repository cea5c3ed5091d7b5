"""Downloads into a cache folder, checked against published hashes.

Pooch, requests and rich are imported where they are used: they take a while, and most runs download nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from xpnet.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

_TIMEOUT = 30  # seconds without a byte
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, and the SHA-256 in hexadecimal digits by which it is recognised."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Its name without the folders."""
        return self.url.rpartition("/")[2]


def fetch(dataset: str, file: RemoteFile, how_to_get_it: str) -> Path:
    """Path of the file in the user's cache; downloaded unless it is there with the right hash.

    A file gets its name only when it is whole and its hash is right. So an interrupted download starts again, and
    processes that download at once replace a good file by a good file.

    Raises InputError, which ends with `how_to_get_it`, where the file cannot be had or is another one.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the progress bar says what is downloaded
    with _progress() as progress:
        bar: Any = _Bar(progress, file.name)  # pooch's annotations know no bars but tqdm's
        downloader: Any = pooch.HTTPDownloader(bar, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT)
        try:
            path = pooch.retrieve(
                file.url,
                known_hash=f"sha256:{file.sha256}",
                fname=file.name,
                path=pooch.os_cache("xpnet") / dataset,
                downloader=downloader,
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"{dataset}: expected to download {file.name}, got: {_reason(error, file)}. {how_to_get_it}"
            ) from error
    return Path(path)


def check_hash(path: Path, file: RemoteFile, how_to_get_it: str) -> None:
    """Raise InputError unless `path` holds the published file."""
    import pooch

    try:
        actual = pooch.file_hash(os.fspath(path), alg="sha256")
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, got: {error.strerror}. {how_to_get_it}") from error
    if actual != file.sha256:
        raise InputError(f"{path}: expected the SHA-256 {file.sha256}, got {actual}. {how_to_get_it}")


def _reason(error: OSError | ValueError, file: RemoteFile) -> str:
    import requests

    if isinstance(error, requests.ConnectionError):
        return f"no connection to {urlsplit(file.url).hostname}"
    if isinstance(error, ValueError):
        return f"a file without the SHA-256 {file.sha256}"
    return " ".join(str(error).split())


def _progress() -> Progress:
    """A progress bar that is seen on a terminal only, and until it is full."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


class _Bar:
    """A bar of rich behind the names of tqdm, by which pooch calls it."""

    def __init__(self, progress: Progress, description: str) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=None)

    @property
    def total(self) -> float | None:
        """Number of bytes to come."""
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def update(self, count: int) -> None:
        """Count more bytes."""
        self._progress.advance(self._task, count)

    def reset(self) -> None:
        """Count from 0 again."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """Do nothing: the bar ends with its context."""
