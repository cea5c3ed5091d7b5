"""The gradient check of every layer, the loss and a whole network, as tables."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from xpnet import backend as backends
from xpnet import models
from xpnet.cli import common
from xpnet.gradcheck import STEP, TOLERANCE, Entry, check_layer, check_loss, check_network, separated_values
from xpnet.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    Layer,
    LeakyReLU,
    MaxPool2D,
    Normalize,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from xpnet.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.network import shape_text
from xpnet.random import generator
from xpnet.shapes import Shape

# Every kind of layer, with the shape of one example. Odd and unequal lengths, so that mixed-up axes show.
LAYERS: tuple[tuple[Layer, Shape], ...] = (
    (Dense(4), (6,)),
    (Conv2D(3, kernel_size=3), (5, 6, 2)),
    (Conv2D(3, kernel_size=(2, 3), stride=(2, 1)), (6, 7, 2)),
    (Conv2D(3, kernel_size=3, padding="same"), (5, 6, 2)),
    (Conv2D(3, kernel_size=3, stride=2, padding=(2, 1)), (6, 7, 2)),
    (Conv2D(3, kernel_size=3, padding=2, dilation=2), (6, 7, 2)),
    (MaxPool2D(2), (4, 6, 3)),
    (MaxPool2D(3, stride=2), (7, 9, 2)),
    (MaxPool2D((3, 2), stride=(2, 1), padding=1), (5, 6, 2)),
    (Conv2D(4, kernel_size=3, groups=2, padding=1, bias=False), (5, 6, 4)),
    (Conv2D(3, kernel_size=1, stride=2), (6, 7, 2)),
    (AvgPool2D(2), (4, 6, 3)),
    (AvgPool2D((3, 2), stride=(2, 1), padding=1), (5, 6, 2)),
    (GlobalAvgPool2D(), (4, 5, 3)),
    (ReLU(), (4, 5, 2)),
    (LeakyReLU(), (4, 5, 2)),
    (Sigmoid(), (4, 5, 2)),
    (Tanh(), (4, 5, 2)),
    (Softplus(), (4, 5, 2)),
    (Softmax(), (6,)),
    (Dropout(), (4, 5, 2)),
    (BatchNorm(), (6,)),
    (BatchNorm(), (4, 5, 2)),
    (BatchNorm(frozen=True), (4, 5, 2)),
    (Normalize(), (4, 5, 3)),
    (Flatten(), (3, 4, 2)),
    (Sequential([Dense(5), ReLU(), Dense(3)]), (6,)),
    (Residual(Conv2D(2, kernel_size=3, padding=1)), (4, 5, 2)),
    (Residual(Conv2D(3, kernel_size=3, stride=2, padding=1), shortcut=Conv2D(3, kernel_size=1, stride=2)), (4, 5, 2)),
)

LOSSES: tuple[Loss, ...] = (SoftmaxCrossEntropy(), SoftmaxCrossEntropy(label_smoothing=0.1), MeanSquaredError())
MODEL, IMAGE_SHAPE = "mnist_starter", (8, 8, 1)
TABLE_WIDTH = 80  # what the tables need: rich would cut them off to fit a narrower terminal


def main(argv: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    return common.run(lambda: _gradcheck(**vars(_parser().parse_args(argv))))


def _parser() -> argparse.ArgumentParser:
    parser = common.Parser(
        prog="gradcheck.py",
        description="Check that the library computes gradients correctly. Every layer has a hand-written backward "
        "pass. This program moves one number at a time (of the input or of a parameter) a little up and down, sees how "
        "much the output changes (the finite difference), and compares that with what backward says.",
        epilog=f"Exit codes: 0 all relative differences are at most {TOLERANCE:g}, 1 some are larger, 2 bad input.",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers; default: 0")
    parser.add_argument(
        "--entries", type=int, default=5, metavar="N", help="how many entries of each tensor to check; default: 5"
    )
    common.add_device_arguments(parser)
    return parser


def _gradcheck(seed: int, entries: int, device: str | None, backend: str | None) -> int:
    where = {"device": device or "cpu", "backend": backend}
    library = backends.resolve(**where).describe()
    console = common.make_console()
    console.width = max(console.width, TABLE_WIDTH)
    console.print(f"Gradients in float64 with {library}, step {STEP:g}, seed {seed}")
    differences, wrong = [], []
    for title, checked in _checks({"entries": entries, "seed": seed}, where):
        console.print(f"\n{title}", style="bold")
        console.print(_table(checked))
        differences += [entry.relative_difference for entry in checked]
        wrong += [f"{entry.name} in {title}" for entry in checked if not _right(entry)]
    console.print()
    for tensor in dict.fromkeys(wrong):
        console.print(f"Wrong gradient: {tensor}", style="red")
    verdict = Text("FAILED", "bold red") if wrong else Text("OK", "bold green")
    # np.max and not max, which may lose a NaN.
    console.print(f"Largest relative difference {np.max(differences):.1e}, tolerance {TOLERANCE:g}:", verdict)
    return common.EXIT_FAILED if wrong else common.EXIT_OK


def _checks(amount: dict[str, int], where: dict[str, Any]) -> Iterator[tuple[str, list[Entry]]]:
    """What is checked, and the result."""
    for layer, shape in LAYERS:
        title = f"{_describe(layer, shape)}, input {shape_text(shape)}"
        yield title, check_layer(layer, shape, **amount, **where)
    rng = generator(amount["seed"])
    logits, labels = separated_values(rng, (4, 5)), rng.integers(0, 5, 4)
    for loss in LOSSES:
        yield f"{loss}, 5 classes", check_loss(loss, logits, labels, **amount, **where)
    network = models.create(MODEL, input_shape=IMAGE_SHAPE, seed=amount["seed"], dtype="float64", **where)
    images, labels = separated_values(rng, (2, *IMAGE_SHAPE)), rng.integers(0, 10, 2)
    yield f"Network {MODEL}, input {shape_text(IMAGE_SHAPE)}", check_network(network, images, labels, **amount)


def _describe(layer: Layer, input_shape: Shape) -> str:
    """A layer's kind with the settings that are not the default, or the names of the layers in it."""
    shown = [name for name, *_ in layer.sublayers(input_shape)] or [
        f"{field.name}={value!r}"
        for field in dataclasses.fields(layer)
        if (value := getattr(layer, field.name)) != field.default
    ]
    return f"{type(layer).__name__}({', '.join(shown)})"


def _table(entries: list[Entry]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column("index", no_wrap=True)
    for header in ("finite difference", "backward", "relative difference"):
        table.add_column(header, justify="right", no_wrap=True)
    for _, tensor in groupby(entries, key=lambda entry: entry.name):
        for entry in tensor:
            table.add_row(
                f"{entry.name}[{','.join(map(str, entry.index))}]",
                _number(entry.finite_difference),
                _number(entry.backward),
                f"{entry.relative_difference:.1e}",
                style=None if _right(entry) else "red",
            )
        table.add_section()
    return table


def _number(value: float) -> str:
    return f"{value:.7e}" if value else "0"


def _right(entry: Entry) -> bool:
    return entry.relative_difference <= TOLERANCE  # false for NaN
