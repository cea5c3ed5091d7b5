"""All checks that need a GPU, in one go."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from xpnet import backend as backends
from xpnet import kernels
from xpnet.backend import Backend, to_numpy
from xpnet.benchmark.implementation import CUDNN, GRAPH
from xpnet.checks import pick
from xpnet.cli import benchmark, check_kernels, common
from xpnet.errors import InputError
from xpnet.layers import Conv2D, Dropout
from xpnet.random import fold_in, generator, make_key
from xpnet.runs.settings import make_run
from xpnet.shapes import Shape
from xpnet.training import Trainer

ROOT = Path(__file__).parents[2]
BENCHMARK = (
    *("--models", "mnist_starter,resnet50", "--peers", "torch,torch-channels-last,torch-graphs"),
    *("--rounds", "4", "--precision", "tf32"),
)
TOLERANCES = {"float32": 1e-5, "tf32": 1e-2}  # by the largest value
# Images (N, H, W, C) and a layer: of the starters, of a ResNet's stem and blocks, and what is rare.
CONVOLUTIONS: tuple[tuple[Shape, Conv2D], ...] = (
    ((16, 28, 28, 1), Conv2D(16, 5, padding=2)),
    ((16, 14, 14, 16), Conv2D(16, 5, padding=2)),
    ((4, 64, 64, 3), Conv2D(64, 7, stride=2, padding=3)),
    ((4, 56, 56, 64), Conv2D(64, 3, padding=1)),
    ((4, 28, 28, 64), Conv2D(128, 1, stride=2)),
    ((4, 28, 28, 8), Conv2D(12, 3, padding=2, dilation=2)),
    ((4, 28, 28, 8), Conv2D(12, (4, 2), padding="same")),
)
OURS = ("xpnet-cupy", CUDNN, GRAPH)
PRODUCTS = {"float16": 5e-3, **TOLERANCES, "float64": 1e-12}
LAUNCHES = 1000
ITERATIONS = 100


class Check(NamedTuple):
    """What was compared with NumPy, and the largest difference by the largest value."""

    what: str
    difference: float
    allowed: float


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


class GraphCase(NamedTuple):
    """A training run, and the kernels it takes to record it."""

    name: str
    kernels: str
    settings: Mapping[str, Any]


GRAPH_CASES = (
    GraphCase("mlp with dropout", "fastest", {"model": "mlp", "model_options": {"dropout": 0.5, "batch_norm": True}}),
    GraphCase("mnist_starter, cosine", "cudnn", {"model": "mnist_starter", "schedule": "cosine"}),
    GraphCase("mnist_starter, float16", "cudnn", {"model": "mnist_starter", "precision": "float16"}),
    GraphCase("resnet18", "cudnn", {"model": "resnet18", "model_options": {"stem": "small"}, "batch_size": 32}),
)


class Part(NamedTuple):
    """A part of the program: what it says it does, and a function that does it and returns whether all was well."""

    title: str
    passes: Callable[[Console, Backend], bool]


def main(argv: Sequence[str] | None = None, prog: str = "xpnet check-gpu") -> int:
    """Run the program and return its exit code."""
    return common.run(_parser(prog), argv, _check_gpu)


def _parser(prog: str) -> common.Parser:
    parser = common.Parser(
        prog=prog,
        description="Check xpnet on an NVIDIA GPU: convolutions and dropout against NumPy, with cuDNN too, the CUDA "
        "kernels, CUDA graphs, deterministic runs, float16, the time of a launch, the benchmark of mnist_starter and "
        "ResNet-50, and the tests with CuPy. It takes some minutes. A part that fails does not stop the others.",
        epilog="Exit codes: 0 all is well, 1 a check failed, 2 bad input or no GPU to check.",
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
        "results": Part("Convolutions and dropout against NumPy", lambda console, gpu: _print(console, compare(gpu))),
        "cudnn": Part(
            "The same by cuDNN, and matrix products", lambda console, gpu: _print(console, compare_cudnn(gpu))
        ),
        "kernels": Part(
            "Our CUDA kernels against NumPy",
            lambda console, gpu: _print(console, (Check(*row) for row in check_kernels.compare(gpu))),
        ),
        "products": Part(
            "Matrix products that a graph can hold", lambda console, gpu: _print(console, compare_products(gpu))
        ),
        "graph": Part("A CUDA graph against the steps it replays", check_graph),
        "deterministic": Part("Two deterministic runs", check_deterministic),
        "float16": Part("Training in float16", check_float16),
        "launches": Part("Microseconds of a call", _print_launches),
        "benchmark": Part("The benchmark", lambda console, gpu: _run_benchmark(console, gpu, path)),
        "tests": Part("The tests with CuPy", lambda console, gpu: _run_tests(console)),
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


def compare(backend: Backend) -> Iterator[Check]:
    """Convolutions, their gradients, and dropout on a backend against NumPy."""
    yield from _compare_convolutions(backend, TOLERANCES["float32"])
    ours, theirs = _dropout(backends.resolve("cpu")), _dropout(backend)
    yield Check("dropout, step 0", check_kernels.difference(theirs[0], ours[0]), 0.0)
    yield Check("dropout, step 1", check_kernels.difference(theirs[1], ours[1]), 0.0)
    yield Check("dropout, same mask in both steps", float(np.array_equal(theirs[0], theirs[1])), 0.0)


def compare_cudnn(backend: Backend) -> Iterator[Check]:
    """Convolutions by cuDNN, and matrix products, in each precision against NumPy."""
    for precision, allowed in TOLERANCES.items():
        kernels.use("cudnn", precision)
        yield from _compare_convolutions(backend, allowed, f"{precision}, ")
        a, b = (generator(seed).normal(size=(512, 512)) for seed in range(2))
        product = to_numpy(backend.asarray(a, "float32") @ backend.asarray(b, "float32"))
        yield Check(f"{precision}, matrix product", check_kernels.difference(product, a @ b), allowed)


def compare_products(backend: Backend) -> Iterator[Check]:
    """The matrix products that a graph can hold, in each precision and however the matrices lie, against NumPy."""
    a, b = generator(0).normal(size=(48, 80)), generator(1).normal(size=(80, 33))
    for name, allowed in PRODUCTS.items():
        dtype, precision = ("float32", "tf32") if name == "tf32" else (name, "float32")
        kernels.use("cudnn", precision, recordable=True)
        left, right = backend.asarray(a, dtype), backend.asarray(b, dtype)
        turned = backend.asarray(np.ascontiguousarray(b.T), dtype).T
        for what, operand in (("rows", right), ("columns", turned)):
            product = to_numpy(kernels.matmul(left, operand))
            yield Check(f"{name}, product by a matrix in {what}", check_kernels.difference(product, a @ b), allowed)


def check_graph(console: Console, backend: Backend) -> bool:
    """Train with and without a graph, each network with the kernels that it can be recorded with."""
    results = [_check_graph(console, backend, case) for case in GRAPH_CASES]
    return all(results)


def _check_graph(console: Console, backend: Backend, case: GraphCase) -> bool:
    """Whether every value is the same bit for bit after so many iterations, and there was a graph to replay."""
    settings = {**case.settings, "kernels": case.kernels, "deterministic": True}
    try:
        plain = _trained(backend, **settings, recordable=True)
        with _warnings() as messages:
            graphed = _trained(backend, **settings, graph=True)
    except Exception as error:  # of one case, which must not hide the next
        console.print(f"  {case.name}: {type(error).__name__}: {error}", style="red")
        return False
    if not messages and not _same_bits(plain, graphed):
        messages.append("other bits")
    speeds = f"{plain.examples_per_second:,.0f} images/s without, {graphed.examples_per_second:,.0f} with"
    verdict = Text("; ".join(["FAILED", *messages]), "bold red") if messages else Text("OK", "green")
    console.print(f"  {case.name}: {speeds}:", verdict)
    return not messages


def check_deterministic(console: Console, backend: Backend) -> bool:
    """Whether two runs with cuDNN's deterministic kernels are the same bit for bit."""
    settings = {"model": "mnist_starter", "kernels": "cudnn", "deterministic": True}
    right = _same_bits(*(_trained(backend, **settings) for _ in range(2)))
    console.print("  mnist_starter:", Text("OK", "green") if right else Text("FAILED", "bold red"))
    return right


