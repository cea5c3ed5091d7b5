"""All checks that need a GPU, in one go."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from xpnet import backend as backends
from xpnet import kernels
from xpnet.backend import Backend, to_numpy
from xpnet.cli import benchmark, check_kernels, common
from xpnet.layers import Dropout
from xpnet.random import fold_in, generator, make_key
from xpnet.shapes import Shape, make_window

ROOT = Path(__file__).parents[2]
BENCHMARK = (
    "--models",
    "mnist_starter,resnet50",
    "--peers",
    "torch,torch-channels-last,torch-compile",
    "--rounds",
    "4",
)
TOLERANCE = 1e-5  # of float32, by the largest value
# Images (N, H, W, C), filters, kernel, stride, padding: of the starters, and a ResNet's stem and blocks.
CONVOLUTIONS: tuple[tuple[Shape, int, int, int, int], ...] = (
    ((16, 28, 28, 1), 16, 5, 1, 2),
    ((16, 14, 14, 16), 16, 5, 1, 2),
    ((4, 64, 64, 3), 64, 7, 2, 3),
    ((4, 56, 56, 64), 64, 3, 1, 1),
    ((4, 28, 28, 64), 128, 1, 2, 0),
)


class Check(NamedTuple):
    """What was compared with NumPy, and the largest difference by the largest value."""

    what: str
    difference: float
    allowed: float


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return common.run(lambda: _check_gpu(**vars(_parser().parse_args(argv))))


def _parser() -> argparse.ArgumentParser:
    parser = common.Parser(
        prog="check_gpu.py",
        description="Check xpnet on an NVIDIA GPU: convolutions, dropout and the CUDA kernels against NumPy, the tests "
        "with CuPy, and the benchmark. It takes some minutes.",
        epilog="Exit codes: 0 all is well, 1 a check failed, 2 there is no GPU to check.",
    )
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N; default: cuda")
    parser.add_argument("--json", metavar="FILE", help="write the benchmark's figures to this file; default: none")
    return parser


def _check_gpu(device: str, json: str | None) -> int:
    backend = backends.resolve(device)
    console = common.make_console()
    console.print(f"Comparing {backend.describe()} with NumPy")
    passed = True
    for check in compare(backend):
        passed &= _print_check(console, check)
    console.print("The CUDA kernels")
    for row in check_kernels.compare(backend):
        passed &= _print_check(console, Check(*row))
    console.print("The tests with CuPy")
    passed &= _run_tests(console)
    console.print("The benchmark")
    passed &= benchmark.main(["--device", device, *BENCHMARK, *(["--json", json] if json else [])]) == common.EXIT_OK
    console.print("All checks passed." if passed else "Some checks FAILED.", style="green" if passed else "bold red")
    return common.EXIT_OK if passed else common.EXIT_FAILED


def compare(backend: Backend) -> Iterator[Check]:
    """Convolutions, their gradients, and dropout on a backend against NumPy."""
    for images, filters, kernel, stride, padding in CONVOLUTIONS:
        yield from _compare_convolution(backend, images, filters, kernel, stride, padding)
    ours, theirs = _dropout(backends.resolve("cpu")), _dropout(backend)
    yield Check("dropout, step 0", _difference(theirs[0], ours[0]), 0.0)
    yield Check("dropout, step 1", _difference(theirs[1], ours[1]), 0.0)
    yield Check("dropout, same mask in both steps", float(np.array_equal(theirs[0], theirs[1])), 0.0)


def _compare_convolution(
    backend: Backend, images: Shape, filters: int, kernel: int, stride: int, padding: int
) -> Iterator[Check]:
    rng, window = generator(0), make_window("Check", kernel, stride, padding)
    x, weight = rng.normal(size=images), rng.normal(size=(filters, kernel, kernel, images[3]))
    dy = rng.normal(size=(images[0], *window.output_size(images[1], images[2]), filters))

    def results(where: Backend, dtype: str) -> list[np.ndarray]:
        here, w, g = (where.asarray(array, dtype) for array in (x, weight, dy))
        gradients = kernels.conv2d_backward(here, g, w, window)
        return [to_numpy(array) for array in (kernels.conv2d(here, w, None, window), *gradients)]

    title = f"{kernel}x{kernel} convolution of {'x'.join(map(str, images))}"
    pairs = zip(results(backend, "float32"), results(backends.resolve("cpu"), "float64"), strict=True)
    for part, (actual, expected) in zip(("y", "dx", "dw"), pairs, strict=True):
        yield Check(f"{title}: {part}", _difference(actual, expected), TOLERANCE)


def _dropout(backend: Backend) -> list[np.ndarray]:
    """A layer's output for ones in two steps of a run."""
    key, ones = backend.asarray(make_key(0)), backend.asarray(np.ones((8, 1000), np.float32))
    keys = [fold_in(key, backend.asarray(np.asarray(step, np.int32))) for step in range(2)]
    return [to_numpy(Dropout(0.5).forward({}, {}, ones, train=True, key=key).y) for key in keys]


def _difference(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected)))


def _print_check(console: Console, check: Check) -> bool:
    right = check.difference <= check.allowed  # false for NaN
    verdict = Text("OK", "green") if right else Text("FAILED", "bold red")
    console.print(f"  {check.what:<48} {check.difference:.1e}, at most {check.allowed:g}:", verdict)
    return right


def _run_tests(console: Console) -> bool:
    if not (ROOT / "tests").is_dir() or importlib.util.find_spec("pytest") is None:
        console.print('  Not run: they need a clone of the repository and pip install -e ".[test]"', style="yellow")
        return False
    command = [sys.executable, "-m", "pytest", "-q", "-k", "cupy", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0
