"""All checks that need a GPU, in one go."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from xpnet import backend as backends
from xpnet import kernels
from xpnet.backend import Backend
from xpnet.benchmark.implementation import CUDNN, CUDNN_GRAPH, GRAPH
from xpnet.checks import pick
from xpnet.cli import benchmark, common
from xpnet.errors import InputError
from xpnet.layers import Conv2D

ROOT = Path(__file__).parents[2]
BENCHMARK = (
    *("--models", "mnist_starter,resnet50", "--peers", "torch,torch-channels-last,torch-graphs"),
    *("--rounds", "4", "--precision", "tf32"),
)
OURS = ("xpnet-cupy", GRAPH, CUDNN, CUDNN_GRAPH)
LAUNCHES = 1000
_TEST_PROCESSES = 4  # each has a context of its own on the GPU, of half a gigabyte
TESTS = "cupy or cuda or cudnn or graph or device or launch or gpu"  # in names of tests, files or parameters


class Target(NamedTuple):
    """How long xpnet's training step may take, by that of a peer."""

    model: str
    batch_size: int
    peer: str
    at_most: float


TARGETS = (
    Target("mnist_starter", 16, "torch", 0.5),
    Target("mnist_starter", 16, "torch-graphs", 1.0),
    Target("mnist_starter", 512, "torch", 0.7),
    Target("resnet50", 64, "torch-channels-last", 1.15),
)


class Work(NamedTuple):
    """What a training step, forward and backward, cannot do without where everything is fused that can be."""

    flop: float
    bytes: float


# A step's floor is max(FLOP / (FLOP/s), bytes / (bytes/s), a graph's launch): in TF32, as the benchmark runs, with
# the rates of the GPU's data sheet; the launch and its kernels' starts, one after the other, are an estimate.
FLOOR_GPU = "H200"
FLOP_PER_SECOND = 495e12
BYTES_PER_SECOND = 4.8e12
GRAPH_SECONDS = 50e-6
WORK = {
    ("mnist_starter", 16): Work(141e6, 7.1e6),
    ("mnist_starter", 512): Work(4.5e9, 215e6),
    ("resnet50", 64): Work(1.56e12, 39.5e9),
}


class Part(NamedTuple):
    """A part of the program: what it says it does, and a function that does it and returns whether all was well."""

    title: str
    passes: Callable[[Console, Backend], bool]


def main(argv: Sequence[str] | None = None, prog: str = "xpnet check-gpu") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _check_gpu)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        description="Check xpnet on an NVIDIA GPU: the tests with CuPy, the time of a launch, and the benchmark of "
        "mnist_starter and ResNet-50. It takes a few minutes. A part that fails does not stop the others.",
        epilog="Exit codes: 0 all checks passed, 1 a check failed, 2 bad input or no GPU to check.",
    )
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N; default: cuda")
    parser.add_argument(
        "--parts",
        type=lambda text: text.split(","),
        default=list(_parts(None)),
        metavar="A,B",
        help=f"what to check, of {', '.join(_parts(None))}; default: all",
    )
    parser.add_argument(
        "--json", dest="path", metavar="FILE", help="write the benchmark's results to this file; default: none"
    )
    return parser


def _parts(path: str | None) -> dict[str, Part]:
    return {
        "tests": Part("The tests with CuPy", lambda console, gpu: _run_tests(console)),
        "launches": Part("Microseconds of a call", _print_launches),
        "benchmark": Part("The benchmark", lambda console, gpu: _run_benchmark(console, gpu, path)),
    }


def _check_gpu(flags: argparse.Namespace) -> int:
    parts = _parts(flags.path)
    chosen = {name: pick("Parts", parts, name) for name in flags.parts}
    common.check_file("--json", flags.path)
    backend = _find_gpu(flags.device)
    console = common.make_console()
    console.print(f"Checking {backend.describe()}")
    failed = [name for name, part in chosen.items() if not _passes(console, part, backend)]
    if failed:
        console.print(f"Some checks FAILED: {', '.join(failed)}.", style="bold red")
        return common.EXIT_FAILED
    console.print("All checks passed.", style="green")
    return common.EXIT_OK


def _find_gpu(device: str) -> Backend:
    """The GPU to check, or an InputError: what passes on a CPU says nothing of one."""
    backend = backends.resolve(device)
    if backend.name != "cupy":
        raise InputError(
            f"--device {device}: expected an NVIDIA GPU to check, got the CPU. Use --device cuda or cuda:N."
        )
    return backend


def _passes(console: Console, part: Part, backend: Backend) -> bool:
    """Run a part; an error in it is shown whole, since what went wrong on a GPU may not be seen again soon."""
    console.print(part.title)
    try:
        return part.passes(console, backend)
    except InputError as error:  # cuDNN is missing
        console.print(f"  {error}", style="red")
        return False
    except Exception:
        console.print(traceback.format_exc(), style="red")
        return False
    finally:
        kernels.use("fastest")


