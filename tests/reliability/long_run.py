"""Follow a long training run from outside, to see whether its memory grows or its speed falls.

``python -m tests.reliability.long_run`` trains the MNIST starter for 100,000 iterations and prints both.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.reliability.kill import training


class Sample(NamedTuple):
    """Resident memory in bytes, and seconds by the clock and of processor time, after so many iterations.

    On a machine that has other work the processor time tells more.
    """

    iteration: int
    memory: int
    seconds: float
    processor_seconds: float


def follow(*flags: str) -> list[Sample]:
    """Train and take a sample at each record, as it appears in metrics.jsonl."""
    samples: list[Sample] = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        process = training(*flags, "--out", run, "--no-plots", "--quiet")
        while not (run / "metrics.jsonl").exists() and process.poll() is None:
            time.sleep(0.01)
        with (run / "metrics.jsonl").open() as metrics:
            while process.poll() is None:
                line = metrics.readline()
                if not line:
                    time.sleep(0.01)
                    continue
                record = json.loads(line)
                memory, processor = resident_memory(process.pid), processor_seconds(process.pid)
                samples.append(Sample(record["iteration"], memory, record["seconds"], processor))
        _, error = process.communicate()
        if process.returncode:
            raise RuntimeError(error)
    return samples[:-1]  # at the last record training is over, and the test begins


def resident_memory(pid: int) -> int:
    """Bytes of a process's memory that are in RAM (Linux); 0 if it has just ended."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    """Time that a process has computed, its own and the system's for it (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slope(samples: list[Sample]) -> tuple[float, float]:
    """Bytes by which memory grows in an iteration, and the standard error; of a straight line through the samples."""
    x = np.array([sample.iteration for sample in samples], float)
    y = np.array([sample.memory for sample in samples], float)
    x -= x.mean()
    growth = float(x @ y / (x @ x))
    residuals = y - y.mean() - growth * x
    return growth, float(np.sqrt(residuals @ residuals / (len(x) - 2) / (x @ x)))


def speed(samples: list[Sample]) -> tuple[float, float]:
    """Iterations per second, and per second of processor time, with validation and checkpoints."""
    first, last = samples[0], samples[-1]
    count = last.iteration - first.iteration
    return count / (last.seconds - first.seconds), count / (last.processor_seconds - first.processor_seconds)


def main() -> None:
    """Run at full length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=100_000)
    iterations = parser.parse_args().iterations
    samples = follow("--iterations", str(iterations), "--checkpoint-every", "1000")
    tenth = max(len(samples) // 10, 2)
    for sample in [samples[0], *samples[tenth - 1 :: tenth]]:
        print(f"{sample.iteration:7d} iterations  {sample.memory / 2**20:7.1f} MiB  {sample.seconds:6.0f} s")
    growth, error = slope(samples[tenth:])
    print(f"memory after the first tenth grows by {growth:.2f} bytes in an iteration, standard error {error:.2f}")
    for what, part in {"first": samples[:tenth], "last": samples[-tenth:]}.items():
        by_clock, by_processor = speed(part)
        print(f"{what} tenth: {by_clock:.1f} iterations per second, {by_processor:.1f} per second of processor time")


if __name__ == "__main__":
    main()
