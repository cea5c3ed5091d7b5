"""How much faster several ranks train: images per second of one process, of two unrelated ones, and of ranks.

    python -m xpnet.benchmark.ranks mnist_starter:128 cnn_32_64:128 resnet18-small:32
    mpiexec -n 2 python -m xpnet.benchmark.ranks --reductions [--dtype float16]

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.benchmark.cases import SEED, find_cases
from xpnet.benchmark.efficiency import fit_reductions
from xpnet.errors import InputError
from xpnet.parallel import Group, connect
from xpnet.parallel.compression import WIRE_DTYPES
from xpnet.random import make_key
from xpnet.runtime import Runtime
from xpnet.training.config import TrainConfig
from xpnet.training.ranks import shared
from xpnet.training.rows import Rows
from xpnet.training.scores import accuracy
from xpnet.training.step import TrainState, make_step


class Setup(NamedTuple):
    """What is compared: processes, whether they share batches, whether the batch grows with them, threads of each."""

    name: str
    processes: int = 2
    shares: bool = False
    grows: bool = False
    threads: int = 1


SETUPS = (
    Setup("one process", processes=1),
    Setup("one process, two threads", processes=1, threads=2),
    Setup("two unrelated processes"),
    Setup("two ranks, a batch each (weak)", shares=True, grows=True),
    Setup("two ranks, half a batch each (strong)", shares=True),
)
_WARM_UP = 3


def measure(model: str, batch_size: int, *, parallel: str | None, threads: int, seconds: float) -> dict[str, float]:
    """Images per second of a training step; seconds of it and of its all-reduce alone, as medians; the fastest step."""
    Runtime(parallel=parallel, threads=threads).configure("numpy")
    group = connect(parallel)
    (case,) = find_cases(model, (batch_size,))
    network, optimizer, own = case.network(), case.make_optimizer(), group.rows(batch_size)
    images, labels = (array[own] for array in case.batch())
    step = make_step(shared(network, group, TrainConfig()), optimizer, accuracy, group=group)
    share = (own.stop - own.start) / batch_size
    rows = (Rows(own.start, own.stop, batch_size, share, share),) if group.size > 1 else ()
    key = make_key(SEED) if network.layer.is_random else None
    values = TrainState(network.theta, network.state, optimizer.init(network.theta))

    def train() -> float:
        nonlocal values
        start = time.perf_counter()
        values, _ = step(values, images, labels, None, key, 0, 1.0, 1.0, rows)
        return time.perf_counter() - start

    slowest = max(train() for _ in range(_WARM_UP))
    times = [train() for _ in range(group.largest(max(int(seconds / slowest), 5)))]
    step_time = statistics.median(times)
    reduction = _reduction_time(group, network.theta.size, statistics.median)
    return {
        "rate": batch_size / step_time,
        "step": step_time,
        "fastest": min(times),
        "reduction": reduction,
    }


def time_reductions(group: Group, dtype: str | None) -> str:
    """A table of the times of all-reduces of float32 vectors, the least of many, and what the model makes of them.

    ``dtype`` is what they are sent in; of one of 16 bits there is the error of the sum.
    """
    counts = 4 ** np.arange(3, 13)
    seconds = np.array([_reduction_time(group, int(count), min, dtype) for count in counts])
    sizes = 4.0 * counts
    fit = fit_reductions(group.size, sizes, seconds)
    lines = [f"| {size:,.0f} | {1e6 * time:,.1f} |" for size, time in zip(sizes, seconds, strict=True)]
    last = (
        f"latency {1e6 * fit.latency:.1f} us, bandwidth {1e-9 * fit.bandwidth:.2f} GB/s; "
        f"error {100 * fit.error:.0f} %, at most {100 * fit.largest_error:.0f} %"
    )
    if dtype:
        last += f"; error of the sum of {dtype} {_error(group, dtype):.1e}"
    return "\n".join(["| bytes | us |", "|---|---|", *lines, "", last])


def _error(group: Group, dtype: str) -> float:
    """The relative error, in length, of a sum of normal numbers that are sent in 16 bits."""
    own = np.random.default_rng(group.rank).normal(scale=1e-3, size=1_000_000)
    rounded = group.all_reduce(own.astype(np.float32), dtype)
    exact = group.all_reduce(own)
    return float(np.linalg.norm(rounded - exact) / np.linalg.norm(exact))


def _reduction_time(group: Group, values: int, pick: Callable[[list[float]], float], dtype: str | None = None) -> float:
    times = []
    for _ in range(20 if group.size > 1 else 0):
        buffer = np.ones(values, np.float32)
        group.barrier()
        start = time.perf_counter()
        group.all_reduce(buffer, dtype)
        times.append(time.perf_counter() - start)
    return pick(times) if times else 0.0


def compare(model: str, batch_size: int, rounds: int, seconds: float) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """What each setup gave in each round; a round has all of them one after the other."""
    found: dict[str, list[dict[str, float]]] = {setup.name: [] for setup in SETUPS}
    for _ in range(rounds):
        for name, processes, shares, grows, threads in SETUPS:
            whole = batch_size * processes if grows else batch_size
            lines = _run(processes, model, whole, "mpi" if shares else "none", threads, seconds)
            rate = lines[0]["rate"] if shares else sum(line["rate"] for line in lines)
            found[name].append({**lines[0], "rate": rate})
    yield from found.items()


def _ratio(lines: Sequence[dict[str, float]], references: Sequence[dict[str, float]]) -> str:
    """The median of the rounds' ratios, and the least and the largest."""
    ratios = sorted(line["rate"] / other["rate"] for line, other in zip(lines, references, strict=True))
    return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


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
    parser.add_argument("cases", nargs="*", metavar="MODEL:BATCH", help="batch of one process")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of each measurement")
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=("mpi", "none"), help=argparse.SUPPRESS)
    parser.add_argument("--reductions", action="store_true", help="under mpiexec: time all-reduces of many sizes")
    parser.add_argument("--dtype", choices=WIRE_DTYPES, help="with --reductions: what float32 is sent in")
    flags = parser.parse_args(argv)
    if flags.reductions:
        group = connect("mpi")
        table = time_reductions(group, flags.dtype)
        if group.rank == 0:
            print(table)
    for case in flags.cases:
        model, _, batch_size = case.partition(":")
        if flags.worker:
            parallel = None if flags.worker == "none" else flags.worker
            line = measure(model, int(batch_size), parallel=parallel, threads=flags.threads, seconds=flags.seconds)
            if connect(parallel).rank == 0:
                print(json.dumps(line), flush=True)
            continue
        found = dict(compare(model, int(batch_size), flags.rounds, flags.seconds))
        print(f"\n{model}, {batch_size} images a process\n")
        print("| | images/s | one process = 1 | two unrelated = 1 | step, ms | fastest, ms | all-reduce, ms |")
        print("|---|---|---|---|---|---|---|")
        for name, lines in found.items():
            ratios = " | ".join(_ratio(lines, found[reference]) for reference in (SETUPS[0].name, SETUPS[2].name))
            rate, step, reduction = (
                statistics.median(line[part] for line in lines) for part in ("rate", "step", "reduction")
            )
            times = step, min(line["fastest"] for line in lines), reduction
            print(f"| {name} | {rate:,.0f} | {ratios} | {' | '.join(f'{1e3 * t:.2f}' for t in times)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
