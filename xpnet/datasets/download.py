"""Downloads into a cache folder, checked against published hashes.

Pooch, requests, rich and filelock are imported where they are used: they take a while, and most runs download nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from xpnet.errors import InputError

if TYPE_CHECKING:
    from rich.progress import Progress

_TIMEOUT = 30  # seconds without a byte
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server, and the SHA-256 by which it is recognised: hexadecimal digits, all or the first of them."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Its name without the folders."""
        return self.url.rpartition("/")[2]


def fetch(dataset: str, file: RemoteFile, how_to_get_it: str) -> Path:
    """Path of the file in the user's cache; downloaded unless it is there with the right hash.

    A file gets its name only when it is whole and its hash is right. Until then it grows as NAME.part, with which the
    next call goes on. A process that comes while another one downloads waits for it.

    Raises InputError, which ends with `how_to_get_it`, where the file cannot be downloaded or has another SHA-256.
    """
    import pooch
    from filelock import FileLock

    path = Path(pooch.os_cache("xpnet")) / dataset / file.name
    try:
        if not (path.exists() and _is_right(path, file)):  # a cache that has the file need not be writable
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_name(f".{file.name}.lock")):
                if not (path.exists() and _is_right(path, file)):  # nor has another process got it meanwhile
                    _download(path.with_name(f"{file.name}.part"), file, path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{dataset}: expected to download {file.name}, got: {_reason(error, file)}. {how_to_get_it}"
        ) from error
    return path


def check_hash(path: Path, file: RemoteFile, how_to_get_it: str) -> None:
    """Raise InputError unless `path` holds the published file."""
    try:
        actual = _hash(path)
    except OSError as error:
        raise InputError(f"{path}: expected a readable file, got: {error.strerror}. {how_to_get_it}") from error
    if actual != file.sha256:
        raise InputError(f"{path}: expected the SHA-256 {file.sha256}, got {actual}. {how_to_get_it}")


def _hash(path: Path) -> str:
    import pooch

    return pooch.file_hash(os.fspath(path), alg="sha256")


def _is_right(path: Path, file: RemoteFile) -> bool:
    return _hash(path).startswith(file.sha256)


def _download(part: Path, file: RemoteFile, output: Path) -> None:
    """Make the part whole, and the file of it. Raises ValueError for another SHA-256."""
    with _progress() as progress:
        _continue(part, file.url, progress)
    if not _is_right(part, file):
        part.unlink()
        raise ValueError(f"not {file.sha256}")
    part.replace(output)


def _continue(part: Path, url: str, progress: Progress) -> None:
    """Add what is missing to the part; rewrite it where the server sends everything, or has nothing more."""
    import requests

    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"}  # bytes are counted as the file has them
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if start and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            _continue(part, url, progress)
            return
        response.raise_for_status()
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            start = 0
        rest = response.headers.get("Content-Length")
        task = progress.add_task(part.stem, total=start + int(rest) if rest else None, completed=start)
        with part.open("ab" if start else "wb") as output:
            for chunk in response.iter_content(_CHUNK_BYTES):
                output.write(chunk)
                progress.advance(task, len(chunk))


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
