"""What a trained network sees in an image: the channels of a layer, and the most probable classes."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from xpnet import models
from xpnet.cli import common, tables
from xpnet.datasets.image_files import read_image
from xpnet.errors import InputError
from xpnet.files import is_file, require_regular_file
from xpnet.models import imagenet
from xpnet.models.hub import HUB, is_remote
from xpnet.network import Network
from xpnet.runs.folder import RunFolder, read_class_names
from xpnet.runtime import Runtime
from xpnet.serialization import is_written_by_xpnet
from xpnet.summary import shape_text
from xpnet.weights import is_onnx


def main(argv: Sequence[str] | None = None, prog: str = "xpnet features") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _features)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        usage="%(prog)s IMAGE --weights FILE [options]",
        description="Show what a trained network sees in an image: print the five most probable classes, and draw the "
        "output of one of its layers, channel by channel. Without --layer: list the names of all layers.",
        epilog="Exit codes: 0 done, 2 bad input.",
    )
    parser.add_argument("image", metavar="IMAGE", help="PNG or JPEG file of any size; scaled and cropped to fit")
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="a run's folder, a file that xpnet saved, an ONNX model (.onnx), torchvision's weights of the --model "
        "(.pth, or .safetensors with torchvision's names) or their URL, or hf:OWNER/NAME of the Hugging Face Hub "
        "(extra hub)",
    )
    parser.add_argument(
        "--model", metavar="NAME", help=f"needed for torchvision's weights: {common.listed(models.names())}"
    )
    common.add_stem_argument(parser)
    parser.add_argument("--layer", metavar="NAME", help="layer or block to draw, such as conv1 or layer1.0")
    parser.add_argument(
        "--class-names",
        metavar="FILE",
        help="text file with the name of a class on each line; default: those of the weights, ImageNet's for "
        "torchvision's 1000 classes if torchvision is installed, otherwise numbers",
    )
    parser.add_argument("--pad", action="store_true", help="scale the whole image into the frame instead of cropping")
    parser.add_argument("--out", default="features.png", metavar="FILE", help="the plot; default: %(default)s")
    common.add_device_arguments(parser)
    return parser


def _features(flags: argparse.Namespace) -> int:
    Runtime().configure()
    for where, path in (("IMAGE", flags.image), ("--weights", flags.weights), ("--class-names", flags.class_names)):
        if path is not None and not is_remote(path):
            require_regular_file(path, where)
    console = common.make_console()
    options = {} if flags.stem is None else {"stem": flags.stem}
    network = _load(flags.weights, flags.model, options, flags.device or "cpu", flags.backend)
    names = _class_names(flags.class_names, flags.weights, network)
    pixels = read_image(flags.image, network.input_shape, pad=flags.pad)
    output = network.features(pixels[None], flags.layer)[0] if flags.layer else None
    tables.print_probabilities(console, network.predict_proba(pixels[None])[0], names)
    if output is None:
        tables.print_shapes(console, network)
        console.print("Choose one of these with --layer to draw its output.")
    else:
        _print_output(console, flags.layer, output)
        _draw(output, pixels, flags.layer, flags.out)
        console.print(f"The plot is in {flags.out}")
    return common.EXIT_OK


def _load(weights: str, model: str | None, options: Mapping[str, Any], device: str, backend: str | None) -> Network:
    source = weights if is_remote(weights) else RunFolder.weights_in(weights)
    says_model = weights.startswith(HUB) or is_onnx(source) or (not is_remote(weights) and is_written_by_xpnet(source))
    if model is None and not says_model:
        raise InputError(
            f"Weights file {source}: expected --model, since xpnet did not save it, got none. Add --model NAME."
        )
    return models.load_weights(source, model, device=device, backend=backend, **options)


def _class_names(given: str | None, weights: str, network: Network) -> Sequence[str]:
    classes = network.output_shape[0]
    path = RunFolder(weights).class_names_path if given is None else Path(given)
    if given is not None or is_file(path):
        return read_class_names(path, classes)
    if network.class_names is not None:
        return network.class_names
    path = RunFolder.weights_in(weights)
    is_own = is_onnx(path) or (not is_remote(weights) and is_written_by_xpnet(path))
    names = None if is_own else imagenet.class_names(classes)
    return names or [str(number) for number in range(classes)]


def _print_output(console: Console, layer: str, output: np.ndarray) -> None:
    console.print(
        f"{layer}: {shape_text(output.shape)}, from {output.min():.4g} to {output.max():.4g}, mean {output.mean():.4g}"
    )


def _draw(output: np.ndarray, pixels: np.ndarray, layer: str, out: str) -> None:
    from xpnet import plots  # here: matplotlib takes a second to import

    plots.save(plots.feature_maps(output, pixels, layer), out)