def check_float16(console: Console, backend: Backend) -> bool:
    """Whether training in float16 comes to the loss that float32 comes to."""
    settings = {"model": "mnist_starter", "kernels": "cudnn"}
    losses = [_last_loss(_trained(backend, **settings, precision=name)) for name in ("float16", "float32")]
    return _print_check(console, Check("loss in float16 and float32", abs(losses[0] / losses[1] - 1), 0.05))


def _trained(backend: Backend, *, recordable: bool = False, **settings: Any) -> Trainer:
    """A trainer after its iterations on the bundled digits; ``recordable``: by the kernels of a graph, without one."""
    place = {"device": backend.device_name(), "backend": backend.name}
    run = make_run(data="mnist", iterations=ITERATIONS, report_every=ITERATIONS, **place, **settings)
    trainer = run.make_trainer()
    if recordable:
        kernels.use(run.runtime.kernels, recordable=True, deterministic=run.runtime.deterministic)
    trainer.run()
    return trainer


def _last_loss(trainer: Trainer) -> float:
    return trainer.snapshot().progress.loss.value


def _same_bits(one: Trainer, other: Trainer) -> bool:
    ours, theirs = one.snapshot().tensors, other.snapshot().tensors
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """What is logged as a warning meanwhile, such as that there is no graph."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    package = logging.getLogger("xpnet")
    package.addHandler(handler)
    try:
        yield messages
    finally:
        package.removeHandler(handler)


def _compare_convolutions(backend: Backend, allowed: float, prefix: str = "") -> Iterator[Check]:
    """All convolutions; an error of one, or kernels that serve in place of cuDNN's, count as a difference."""
    for images, layer in CONVOLUTIONS:
        (kh, kw), channels = layer.window.kernel, "x".join(map(str, images))
        title = f"{prefix}{kh}x{kw} convolution of {channels}"
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            try:
                yield from _compare_convolution(title, backend, images, layer, allowed)
            except Exception as error:
                yield Check(f"{title}: {type(error).__name__}: {error.__context__ or error}", np.nan, allowed)


