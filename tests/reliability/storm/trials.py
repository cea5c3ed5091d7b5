"""Trials: a run, blows that fall on it, and what must be true afterwards. Whatever is not, is an AssertionError."""

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.helpers import write_digits
from tests.reliability.kill import differences, training
from tests.reliability.storm.blows import DISKS, FOLDERS, RECORDS, SIGNALS, digests

SETTINGS = "--model mlp --hidden 8 --dropout 0.1 --batch-norm --optimizer adam --lr 0.2 --schedule plateau"
SETTINGS += " --schedule-patience 1 --early-stopping 1000 --crop-padding 2 --report-every 10 --iterations 60"
OUTPUT = ["--checkpoint-every", "4", "--no-plots", "--quiet", "--no-malloc-tuning"]
LONGEST = 120  # seconds for one process; a trial's processes take one or two


class Arena(NamedTuple):
    """What all trials share: the data, a run that was left alone, how often its moments came, how long it took."""

    data: Path
    whole: Path
    moments: Mapping[str, int]
    seconds: float


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    errors: str


class Trial:
    """One run in a folder of its own, with random numbers of its own."""

    def __init__(self, arena: Arena, folder: Path, draw: random.Random, fault: str = "") -> None:
        self.arena, self.folder, self.draw, self.fault = arena, folder, draw, fault
        self.run = folder / "run"
        self.story: list[str] = []

    def begin(self, run: Path | None = None, prelude: str = "") -> subprocess.Popen[str]:
        """A process that begins the run, or goes on with it."""
        run = run or self.run
        new = [*SETTINGS.split(), "--data-dir", self.arena.data, "--out", run]
        flags = ["--resume", run] if (run / "config.json").exists() else new
        return training(*flags, *OUTPUT, prelude=f"{self.fault}\n{prelude}")

    def train(self, run: Path | None = None, prelude: str = "") -> Ended:
        """The same, to its end."""
        return self.wait(self.begin(run, prelude))

    def wait(self, process: subprocess.Popen[str]) -> Ended:
        """How a process ends; never with a traceback, and with one line at the most, but for warnings."""
        try:
            _, errors = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise AssertionError(f"a process went on for more than {LONGEST} s") from None
        ended = Ended(process.returncode, errors)
        self.story.append(f"exit code {ended.code} {errors.strip()}".strip())
        lines = [line for line in errors.splitlines() if not line.startswith("warning: ")]
        assert len(lines) <= 1, f"not one line: {errors}"
        assert ended.code != 99, errors
        return ended

    def struck(self, blow: str, moments: Iterable[str] = ()) -> Ended:
        """Begin, or go on, under a blow at a random moment; which may not come, in a run that began before."""
        moment = self.draw.choice([*moments] or [*self.arena.moments])
        count = self.draw.randint(1, self.arena.moments[moment])
        self.story.append(f"{blow} before call {count} of {moment}")
        (self.folder / "struck").unlink(missing_ok=True)
        strike = (moment, count, blow, str(self.run), self.draw.randrange(2**31))
        return self.train(prelude=f"from tests.reliability.storm import blows; blows.strike_at{strike}")

    def finish(self, run: Path | None = None) -> None:
        """Go on to the end: it must be the end of the run that was left alone."""
        run = run or self.run
        ended = self.train(run)
        assert ended == (0, ""), f"expected the run to go on, got {ended}"
        self.same(run)

    def same(self, run: Path) -> None:
        """Check that a finished run is the one that was left alone."""
        found = differences(run, self.arena.whole)
        assert not found, f"not the run that was left alone: {', '.join(found)}"


def make_arena(folder: Path, clock) -> Arena:
    """The data, and the run that is left alone."""
    data, whole, counts = folder / "data", folder / "whole", folder / "moments.json"
    data.mkdir()
    write_digits(data)
    start = clock()
    process = training(
        *(*SETTINGS.split(), "--data-dir", data, "--out", whole, *OUTPUT),
        prelude=f"from tests.reliability.storm import blows; blows.count_calls({str(counts)!r})",
    )
    _, errors = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, errors
    # The same in a run that is resumed: its settings name the data by the same path.
    return Arena(data, whole, json.loads(counts.read_text()), clock() - start)


def kills(trial: Trial) -> None:
    """One to three kills: at moments of the run, and at any time of the process's life."""
    for _ in range(trial.draw.randint(1, 3)):
        if trial.draw.random() < 0.7:
            ended = trial.struck("killed")
            assert ended.code in (-signal.SIGKILL, 0)
            continue
        process, seconds = trial.begin(), trial.draw.uniform(0, 1.2 * trial.arena.seconds)
        trial.story.append(f"killed after {seconds:.3f} s")
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    trial.finish()


def signals(trial: Trial) -> None:
    """Signals, after which the run goes on where it was."""
    for _ in range(trial.draw.randint(1, 2)):
        name = trial.draw.choice([*SIGNALS])
        ended = trial.struck(name)
        number = getattr(signal, name)
        # Before and after training the system's own answer holds, but for Ctrl-C.
        assert ended.code in (0, 128 + number, -number), ended
        assert ended.errors in ("", "Interrupted.\n"), ended
    trial.finish()


def disks(trial: Trial) -> None:
    """A disk that is full from some moment on."""
    ended = trial.struck(trial.draw.choice([*DISKS]))
    assert ended.code in (0, 2), ended
    assert ended.code == 0 or "cannot be written (" in ended.errors, ended
    assert not list(trial.run.rglob(".*.part"))
    trial.finish()


def folders(trial: Trial) -> None:
    """A folder that is renamed, replaced or no longer locked: nothing is written into what took its place."""
    if trial.draw.random() < 0.5:
        trial.struck("killed", ["step", "record", "snapshot"])
    blow, run = trial.draw.choice([*FOLDERS]), trial.run
    ended = trial.struck(blow)
    struck, noted, old = trial.folder / "struck", run.with_name("in its place.json"), run.with_name("old")
    writes_later = struck.exists() and struck.read_text() not in ("fsync", "replace")  # which may be of the last file
    assert ended.code == 2 or (ended.code == 0 and not writes_later), ended
    if noted.exists():
        assert digests(run) == json.loads(noted.read_text()), "something was written into what took its place"
        return trial.finish(old)
    if (run / "away").exists() and ended.code == 2:
        shutil.rmtree(run / "checkpoints")
        (run / "away").rename(run / "checkpoints")
    return trial.finish()


def records(trial: Trial) -> None:
    """Files of records that are deleted or changed in mid-run, before the last record."""
    blow = trial.draw.choice([*RECORDS])
    ended = trial.struck(blow, ["step", "record"])
    assert ended.code == 0, ended
    trial.same(trial.run)
    trial.finish()


def forks(trial: Trial) -> None:
    """A process that forks in mid-run, whose child computes."""
    ended = trial.struck("forked", ["step", "record", "snapshot", "test"])
    assert ended == (0, ""), ended
    trial.finish()


def crowds(trial: Trial) -> None:
    """Several processes that begin or resume one run at once: one at a time is at work, the others are refused."""
    if trial.draw.random() < 0.5:
        trial.struck("killed")
    processes = [trial.begin() for _ in range(trial.draw.randint(2, 4))]
    ended = [trial.wait(process) for process in processes]
    assert all(code in (0, 2) for code, _ in ended), ended
    assert any(code == 0 for code, _ in ended), ended
    for code, errors in ended:
        refusals = ("expected no other process using it", "expected a new folder, found")
        assert (code, errors) == (0, "") or (code and any(words in errors for words in refusals)), errors
    trial.finish()
