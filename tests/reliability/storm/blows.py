"""Blows that fall on a training process at one moment: before the n-th call of one of its functions."""

import atexit
import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpnet.cli import train
from xpnet.kernels import sharing
from xpnet.layers import Conv2D, Dense, Flatten
from xpnet.network import Network
from xpnet.training import Trainer

MOMENTS = {
    "fsync": (os, "fsync"),
    "replace": (os, "replace"),
    "step": (Trainer, "step"),
    "snapshot": (Trainer, "snapshot"),
    "record": (Trainer, "_record"),
    "test": (train, "_test"),
}


def strike_at(moment: str, count: int, blow: str, run: str, force: int) -> None:
    """Let a blow fall before the ``count``-th call; ``force`` is a random number for it."""
    left = count

    def strike() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            Path(run).with_name("struck").write_text(moment)
            BLOWS[blow](Path(run), force)

    _before(moment, strike)


def count_calls(path: str) -> None:
    """Write how many moments of each kind the life of this process had."""
    counts = dict.fromkeys(MOMENTS, 0)

    def counter(moment: str) -> Callable[[], None]:
        return lambda: counts.update({moment: counts[moment] + 1})

    for moment in MOMENTS:
        _before(moment, counter(moment))
    atexit.register(lambda: Path(path).write_text(json.dumps(counts)))


def _before(moment: str, function: Callable[[], None]) -> None:
    owner, name = MOMENTS[moment]
    real = getattr(owner, name)

    def called(*arguments, **settings):
        function()
        return real(*arguments, **settings)

    setattr(owner, name, called)


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _signal(number: int) -> Callable[[Path, int], None]:
    return lambda run, force: os.kill(os.getpid(), number)


# Folders. What is in the run's place afterwards is noted beside it.


def renamed(run: Path, force: int = 0) -> None:
    run.rename(run.with_name("old"))
    _note(run)


def replaced_by_another_run(run: Path, force: int = 0) -> None:
    run.rename(run.with_name("old"))
    _copy(run.with_name("old"), run)
    for path in run.rglob("*.safetensors"):
        path.unlink()
    _note(run)


def replaced_by_a_link(run: Path, force: int = 0) -> None:
    run.rename(run.with_name("old"))
    _copy(run.with_name("old"), run.with_name("other"))
    run.symlink_to("other")
    _note(run)


def unlocked(run: Path, force: int = 0) -> None:
    (run / ".lock").unlink()


def locked_by_another(run: Path, force: int = 0) -> None:
    unlocked(run)
    (run / ".lock").touch()


def checkpoints_replaced(run: Path, force: int = 0) -> None:
    if (run / "checkpoints").exists():
        (run / "checkpoints").rename(run / "away")
        _copy(run / "away", run / "checkpoints")


def _copy(run: Path, there: Path) -> None:
    """A folder like another run's: without the file that this process is writing, whose name has its number."""
    shutil.copytree(run, there, ignore=shutil.ignore_patterns("*.part"))


def _note(run: Path) -> None:
    run.with_name("in its place.json").write_text(json.dumps(digests(run)))


# Disks


def file_limit(run: Path, force: int) -> None:
    """From now on no file may grow beyond a size."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (force % 30_000, resource.RLIM_INFINITY))


def no_space(run: Path, force: int) -> None:
    """From now on the disk is full, as one notices at the latest when content is to be on it."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.fsync = full


# The history


def history_deleted(run: Path, force: int) -> None:
    (run / "history.csv").unlink(missing_ok=True)


def history_replaced(run: Path, force: int) -> None:
    history_deleted(run, force)
    (run / "history.csv").write_text("iteration,x\n1,2\n")


def history_cut(run: Path, force: int) -> None:
    path = run / "history.csv"
    os.truncate(path, force % max(path.stat().st_size, 1))


def metrics_deleted(run: Path, force: int) -> None:
    (run / "metrics.jsonl").unlink(missing_ok=True)


# Forks


def forked(run: Path, force: int) -> None:
    """A child that computes what its parent has computed in threads; it ends after a minute if it hangs."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of forking where there are threads
    before = sharing.threads()
    sharing.set_threads(2)
    network = Network([Conv2D(4, 3), Flatten(), Dense(3)], (12, 12, 1))
    x = np.random.default_rng(0).normal(size=(64, 12, 12, 1)).astype(np.float32)

    def computed() -> tuple[list[int], list[list[float]]]:
        return sharing.parallel_map(lambda n: n * n, range(9), 1e9), network(x).tolist()

    expected = computed()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        os._exit(0 if computed() == expected else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sharing.set_threads(before)
    if status:
        print(f"the forked child ended with {status}", file=sys.stderr)
        os._exit(99)


KILLS = {"killed": _signal(signal.SIGKILL)}
SIGNALS = {name: _signal(getattr(signal, name)) for name in ("SIGTERM", "SIGINT", "SIGHUP")}
FOLDERS = {
    function.__name__: function
    for function in (
        renamed,
        replaced_by_another_run,
        replaced_by_a_link,
        unlocked,
        locked_by_another,
        checkpoints_replaced,
    )
}
DISKS = {"file_limit": file_limit, "no_space": no_space}
RECORDS = {
    function.__name__: function for function in (history_deleted, history_replaced, history_cut, metrics_deleted)
}
BLOWS = {**KILLS, **SIGNALS, **FOLDERS, **DISKS, **RECORDS, "forked": forked}
