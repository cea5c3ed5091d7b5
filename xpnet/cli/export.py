"""Write the network of a finished run as an ONNX file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from xpnet.cli import common
from xpnet.files import is_file
from xpnet.network import Network
from xpnet.runs.folder import RunFolder, read_class_names
from xpnet.runtime import Runtime


def main(argv: Sequence[str] | None = None, prog: str = "xpnet export") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _export)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        usage="%(prog)s RUN [options]",
        description="Write a trained network as an ONNX file. It takes batches of any size of raw images (N, H, W, C) "
        "and gives the network's outputs. Needs the package onnx (extra onnx).",
        epilog="Exit codes: 0 written, 2 bad input.",
    )
    parser.add_argument(
        "run",
        metavar="RUN",
        help="folder that training wrote, such as runs/20260131-120000-mnist_starter, or a file that xpnet saved",
    )
    parser.add_argument("--out", default="network.onnx", metavar="FILE", help="default: %(default)s")
    parser.add_argument("--opset", type=int, default=20, metavar="N", help="version of ONNX's operators; default: 20")
    return parser


def _export(flags: argparse.Namespace) -> int:
    Runtime().configure()
    common.check_file("--out", flags.out)
    network = Network.load(RunFolder.weights_in(flags.run))
    names = RunFolder(flags.run).class_names_path
    if network.class_names is None and is_file(names):
        network.class_names = tuple(read_class_names(names, network.output_shape[0]))
    network.to_onnx(flags.out, opset=flags.opset)
    common.make_console().print(f"The network is in {flags.out}")
    return common.EXIT_OK
