"""A watch over waits for other processes, of which one may hang."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from threading import Thread

from xpnet.errors import InputError, short

LIMIT = "XPNET_RANK_TIMEOUT"
_DEFAULT = 600.0  # seconds: checkpoints on slow disks and compilations take one rank minutes longer than the others
_CHECKS = 20  # in that time


class Watch:
    """Calls a function, from a thread of its own, if the body of a ``with`` statement takes too long.

    Raises InputError as ``time_limit`` does.
    """

    def __init__(self, late: Callable[[], None]) -> None:
        self.limit, self._late = time_limit(), late
        self._since: float | None = None
        Thread(target=self._look, daemon=True).start()

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._since = None

    def _look(self) -> None:
        while True:
            time.sleep(self.limit / _CHECKS)
            since = self._since
            if since is not None and time.monotonic() - since > self.limit:
                self._late()


def time_limit() -> float:
    """For how many seconds ranks wait for each other: the environment variable XPNET_RANK_TIMEOUT, or ten minutes.

    Raises InputError unless it is a number above 0.
    """
    text = os.environ.get(LIMIT, str(_DEFAULT))
    try:
        seconds = float(text)
        if not 0 < seconds < math.inf:
            raise ValueError
    except ValueError as error:
        raise InputError(f"{LIMIT}: expected seconds above 0, got {short(text)}. Change it.") from error
    return seconds
