"""A watch over waits for other processes, of which one may hang."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from threading import Thread

from xpnet.errors import InputError, short

LIMIT = "XPNET_RANK_TIMEOUT"
PATIENT = 600.0  # seconds: one rank may load, compile or write minutes longer than the others
_LEAST, _FACTOR = 30.0, 10.0
_CHECKS = 20  # in the shortest limit


class Watch:
    """Calls a function, from a thread of its own, if the body of a ``with`` statement takes too long.

        limit = max(30 s, 10 · longest so far), at most 10 minutes

    While ``is_patient``, as at first, it is 10 minutes; the environment variable XPNET_RANK_TIMEOUT sets another one
    for good. Time in which this process is stopped itself does not count.

    Raises InputError as ``time_limit`` does.
    """

    def __init__(self, late: Callable[[], None]) -> None:
        self._own, self._late = time_limit(), late
        self._wait: object | None = None  # another one for each wait
        self._longest, self.is_patient = 0.0, True
        Thread(target=self._look, daemon=True).start()

    @property
    def limit(self) -> float:
        """For how many seconds it may take now."""
        if self._own or self.is_patient:
            return self._own or PATIENT
        return min(max(_LEAST, _FACTOR * self._longest), PATIENT)

    def __enter__(self) -> None:
        self._wait = object()

    def __exit__(self, *_: object) -> None:
        self._wait = None

    def _look(self) -> None:
        pause = min(self._own or _LEAST, _LEAST) / _CHECKS
        before, waited = None, 0.0
        while True:
            time.sleep(pause)
            now = self._wait
            if now is not None and now is before:
                waited += pause
            else:
                self._longest, waited = max(self._longest, waited), 0.0
            before = now
            if waited > self.limit:
                self._late()


def time_limit() -> float | None:
    """For how many seconds ranks wait for each other by the environment variable XPNET_RANK_TIMEOUT; None without it.

    Raises InputError unless it is a number above 0.
    """
    text = os.environ.get(LIMIT)
    if text is None:
        return None
    try:
        seconds = float(text)
        if not 0 < seconds < math.inf:
            raise ValueError
    except ValueError as error:
        raise InputError(f"{LIMIT}: expected seconds above 0, got {short(text)}. Change it.") from error
    return seconds