def _compare_convolution(title: str, backend: Backend, images: Shape, layer: Conv2D, allowed: float) -> Iterator[Check]:
    rng, window = generator(0), layer.window
    shapes = (images, (layer.filters, *window.kernel, images[3]), (layer.filters,))
    shapes += ((images[0], *window.output_size(images[1], images[2]), layer.filters),)
    arrays = [rng.normal(size=shape) for shape in shapes]

    def results(where: Backend, dtype: str) -> list[np.ndarray]:
        x, weight, bias, dy = (where.asarray(array, dtype) for array in arrays)
        gradients = kernels.conv2d_backward(x, dy, weight, window)
        return [to_numpy(array) for array in (kernels.conv2d(x, weight, bias, window), *gradients)]

    pairs = zip(results(backend, "float32"), results(backends.resolve("cpu"), "float64"), strict=True)
    for part, (actual, expected) in zip(("y", "dx", "dw"), pairs, strict=True):
        yield Check(f"{title}: {part}", check_kernels.difference(actual, expected), allowed)


def _dropout(backend: Backend) -> list[np.ndarray]:
    """A layer's output for ones in two steps of a run."""
    key, ones = backend.asarray(make_key(0)), backend.asarray(np.ones((8, 1000), np.float32))
    keys = [fold_in(key, backend.asarray(np.asarray(step, np.int32))) for step in range(2)]
    return [to_numpy(Dropout(0.5).forward({}, {}, ones, train=True, key=key).y) for key in keys]


def _print(console: Console, checks: Iterable[Check]) -> bool:
    """Print checks as they are made; whether all are right."""
    return not [check for check in checks if not _print_check(console, check)]


def _print_check(console: Console, check: Check) -> bool:
    right = check.difference <= check.allowed  # false for NaN
    verdict = Text("OK", "green") if right else Text("FAILED", "bold red")
    console.print(f"  {check.what:<52} {check.difference:.1e}, at most {check.allowed:g}:", verdict)
    return right


def _print_launches(console: Console, backend: Backend) -> bool:
    """How long calls of the smallest work take: on the host alone, and until the GPU has done them."""
    for name, call in _launches(backend).items():
        host, done = microseconds(call, backend.device.synchronize)
        console.print(f"  {name:<52} {host:.1f} on the host, {done:.1f} until done")
    return True


def _launches(backend: Backend) -> Mapping[str, Callable[[], Any]]:
    cupy: Any = importlib.import_module("cupy")
    kernels.use("cudnn", "tf32")
    x, weight = (backend.asarray(np.ones(shape), "float32") for shape in ((1, 8, 8, 16), (16, 3, 3, 16)))
    nothing = cupy.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    add = cupy.ElementwiseKernel("float32 x", "float32 y", "y = x + x", "add")
    matrix, window = weight[0, 0], Conv2D(16, 3, padding=1).window
    return {
        "RawKernel": lambda: nothing((1,), (32,), ()),
        "ElementwiseKernel": lambda: add(x),
        "ufunc": lambda: cupy.add(x, x),
        "matrix product": lambda: matrix @ matrix.T,
        "convolution by cuDNN": lambda: kernels.conv2d(x, weight, None, window),
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
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cupy", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0
