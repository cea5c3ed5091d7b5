"""``python -m tests.reliability.storm --minutes M --seed S`` throws random blows at training runs and files.

It prints what it tried, and ends with exit code 1 at the first trial after which something is not as it must be. That
trial's seed, story and folder are kept; ``--seed S --trial N`` repeats it. ``--fault`` plants a fault first.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.reliability.storm import bombs, damage, trials
from tests.reliability.storm.faults import FAULTS

KINDS = {
    function.__name__: function
    for function in (
        trials.kills,
        trials.signals,
        trials.disks,
        trials.folders,
        trials.records,
        trials.forks,
        trials.crowds,
        damage.files,
        damage.readers,
        bombs.headers,
        bombs.pickles,
        bombs.images,
    )
}


def attempt(arena: trials.Arena, folder: Path, seed: int, number: int, fault: str, kinds: list[str]) -> str:
    """Make one trial in a new folder; returns its kind, and raises what went wrong, with its story."""
    draw = random.Random(f"{seed}/{number}")
    kind = draw.choice(kinds)
    trial = trials.Trial(arena, folder / str(number), draw, FAULTS[fault] if fault else "")
    trial.folder.mkdir()
    try:
        KINDS[kind](trial)
    except Exception as error:
        command = f"python -m tests.reliability.storm --seed {seed} --trial {number} --kinds {' '.join(kinds)}"
        story = "\n".join([f"{kind}: {command}", *trial.story, traceback.format_exc()])
        (trial.folder / "story.txt").write_text(story)
        raise AssertionError(f"{story}\nKept: {trial.folder}") from error
    shutil.rmtree(trial.folder)
    return kind


def storm(seed: int, minutes: float, *, trial: int | None = None, fault: str = "", kinds: list[str]) -> int:
    """Make trials for some minutes, or one of them; returns the exit code."""
    logging.disable()
    folder, tried, start = Path(tempfile.mkdtemp(prefix="storm-")), Counter(), time.monotonic()
    arena, number = trials.make_arena(folder, time.monotonic), trial or 0
    while True:
        try:
            tried[attempt(arena, folder, seed, number, fault, kinds)] += 1
        except AssertionError as error:
            print(error, f"\nFound after {sum(tried.values())} trials: seed {seed}, trial {number}.", flush=True)
            return 1
        number += 1
        if trial is not None or time.monotonic() - start > minutes * 60:
            break
    shutil.rmtree(folder)
    seconds = time.monotonic() - start
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(tried.items()))
    print(f"seed {seed}: {sum(tried.values())} trials in {seconds:.0f} s ({listed}), nothing found")
    return 0


def main() -> int:
    """Parse the flags and let it begin."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trial", type=int, help="this trial alone")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--fault", choices=FAULTS, default="", help="plant it")
    given = parser.parse_args()
    return storm(given.seed, given.minutes, trial=given.trial, fault=given.fault, kinds=given.kinds)


if __name__ == "__main__":
    sys.exit(main())
