"""Measures implementations side by side: processes of their own, small blocks in turn, medians over all rounds."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from xpnet.benchmark.cases import Case
from xpnet.benchmark.profile import Cost, Profile
from xpnet.kernels.sharing import even_slices

MODES = ("predict", "train")
BLOCK_SECONDS = 0.25
PAUSE_SECONDS = 0.05  # in which the threads of the process before go to sleep
PROFILE_SECONDS = 3.0
_PROCESSES, _FEWEST_ROUNDS = 3, 3  # of each implementation, one after the other, at most; of each of them, at least
_ROUNDINGS = 1e4  # of a whole gradient: what is smaller says nothing of a tensor
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


@dataclass
class _Taken:
    """Seconds of all calls of an implementation in one mode, and the peak of its memory."""

    seconds: list[float] = field(default_factory=list)
    peak_memory_mb: float | None = None

    def add(self, seconds: Sequence[float], peak_memory_mb: float | None) -> None:
        """Count in a block's."""
        self.seconds += seconds
        known = [peak for peak in (self.peak_memory_mb, peak_memory_mb) if peak is not None]
        self.peak_memory_mb = max(known, default=None)


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
    """Time a case. The first implementation is the reference: others whose gradient is not the same are not timed.

    The rounds are spread over up to three processes of each, where each has three: one whose memory or threads came to
    lie badly may take a quarter longer than the next for as long as it lives.
    """
    processes = max(1, min(_PROCESSES, rounds // _FEWEST_ROUNDS))
    taken: dict[str, dict[str, _Taken]] = {mode: {} for mode in modes}
    names = list(implementations)
    for part in even_slices(rounds, -(-rounds // processes)):
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(name, case, device, threads)) for name in names]
            for dtype, tolerance in case.tolerances().items() if part.start == 0 else ():
                workers = _same_work(workers, case, dtype, tolerance, say)
            for mode in modes:
                workers = _take_turns(workers, mode, part.stop - part.start, taken[mode], say)
            names = [worker.implementation for worker in workers]
    # What an implementation took in some of its processes, before it failed, does not count.
    return [row for mode in modes for row in _rows(case, mode, {name: taken[mode][name] for name in names})]


def profile(case: Case, implementation: str, device: str, threads: int) -> Profile:
    """Cost of each layer of one of xpnet's implementations. Raises WorkerError if it cannot run."""
    with Worker(implementation, case, device, threads) as worker:
        reply = worker.ask("profile", seconds=PROFILE_SECONDS)
        return Profile(**{**reply, "costs": [Cost(*cost) for cost in reply["costs"]]})


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
            if not known and dtype == case.dtype:  # once
                say(f"{worker.implementation}: its gradients cannot be checked; its work is comparable, not equal.")
            elif known and kept and (difference := _largest_difference(path, paths[0], tolerance)):
                say(f"{worker.implementation} refused for {case.model}, other work in {dtype}: {difference}")
                continue
            kept.append(worker)
    return kept


def _largest_difference(path: Path, reference_path: Path, tolerance: float) -> str:
    """Which tensor of a gradient differs most, if it does so by more than the tolerance."""
    with np.load(path) as gradient, np.load(reference_path) as reference:
        if set(gradient) != set(reference):
            return f"gradients of {', '.join(sorted(set(gradient) ^ set(reference)))} are there once"
        # A gradient that is 0 but for rounding, as of a scale before a normalisation, is compared with the whole's.
        rounding = max(np.finfo(tensor.dtype).eps for tensor in reference.values())
        least = _ROUNDINGS * rounding * math.hypot(*(np.linalg.norm(tensor) for tensor in reference.values()))
        differences = {name: _relative(gradient[name], reference[name], least) for name in reference}
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] <= tolerance:
        return ""
    return f"the gradient of {worst} differs by {differences[worst]:.1e}, more than {tolerance:g}."


def _relative(actual: np.ndarray, expected: np.ndarray, least: float) -> float:
    """Length of the difference by that of the expected, at least the least; infinite for other shapes and NaN."""
    if actual.shape != expected.shape:
        return np.inf
    difference = float(
        np.linalg.norm(actual - expected) / max(np.linalg.norm(expected), least, np.finfo(np.float32).tiny)
    )
    return difference if np.isfinite(difference) else np.inf


def _take_turns(workers: Sequence[Worker], mode: str, rounds: int, taken: dict[str, _Taken], say: Say) -> list[Worker]:
    """Add what each implementation took to what it has taken; the workers that could do it."""
    kept = list(workers)
    for worker in [*workers] * rounds:
        if worker not in kept:
            continue
        time.sleep(PAUSE_SECONDS)
        try:
            reply = worker.ask("block", mode=mode, seconds=BLOCK_SECONDS)
        except WorkerError as error:
            say(f"{worker.implementation} left out: {error}")
            kept.remove(worker)
            continue
        taken.setdefault(worker.implementation, _Taken()).add(**reply)
    return kept


def _rows(case: Case, mode: str, taken: Mapping[str, _Taken]) -> Iterator[Row]:
    medians = {name: 1e3 * float(np.median(of.seconds)) for name, of in taken.items()}
    torch = medians.get("torch")
    for name, of in taken.items():
        p10, p90 = (1e3 * np.percentile(of.seconds, (10, 90))).tolist()
        ratio = medians[name] / torch if torch else None
        speed = 1e3 * case.batch_size / medians[name]
        yield Row(case.model, case.batch_size, mode, name, medians[name], p10, p90, speed, of.peak_memory_mb, ratio)
