"""How much faster several ranks train: images per second of one process, of two unrelated ones, and of ranks.

    python -m xpnet.benchmark.ranks mnist_starter:128 cnn_32_64:128 resnet18-small:32

Two unrelated processes are the machine's own limit: where they slow each other down, ranks cannot be faster.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from xpnet.benchmark.cases import SEED, find_cases
from xpnet.errors import InputError
from xpnet.parallel import connect
from xpnet.random import make_key
from xpnet.runtime import Runtime
from xpnet.training.config import TrainConfig
from xpnet.training.ranks import shared
from xpnet.training.rows import Rows
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step

# What is compared: name, processes, whether they share batches, whether the batch grows with them, threads of each.
SETUPS = (
    ("one process", 1, False, False, 1),
    ("one process, two threads", 1, False, False, 2),
    ("two unrelated processes", 2, False, False, 1),
    ("two ranks, a batch each (weak)", 2, True, True, 1),
    ("two ranks, half a batch each (strong)", 2, True, False, 1),
)
_WARM_UP = 3


def measure(model: str, batch_size: int, *, parallel: str | None, threads: int, seconds: float) -> dict[str, float]:
    """Images per second of a training step, and seconds of it and of its all-reduce alone, as medians."""
    Runtime(parallel=parallel, threads=threads).configure("numpy")
    group = connect(parallel)
    (case,) = find_cases(model, (batch_size,))
    network, optimizer, own = case.network(), case.make_optimizer(), group.rows(batch_size)
    images, labels = (array[own] for array in case.batch())
    step = make_step(shared(network, group, TrainConfig()), optimizer, accuracy, group=group)
    rows = Rows(own.start, batch_size, (own.stop - own.start) / batch_size) if group.size > 1 else None
    key = make_key(SEED) if network.layer.is_random else None
    values = TrainState(network.theta, network.state, optimizer.init(network.theta))

    def train() -> float:
        nonlocal values
        start = time.perf_counter()
        values, _ = step(values, images, labels, None, key, 0, 1.0, 1.0, rows)
        return time.perf_counter() - start

    slowest = max(train() for _ in range(_WARM_UP))
    count = group.largest(max(int(seconds / slowest), 5))
    times = [train() for _ in range(count)]
    reductions = []
    for _ in range(20 if group.size > 1 else 0):
        buffer = np.ones_like(network.theta)
        group.barrier()
        start = time.perf_counter()
        group.all_reduce(buffer)
        reductions.append(time.perf_counter() - start)
    step_time = statistics.median(times)
    reduction = statistics.median(reductions) if reductions else 0.0
    return {"rate": batch_size / step_time, "step": step_time, "reduction": reduction, "values": network.theta.size}


def compare(model: str, batch_size: int, rounds: int, seconds: float) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """What each setup gave in each round; a round has all of them one after the other."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name, *_ in SETUPS}
    for _ in range(rounds):
        for name, processes, shares, grows, threads in SETUPS:
            whole = batch_size * processes if grows else batch_size
            lines = _run(processes, model, whole, "mpi" if shares else "none", threads, seconds)
            rate = lines[0]["rate"] if shares else sum(line["rate"] for line in lines)
            found[name].append({**lines[0], "rate": rate})
    yield from found.items()


def _run(processes: int, model: str, batch: int, parallel: str, threads: int, seconds: float) -> list[dict[str, float]]:
    own = [sys.executable, "-m", "xpnet.benchmark.ranks", "--worker", parallel, "--threads", str(threads)]
    words = [*own, "--seconds", str(seconds), f"{model}:{batch}"]
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    launcher = shutil.which("mpiexec", path=beside)
    if processes > 1 and launcher is None:
        raise InputError('Benchmark: expected mpiexec, found none. Install it with: pip install "xpnet[mpi]".')
    command = words if processes == 1 else [str(launcher), "-n", str(processes), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, and print a table for each model."""
    parser = argparse.ArgumentParser(prog="python -m xpnet.benchmark.ranks", description="Time ranks.")
    parser.add_argument("cases", nargs="+", metavar="MODEL:BATCH", help="batch of one process")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of each measurement")
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=("mpi", "none"), help=argparse.SUPPRESS)
    flags = parser.parse_args(argv)
    for case in flags.cases:
        model, _, batch_size = case.partition(":")
        if flags.worker:
            parallel = None if flags.worker == "none" else flags.worker
            line = measure(model, int(batch_size), parallel=parallel, threads=flags.threads, seconds=flags.seconds)
            if connect(parallel).rank == 0:
                print(json.dumps(line), flush=True)
            continue
        print(f"\n{model}, {batch_size} images a process\n\n| | images/s | ratio | step, ms | all-reduce, ms |")
        print("|---|---|---|---|---|")
        reference: list[float] = []
        for name, lines in compare(model, int(batch_size), flags.rounds, flags.seconds):
            rates = [line["rate"] for line in lines]
            reference = reference or rates
            ratios = sorted(rate / first for rate, first in zip(rates, reference, strict=True))
            ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            step, reduction = (1e3 * statistics.median(line[part] for line in lines) for part in ("step", "reduction"))
            print(f"| {name} | {statistics.median(rates):,.0f} | {ratio} | {step:.2f} | {reduction:.3f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