def _print_launches(console: Console, backend: Backend) -> bool:
    """How long calls of the smallest work take: on the host alone, and until the GPU has done them."""
    for name, call in _launches(backend).items():
        host, done = microseconds(call, backend.device.synchronize)
        console.print(f"  {name:<52} {host:.1f} on the host, {done:.1f} until done")
    return True


def _launches(backend: Backend) -> Mapping[str, Callable[[], Any]]:
    cupy: Any = importlib.import_module("cupy")
    with_cudnn = importlib.util.find_spec("cudnn") is not None
    kernels.use("cudnn" if with_cudnn else "fastest", "tf32")
    x, weight = (backend.asarray(np.ones(shape), "float32") for shape in ((1, 8, 8, 16), (16, 3, 3, 16)))
    nothing = cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    add = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + x", "add")
    matrix, window = weight[0, 0], Conv2D(16, 3, padding=1).window
    return {
        "RawKernel": lambda: nothing((1,), (32,), ()),
        "ElementwiseKernel": lambda: add(x),
        "ufunc": lambda: cupy.add(x, x),
        "matrix product": lambda: matrix @ matrix.T,
        f"convolution {'by cuDNN' if with_cudnn else 'without cuDNN'}": lambda: kernels.conv2d(x, weight, None, window),
    }


def microseconds(call: Callable[[], object], wait: Callable[[], object]) -> tuple[float, float]:
    """Microseconds of one of many calls: until the last has returned, and until what they asked for is done."""
    call()
    wait()
    start = time.perf_counter()
    for _ in range(LAUNCHES):
        call()
    returned = time.perf_counter()
    wait()
    return 1e6 * (returned - start) / LAUNCHES, 1e6 * (time.perf_counter() - start) / LAUNCHES


def _run_benchmark(console: Console, backend: Backend, path: str | None) -> bool:
    """Whether all could be measured, each target too; a target that is missed is said to be, and no fault."""
    measured = False
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(path or Path(folder) / "rows.json")
        code = benchmark.main(["--device", backend.device_name(), *BENCHMARK, "--json", str(rows)])
        if code in (common.EXIT_OK, common.EXIT_FAILED) and rows.is_file():
            content = json.loads(rows.read_text(encoding="utf-8"))
            measured = _print_targets(console, content["rows"], content["environment"]["gpu"])
    return measured and code == common.EXIT_OK


def _print_targets(console: Console, rows: Iterable[Mapping[str, Any]], gpu: str | None) -> bool:
    """What the fastest of xpnet's training steps takes by each peer's; whether it could be said of every target."""
    all_measured = True
    times = {
        (row["model"], row["batch_size"], row["implementation"]): row["median_ms"]
        for row in rows
        if row["mode"] == "train"
    }
    for model, batch_size, peer, at_most in TARGETS:
        ours = [name for name in OURS if (model, batch_size, name) in times]
        what = f"  {model}, batches of {batch_size}, by {peer}: at most {at_most:g},"
        if not ours or (model, batch_size, peer) not in times:
            console.print(what, Text("not measured", "bold red"))
            all_measured = False
            continue
        fastest = min(ours, key=lambda name: times[model, batch_size, name])
        median = times[model, batch_size, fastest]
        ratio = median / times[model, batch_size, peer]
        verdict = Text("met", "green") if ratio <= at_most else Text("not met", "bold yellow")
        share = 100 * floor_ms(WORK[model, batch_size]) / median
        beside = f"{fastest} {median:.3f} ms, of which the floor of an {FLOOR_GPU} is {share:.0f} %{_other_gpu(gpu)}"
        console.print(f"{what} measured {ratio:.2f} ({beside}):", verdict)
    return all_measured


def floor_ms(work: Work) -> float:
    """Milliseconds that a training step of this work takes at least, on the GPU that the rates are of."""
    return 1e3 * max(work.flop / FLOP_PER_SECOND, work.bytes / BYTES_PER_SECOND, GRAPH_SECONDS)


def _other_gpu(gpu: str | None) -> str:
    """What is to be said where the GPU measured is not that of the floors; a GH200 has another memory."""
    words = (gpu or "").replace(",", " ").split()
    return "" if FLOOR_GPU in words else f"; this GPU: {gpu or 'not known'}"


def _run_tests(console: Console) -> bool:
    if not (ROOT / "tests").is_dir() or importlib.util.find_spec("pytest") is None:
        console.print('  Not run: they need a clone of the repository and pip install -e ".[test]"', style="yellow")
        return False
    command = [sys.executable, "-m", "pytest", "-q", "-k", TESTS, "-p", "no:cacheprovider"]
    if importlib.util.find_spec("xdist"):
        command += ["-n", str(_TEST_PROCESSES)]
    # JAX would take most of the GPU's memory in each of them.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
