"""Kill a training process at random moments, resume it each time, and compare with a run that was left alone.

``python -m tests.reliability.kill --kills 50`` does it 50 times in one run and prints what it found.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from xpnet.serialization import read_tensors

PROGRAM = "import sys; from xpnet.cli.train import main; sys.exit(main())"
WALL_CLOCK = {"seconds", "images_per_second"}


def training(
    *flags: str | Path, prelude: str = "", environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.Popen[str]:
    """A process of train.py, on one thread of BLAS, behind some lines of Python; stdout and stderr are pipes."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{prelude}\n{PROGRAM}", *map(str, flags)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
    )


def killed_run(folder: Path, flags: list[str], kills: int, longest: float, seed: int) -> Counter[str]:
    """Train in a folder under ``kills`` SIGKILLs, each at a random moment of the process's life, and then to the end.

    ``longest`` is the longest life in seconds. Returns what the kills met with.
    """
    draw, met = random.Random(seed), Counter()
    for _ in range(kills):
        process = _started(folder, flags)
        try:
            process.wait(draw.uniform(0, longest))
            met["came too late"] += 1
            if process.returncode:
                raise RuntimeError(process.communicate()[1])
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.communicate()
        checkpoints = list(folder.glob("checkpoints/iteration-*"))
        met["before the first checkpoint" if not checkpoints else "after it"] += 1
        met["in the middle of writing a file"] += bool([*folder.glob(".*.part"), *folder.glob("*/.*.part")])
    process = _started(folder, flags)
    _, error = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(error)
    return met


def differences(ours: Path, theirs: Path) -> list[str]:
    """What is not the same in two finished run folders, the times set aside."""
    found = [
        name
        for name in ("weights.safetensors", "checkpoints/best.safetensors", "config.json")
        if (ours / name).read_bytes() != (theirs / name).read_bytes()
    ]
    histories = [list(csv.DictReader((folder / "history.csv").read_text().splitlines())) for folder in (ours, theirs)]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (ours, theirs)]
    for rows in (*histories, summaries):
        for row in rows:
            for name in WALL_CLOCK & row.keys():
                del row[name]
    found += [name for name, (a, b) in {"history.csv": histories, "summary.json": summaries}.items() if a != b]
    last = [max(folder.glob("checkpoints/iteration-*")) for folder in (ours, theirs)]
    tensors = [read_tensors(path)[0] for path in last]
    if last[0].name != last[1].name or tensors[0].keys() != tensors[1].keys():
        return [*found, "the last checkpoint"]
    return found + [name for name in tensors[0] if not np.array_equal(tensors[0][name], tensors[1][name])]


def _started(folder: Path, flags: list[str]) -> subprocess.Popen[str]:
    """A process that begins the run, or goes on with it."""
    if not (folder / "config.json").exists():
        return training(*flags, "--out", folder)
    return training("--resume", folder, *flags[flags.index("--checkpoint-every") :])  # from there on, they are output's


def main() -> None:
    """Run the test at full length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    flags = ["--model", "mlp", "--dropout", "0.2", "--batch-norm", "--optimizer", "adam", "--lr", "0.001"]
    flags += ["--schedule", "plateau", "--schedule-patience", "2", "--early-stopping", "1000", "--crop-padding", "2"]
    flags += ["--iterations", str(arguments.iterations), "--checkpoint-every", "1", "--no-plots", "--quiet"]
    folder = Path(tempfile.mkdtemp())
    try:
        start = time.perf_counter()
        process = training(*flags, "--out", folder / "whole")
        process.communicate()
        alone = time.perf_counter() - start
        met = killed_run(folder / "killed", flags, arguments.kills, 6.0, arguments.seed)
        print(
            f"uninterrupted: {alone:.0f} s; killed {arguments.kills} times: {time.perf_counter() - start - alone:.0f} s"
        )
        for what, count in sorted(met.items()):
            print(f"{count:4d} kills {what}")
        print("differences:", ", ".join(differences(folder / "killed", folder / "whole")) or "none")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
