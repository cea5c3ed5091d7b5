"""The page about runs that go on, served to browsers on this machine."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any, cast

from xpnet.errors import InputError
from xpnet.report import page
from xpnet.report.records import RecordReader
from xpnet.report.run import Run, State, read_run, state_of, titles
from xpnet.report.view import RunView
from xpnet.runs import RunConfig
from xpnet.runs.folder import CLASS_NAMES, CONFIG, START, SUMMARY, RunFolder

MOST_RUNS = 8  # on one page
_MOST_ENTRIES = 10_000  # of a folder
_ADDRESS = "127.0.0.1"


class Watch:
    """The page about the runs in some folders, each a run's or one that holds runs, of which the newest are shown.

    ``command`` says how to repeat a run. Of what the folders hold, only a bounded amount is read and kept.
    """

    def __init__(self, paths: Sequence[Path], command: Callable[[RunConfig], str]) -> None:
        self._paths, self._command = paths, command
        self._watched: dict[Path, _Watched] = {}
        self._page, self._shown = b"", ()
        self._lock = threading.Lock()  # matplotlib's settings belong to the process

    def current(self) -> bytes:
        """The page as it is now."""
        with self._lock:
            folders = self._folders()
            self._watched = {path: self._watched.get(path) or _Watched(RunFolder(path)) for path in folders}
            names = titles([watched.folder for watched in self._watched.values()])
            views = [
                watched.look(name, self._command) for name, watched in zip(names, self._watched.values(), strict=True)
            ]
            shown = tuple(views)
            if not self._page or shown != self._shown:
                self._page, self._shown = page.render(views, script=page.script()).encode(), shown
            return self._page

    def _folders(self) -> list[Path]:
        """The newest runs, the oldest of them first."""
        found: dict[Path, float] = {}
        for path in self._paths:
            for folder in (path, *_folders_in(path)):
                try:
                    found[folder] = (folder / CONFIG).stat().st_mtime
                except OSError:  # not a run's folder
                    continue
        return sorted(found, key=lambda folder: (found[folder], folder))[-MOST_RUNS:]


class _Watched:
    """A run that is looked at again and again."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._records = RecordReader(folder.metrics_path)
        self._seen: Any = None
        self._view: RunView | None = None

    def look(self, title: str, command: Callable[[RunConfig], str]) -> RunView:
        """The run as it is now; the same object as before if nothing has changed."""
        has_more = self._records.update()
        try:
            state = state_of(self.folder)
        except InputError:
            state = State.STOPPED
        stamps = [_stamp(self.folder.path / name) for name in (CONFIG, START, SUMMARY, CLASS_NAMES)]
        seen = (title, state, stamps)
        if self._view is None or has_more or seen != self._seen:
            run = self._read(state)
            self._view, self._seen = RunView(run, command(run.config) if run.config else "", title), seen
        return self._view

    def _read(self, state: State) -> Run:
        try:
            return read_run(self.folder, state, self._records)
        except InputError as error:  # a folder that cannot be read
            return Run(self.folder, state, None, self._records.history(), problems=[str(error)])


def serve(paths: Sequence[Path], command: Callable[[RunConfig], str], port: int) -> ThreadingHTTPServer:
    """A server of the page about runs, for browsers on this machine alone.

    Raises InputError for a path that is not a folder, or a port that cannot be listened on.
    """
    for path in paths:
        if not path.is_dir():
            raise InputError(f"{path}: expected a run's folder, or one of runs, found none. Check the path.")
    try:
        server = _Server((_ADDRESS, port), _Handler)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not from 0 to 65535"
        raise InputError(f"Port {port}: expected a free port, got: {reason}. Choose another port.") from error
    server.watch = Watch(paths, command)
    return server


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a browser that holds a connection does not hold the program
    watch: Watch


class _Handler(BaseHTTPRequestHandler):
    server_version, sys_version = "xpnet", ""
    timeout = 10

    def do_GET(self) -> None:
        """Send the page, or say that it is as it was."""
        server = cast(_Server, self.server)
        port = server.server_address[1]
        # A page from elsewhere whose name was made to lead here would have its own name in this header.
        if self.headers.get("Host") not in (f"{_ADDRESS}:{port}", f"localhost:{port}"):
            self._send(HTTPStatus.FORBIDDEN, b"This server answers to 127.0.0.1 alone.\n")
        elif self.path != "/":
            self._send(HTTPStatus.NOT_FOUND, b"There is one page: /\n")
        else:
            content = server.watch.current()
            tag = f'"{hashlib.sha256(content).hexdigest()}"'
            if self.headers.get("If-None-Match") == tag:
                self._send(HTTPStatus.NOT_MODIFIED, b"", {"ETag": tag})
            else:
                self._send(HTTPStatus.OK, content, {"ETag": tag}, "text/html; charset=utf-8")

    def _send(
        self, status: HTTPStatus, content: bytes, headers: dict[str, str] | None = None, kind: str = "text/plain"
    ) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, **(headers or {}), "Content-Type": kind}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a browser asks every second."""


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


_HEADERS = {
    # Nothing but our own script runs, whatever a run's folder holds; plots have their style in them.
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_digest(page.script())}'; "
    "connect-src 'self'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def _folders_in(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return [Path(entry.path) for entry in islice(entries, _MOST_ENTRIES) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
