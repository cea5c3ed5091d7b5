"""A run as people and other programs see it while it goes: signals, a log, lines on the terminal."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from xpnet.cli import common
from xpnet.cli.ranks import CheckpointPartner
from xpnet.cli.wording import in_flags
from xpnet.errors import InputError, TrainingDivergedError, printable
from xpnet.files import writing
from xpnet.runs.checkpoint import CheckpointWriter
from xpnet.training import Callback, Record, Trainer
from xpnet.training.progress import record_text

LOG_LEVELS = ("debug", "info", "warning", "error")
_log = logging.getLogger(__name__)


class StopSignals(Callback):
    """How a run is asked to end before its time; the last of its callbacks. A signal to one rank is one to all.

    The first Ctrl-C ends training after the iteration in progress, and one that follows the checkpoint of that ends the
    program. SIGTERM, after which there may be seconds left, ends the program after the iteration in progress, and so
    does SIGHUP, which says that the terminal was closed.
    """

    def __init__(self, console: Console, checkpoints: CheckpointWriter | CheckpointPartner) -> None:
        self._console, self._checkpoints = console, checkpoints
        self.signal: int | None = None
        self._announced = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals from here on."""
        before = {number: signal.signal(number, self._take) for number in _signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_step(self, trainer: Trainer) -> None:
        """Look for a signal."""
        self.check(trainer)

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Look for a signal."""
        self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """If the run was asked to end, write a checkpoint and stop it; end the program unless that was by Ctrl-C."""
        self.signal = trainer.group.largest(self.signal or 0) or None
        if self.signal is None:
            return
        trainer.stop()
        self._checkpoints.write(trainer)
        if self.signal != signal.SIGINT:
            name = signal.Signals(self.signal).name
            note(self._console, f"{name}: stopped; --resume goes on from here.")
            raise SystemExit(128 + self.signal)  # as shells say it
        if not self._announced:
            self._announced = True
            note(self._console, "Ctrl-C: stopped, testing what was learned. Once more to quit now.")

    def _take(self, number: int, frame: FrameType | None) -> None:
        """Prints and writes nothing, since the signal may have come in the middle of that."""
        if number not in (signal.SIGINT, signal.SIGTERM):
            common.leave_terminal()
        if self._announced and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal in (None, signal.SIGINT):
            self.signal = number


def _signals() -> list[int]:
    """Those that ask a run to end: SIGHUP where the system has it, unless the program was started with nohup."""
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a search as Ctrl-C does."""


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Raise Terminated at SIGTERM."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class RecordLog(Callback):
    """Writes each record to the log."""

    def on_report(self, trainer: Trainer, record: Record) -> None:
        """Write one record."""
        _log.info("iteration %d  %s", record.iteration, record_text(record, trainer.history.metric))


def note(console: Console, text: str) -> None:
    """Show a line and log it."""
    text = printable(text)
    console.print(text)
    _log.info("%s", text)


@contextmanager
def logging_to(
    path: str | None, level: str | None, spellings: Mapping[str, Sequence[str]], who: str = ""
) -> Iterator[None]:
    """Write the package's log, and how the program ends, to a file; each line is in it before the program goes on.

    ``spellings`` are those of the program's flags, in which errors are worded.

    Warnings go to the terminal as well, with a file or without; ``who`` begins their text.

    Raises InputError if the file cannot be opened, or for a level without a file.
    """
    if level and path is None:
        raise InputError(f"--log-level {level}: expected a --log-file with it, got none. Add one.")
    with writing(f"--log-file {path}"):
        file = _LogFile(path) if path else logging.NullHandler()
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    file.setLevel((level or "info").upper())
    terminal = logging.StreamHandler()
    terminal.setFormatter(logging.Formatter(f"warning: {who}%(message)s"))
    terminal.addFilter(lambda record: record.levelno == logging.WARNING)
    package = logging.getLogger("xpnet")
    package.setLevel(logging.DEBUG)
    for handler in (file, terminal):
        package.addHandler(handler)
    try:
        yield
    except (InputError, TrainingDivergedError) as error:
        _log.error("%s", in_flags(str(error), spellings))
        raise
    except Exception:
        _log.exception("ended by an error")
        raise
    finally:
        for handler in (file, terminal):
            package.removeHandler(handler)
        package.setLevel(logging.NOTSET)
        file.close()


class _LogFile(logging.FileHandler):
    """A file that a run can do without: if the disk is full, the run says so once and goes on."""

    def __init__(self, path: str) -> None:
        # Names of files may hold bytes that are not characters, and then cannot be written as UTF-8.
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self._path, self._has_failed = path, False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Called where a line could not be written."""
        if not self._has_failed:
            self._has_failed = True
            reason = sys.exc_info()[1]
            reason = reason.strerror if isinstance(reason, OSError) else reason
            common.warn(f"--log-file {self._path}: cannot be written ({reason}). The run goes on; free some space.")

    def close(self) -> None:
        """Close the file; what it still had to take has been warned of."""
        with contextlib.suppress(OSError):
            super().close()
