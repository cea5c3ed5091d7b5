"""Measures implementations side by side: one process each, small blocks in turn, medians over all rounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from xpnet.benchmark.cases import Case
from xpnet.benchmark.profile import Cost

MODES = ("predict", "train")
BLOCK_SECONDS = 0.25
PAUSE_SECONDS = 0.05  # in which the threads of the process before go to sleep
PROFILE_SECONDS = 3.0
Say = Callable[[str], Any]


class Row(NamedTuple):
    """What was measured of one implementation of one case in one mode (train or predict).

    Milliseconds are those of a batch: median, 10th and 90th percentile. Memory is what the process took above the built
    network and its batch, in 10^6 bytes, None where it is not known. The ratio is None where PyTorch did not run.
    """

    model: str
    batch_size: int
    mode: str
    implementation: str
    median_ms: float
    p10_ms: float
    p90_ms: float
    images_per_second: float
    peak_memory_mb: float | None
    ratio_to_torch: float | None


class WorkerError(Exception):
    """What a worker could not do."""


class Worker:
    """The process of one implementation of a case."""

    def __init__(self, implementation: str, case: Case, device: str, threads: int) -> None:
        self.implementation = implementation
        self._process = subprocess.Popen(
            [sys.executable, "-m", "xpnet.benchmark.worker", str(threads)],
            env=_environment(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._first = {"implementation": implementation, "case": case.to_json(), "device": device}

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, do: str, **request: Any) -> Mapping[str, Any]:
        """The answer to a request. Raises WorkerError if there is none or it is an error."""
        if self._first:
            first, self._first = self._first, {}
            self._send(first)
        return self._send({"do": do, **request})

    def _send(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        requests, replies = self._process.stdin, self._process.stdout
        try:
            print(json.dumps(request), file=requests, flush=True)
            line = replies.readline() if replies else ""
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"its process ended with code {self._process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply


def measure(
    case: Case,
    implementations: Sequence[str],
    say: Say,
    *,
    device: str,
    threads: int,
    rounds: int,
    modes: Sequence[str] = MODES,
) -> list[Row]:
    """Time a case. The first implementation is the reference: others whose gradient is not the same are not timed."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(name, case, device, threads)) for name in implementations]
        for dtype, tolerance in case.tolerances(device).items():
            workers = _same_work(workers, case, dtype, tolerance, say)
        rows = []
        for mode in modes:
            samples, peaks = _take_turns(workers, mode, rounds, say)
            workers = [worker for worker in workers if worker.implementation in samples]
            rows += _rows(case, mode, samples, peaks)
    return rows


def profile(case: Case, implementation: str, device: str, threads: int) -> list[Cost]:
    """Cost of each layer of one of xpnet's implementations. Raises WorkerError if it cannot run."""
    with Worker(implementation, case, device, threads) as worker:
        return [Cost(*cost) for cost in worker.ask("profile", seconds=PROFILE_SECONDS)["costs"]]


def _environment(threads: int) -> dict[str, str]:
    """The same number of threads for every library, and a GPU's memory for all of them: JAX would take most of it."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def _same_work(workers: Sequence[Worker], case: Case, dtype: str, tolerance: float, say: Say) -> list[Worker]:
    """The workers whose gradient in a dtype is that of the first, and those that keep theirs to themselves."""
    kept: list[Worker] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{worker.implementation}.npz" for worker in workers]
        for worker, path in zip(workers, paths, strict=True):
            try:
                known = worker.ask("gradient", path=str(path), dtype=dtype)["known"]
            except WorkerError as error:
                say(f"{worker.implementation} left out for {case.model}: {error}")
                if worker is workers[0]:
                    return []
                continue
            if not known:
                say(f"{worker.implementation}: its gradients cannot be checked; its work is comparable, not equal.")
            elif kept and (difference := _largest_difference(path, paths[0], tolerance)):
                say(f"{worker.implementation} refused for {case.model}, other work in {dtype}: {difference}")
                continue
            kept.append(worker)
    return kept


def _largest_difference(path: Path, reference_path: Path, tolerance: float) -> str:
    """Which tensor of a gradient differs most, if it does so by more than the tolerance."""
    with np.load(path) as gradient, np.load(reference_path) as reference:
        if set(gradient) != set(reference):
            return f"gradients of {', '.join(sorted(set(gradient) ^ set(reference)))} are there once"
        differences = {name: _relative(gradient[name], reference[name]) for name in reference}
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] <= tolerance:
        return ""
    return f"the gradient of {worst} differs by {differences[worst]:.1e}, more than {tolerance:g}."


def _relative(actual: np.ndarray, expected: np.ndarray) -> float:
    """Length of the difference by that of the expected; infinite for other shapes and numbers that are not finite."""
    if actual.shape != expected.shape:
        return np.inf
    difference = float(np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), np.finfo(np.float32).tiny))
    return difference if np.isfinite(difference) else np.inf


def _take_turns(
    workers: Sequence[Worker], mode: str, rounds: int, say: Say
) -> tuple[dict[str, list[float]], dict[str, float | None]]:
    """Seconds of all calls by implementation, and the peaks of memory."""
    samples: dict[str, list[float]] = {worker.implementation: [] for worker in workers}
    peaks: dict[str, float | None] = {}
    for worker in [*workers] * rounds:
        if worker.implementation not in samples:
            continue
        time.sleep(PAUSE_SECONDS)
        try:
            reply = worker.ask("block", mode=mode, seconds=BLOCK_SECONDS)
        except WorkerError as error:
            say(f"{worker.implementation} left out: {error}")
            del samples[worker.implementation]
            continue
        samples[worker.implementation] += reply["seconds"]
        peaks[worker.implementation] = reply["peak_memory_mb"]
    return samples, peaks


def _rows(
    case: Case, mode: str, samples: Mapping[str, list[float]], peaks: Mapping[str, float | None]
) -> Iterator[Row]:
    medians = {name: 1e3 * float(np.median(seconds)) for name, seconds in samples.items()}
    torch = medians.get("torch")
    for name, seconds in samples.items():
        p10, p90 = (1e3 * np.percentile(seconds, (10, 90))).tolist()
        ratio = medians[name] / torch if torch else None
        speed = 1e3 * case.batch_size / medians[name]
        yield Row(case.model, case.batch_size, mode, name, medians[name], p10, p90, speed, peaks[name], ratio)
