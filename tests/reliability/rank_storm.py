"""Kills one of several ranks at random moments, resumes with another number of them, and compares with a calm run.

python -m tests.reliability.rank_storm --kills 30
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.parallel.launching import run, start
from tests.parallel.test_program import MODEL, TRAIN, history, program, rank_processes

MOST_RANKS, ENDS_WITHIN = 3, 10.0  # seconds for all ranks after one was killed
EXACT = ("--dtype", "float64")  # in which rounding stays small for thousands of steps


def main() -> int:
    """Run the storm; 1 if something was lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    flags = parser.parse_args()
    chance = random.Random(flags.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        iterations = _blow_until(flags.kills, path, chance)
        words = (*TRAIN, *MODEL, *EXACT, "--quiet", "--iterations", str(iterations), "--out", "calm")
        calm = run(program(1, *words), cwd=path)
        assert calm.returncode == 0, calm.stderr
        one, other = history(path / "run"), history(path / "calm")
        np.testing.assert_allclose(one, other, rtol=1e-6)
        print(f"{flags.kills} kills, {iterations} iterations; largest difference {np.abs(one - other).max():.1e}")
    return 0


def _blow_until(kills: int, path: Path, chance: random.Random) -> int:
    """Kill and resume so often, and then let the run end; returns its number of iterations."""
    for kill in range(kills):
        ranks = chance.randint(2, MOST_RANKS)
        begun = (path / "run" / "config.json").exists()
        words = ("train", "--no-plots", "--resume", "run") if begun else (*TRAIN, *MODEL, *EXACT, "--out", "run")
        words = (*words, "--iterations", "1000000", "--checkpoint-every", "7", "--quiet")
        with start(program(ranks, *words), cwd=path) as process:
            time.sleep(chance.uniform(0.5, 12.0))
            pids = rank_processes(process.pid)
            if pids:
                os.kill(chance.choice(list(pids.values())), signal.SIGKILL)
            else:
                process.kill()
            began = time.monotonic()
            _, errors = process.communicate(timeout=60)
            seconds = time.monotonic() - began
        left = [pid for pid in pids.values() if Path(f"/proc/{pid}/stat").exists()]
        newest = max((path / "run" / "checkpoints").glob("iteration-*"), default=Path("iteration-000000000"))
        print(f"kill {kill + 1}: {ranks} ranks, ended in {seconds:.2f} s, at {newest.stem}", flush=True)
        assert not left, left
        assert seconds < ENDS_WITHIN, errors
        assert "Traceback" not in errors, errors
    iterations = int(newest.stem[10:]) + 10
    words = ("train", "--no-plots", "--quiet", "--resume", "run", "--iterations", str(iterations))
    last = run(program(2, *words), cwd=path)
    assert last.returncode == 0, last.stderr
    return iterations


if __name__ == "__main__":
    sys.exit(main())
