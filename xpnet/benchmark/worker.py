"""A process that runs one implementation of one case and waits between blocks of calls.

Libraries disturb each other within a process: their threads wait for one another, and only xpnet's programs tune the
allocator. So each has its own, and the controller lets one at a time compute. Requests come as lines of JSON on the
standard input, the first one with what to run; each is answered by a line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from typing import Any, TextIO

import numpy as np

from xpnet import kernels, runtime
from xpnet.benchmark import ablation, memory
from xpnet.benchmark.cases import Case
from xpnet.benchmark.implementation import Implementation, library, make, variants
from xpnet.benchmark.profile import profile

WARM_UP_CALLS = 3
_CALLS_PER_WAIT = 10  # on a device that computes while the next call is prepared, as a training run lets it


class Session:
    """The answers to requests about one implementation of one case."""

    def __init__(self, implementation: str, case: Mapping[str, Any], device: str, threads: int) -> None:
        self._name, self._case, self._device = implementation, Case.from_json(case), device
        self._threads = threads
        self._set_up(self._case.precision)
        if implementation.startswith("torch"):
            import_module("torch").set_num_threads(threads)
        if library(implementation) == "numpy":
            kernels.versions("numpy")  # loads oneDNN: memory is counted from when each process has its libraries
        self._implementation: Implementation | None = None
        self._calls: dict[str, Callable[[], object]] = {}

    def gradient(self, path: str, dtype: str) -> dict[str, Any]:
        """Write the gradient of the comparable case to an .npz file; whether there is one to write.

        Products of float32 are exact meanwhile: TF32 would hide other work behind its rounding.
        """
        self._set_up("float32")
        in_float64 = dtype == "float64" and library(self._name) == "jax"
        with _float64_in_jax() if in_float64 else nullcontext():
            gradient = make(self._name, self._case.comparable(dtype), self._device).gradient()
        self._set_up(self._case.precision)
        if gradient is not None:
            np.savez(path, **gradient)  # pyright: ignore[reportArgumentType] (NumPy 2.0 takes allow_pickle for an array)
        return {"known": gradient is not None}

    def block(self, mode: str, seconds: float) -> dict[str, Any]:
        """Seconds of each call of a block, and the peak of memory; one mode (train, predict) follows the other."""
        if self._implementation is None:
            self._implementation = make(self._name, self._case, self._device)
            self._memory = memory.watch(library(self._name), self._device)
        if mode not in self._calls:
            self._begin(self._implementation, mode)
        times = self._time(self._implementation, self._calls[mode], seconds)
        return {"seconds": times, "peak_memory_mb": self._memory.megabytes()}

    def profile(self, seconds: float) -> dict[str, Any]:
        """Cost of each layer, of xpnet's implementations alone."""
        return profile(self._case, self._device, library(self._name), seconds)._asdict()

    def _set_up(self, precision: str) -> None:
        """Choose kernels and the precision of products, as xpnet's programs do; the peers run as they come."""
        if self._name.startswith("xpnet"):
            words = variants(self._name)
            left_out = words[-1] if "without" in words else None
            choice = next((word for word in words if word in kernels.CHOICES and word != left_out), "fastest")
            runtime.Runtime(
                threads=self._threads, kernels=choice, precision=precision, graph="graph" in words
            ).configure()
            if left_out:
                ablation.leave_out(left_out)
        if "tuned" in variants(self._name):
            runtime.keep_freed_memory()
        if self._device != "cpu":
            _set_precision(self._name, precision)

    def _begin(self, implementation: Implementation, mode: str) -> None:
        with self._memory:
            call = self._calls[mode] = implementation.training() if mode == "train" else implementation.inference()
            for _ in range(WARM_UP_CALLS):
                call()
            implementation.wait()

    def _time(self, implementation: Implementation, call: Callable[[], object], seconds: float) -> list[float]:
        calls, times = 1 if self._device == "cpu" else _CALLS_PER_WAIT, []
        call()  # brings back to the caches, and to memory, what the other processes have driven out
        implementation.wait()
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(calls):
                call()
            implementation.wait()
            times.append((time.perf_counter() - start) / calls)
        return times


def _set_precision(implementation: str, precision: str) -> None:
    """Let PyTorch's and JAX's products and convolutions of float32 use TF32 where xpnet's may, and only there."""
    if "torch" in implementation:
        backends: Any = import_module("torch").backends
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = precision == "tf32"
    elif "jax" in implementation:
        config: Any = import_module("jax").config
        config.update("jax_default_matmul_precision", "tensorfloat32" if precision == "tf32" else "highest")


@contextmanager
def _float64_in_jax() -> Iterator[None]:
    config: Any = import_module("jax").config
    before = config.jax_enable_x64
    config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        config.update("jax_enable_x64", before)


def serve(requests: TextIO, replies: TextIO, threads: int) -> None:
    """Answer requests until there are no more, or one failed."""
    session: Session | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if session is None:
                session, reply = Session(**request, threads=threads), {}
            else:
                reply = getattr(session, request.pop("do"))(**request)
        except Exception as error:  # whatever it is, the controller says it and goes on without this implementation
            reply = {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
        print(json.dumps(reply), file=replies, flush=True)
        if "error" in reply:
            return


def main() -> None:
    """Serve the standard input and output; what libraries print goes to the standard error instead.

    The argument is the number of threads. JAX can be held to it by nothing but the cores that the process may use.
    """
    threads = int(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)
        serve(sys.stdin, replies, threads)


if __name__ == "__main__":
    main()
