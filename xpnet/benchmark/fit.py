"""``fit`` in a program beside ``xpnet train``, the same network and data: ``python -m xpnet.benchmark.fit``."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_STEPS = {16: 3000, 128: 600}  # of each batch size
_PROGRAM = """
import sys
from xpnet import datasets, models
from xpnet.training import Callback

class Speed(Callback):
    def on_end(self, trainer):
        print(trainer.progress.examples_per_second)

network, recipe = models.create("mnist_starter"), models.recipe("mnist_starter").train
network.fit(datasets.load("mnist"), optimizer=recipe.optimizer, normalize=recipe.normalize, report_every=100,
            batch_size=int(sys.argv[1]), iterations=int(sys.argv[2]), callbacks=[Speed()], progress=False)
"""


def from_python(batch_size: int, steps: int) -> float:
    """Images per second of ``fit``, in a process of its own."""
    command = [sys.executable, "-c", _PROGRAM, str(batch_size), str(steps)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def from_command(batch_size: int, steps: int) -> float:
    """Images per second of ``xpnet train``."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        length = ["--batch-size", str(batch_size), "--iterations", str(steps)]
        command = [sys.executable, "-m", "xpnet", "train", *length, "--no-plots", "--out", str(run)]
        subprocess.run(command, check=True, capture_output=True)
        return float(json.loads((run / "summary.json").read_text())["images_per_second"])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure in turns and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m xpnet.benchmark.fit", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each, of which the median counts (default: 5)")
    rounds = parser.parse_args(argv).rounds
    print("| `mnist_starter`, images in a batch | `fit`, images/s | `xpnet train` | ratio |\n|---|--:|--:|--:|")
    for batch_size, steps in _STEPS.items():
        turns = [(from_python(batch_size, steps), from_command(batch_size, steps)) for _ in range(rounds)]
        python, command = (statistics.median(column) for column in zip(*turns, strict=True))
        print(f"| {batch_size} | {python:,.0f} | {command:,.0f} | **{python / command:.2f}** |")


if __name__ == "__main__":
    main()
