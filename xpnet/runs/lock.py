"""One process at a time in a run folder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from xpnet.errors import InputError
from xpnet.files import atomic_write, holding, remove_partial, writing
from xpnet.runs.folder import CLASS_NAMES, CONFIG, REPORT, START, SUMMARY, WEIGHTS

_LOCK, _OWNER = ".lock", ".owner.json"
_LOOK = 0.1  # seconds, far more than ``is_held`` takes


@contextmanager
def only_user(folder: Path) -> Iterator[None]:
    """Hold a folder by its lock, and remove what its last owner was writing if that was killed.

    The lock is the operating system's, which gives it up when its owner ends, by whatever cause: a dead owner's lock is
    free, and no process number has to be guessed at.

    Raises InputError if another process holds it, naming that one, or if it cannot be taken.
    """
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_LOOK, poll_interval=_LOOK / 4)
    except Timeout as error:
        raise InputError(
            f"Run folder {folder}: expected no other process using it, found {_owner(folder)}. "
            "Wait for its end, or choose another folder."
        ) from error
    except OSError as error:
        raise InputError(f"Run folder {folder}: cannot be locked ({error.strerror}). Choose another one.") from error
    with lock, holding(folder / _LOCK):
        with writing(folder):
            remove_partial(folder, CONFIG, START, SUMMARY, WEIGHTS, CLASS_NAMES, REPORT, _OWNER)
        owner = {"pid": os.getpid(), "host": socket.gethostname()}
        atomic_write(folder / _OWNER, json.dumps(owner).encode())
        yield


def is_held(folder: Path) -> bool | None:
    """Whether a process holds a folder, found out without writing there; None where the system cannot tell.

    Source: flock(2).
    """
    if not find_spec("fcntl"):
        return None
    import fcntl

    try:
        file = os.open(folder / _LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(file)
    return False


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / _OWNER).read_text(encoding="utf-8"))
        return f"process {owner['pid']} of host {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not got that far
        return "another process"
