"""The command ``xpnet``: the programs of this package by name."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

COMMANDS = {
    "train": "train a network; without options, on the bundled digits",
    "evaluate": "evaluate a finished run",
    "report": "write the report of one run or several",
    "watch": "show runs in a browser while they go on",
    "search": "search for hyper-parameters",
    "features": "show what a network sees in an image",
    "export": "write the network of a finished run as an ONNX file",
    "gradcheck": "check backward passes against finite differences",
    "grade": "grade the exercises of the course",
    "benchmark": "measure speed beside other libraries",
    "experiments": "repeat the published experiments",
    "compare-optimizers": "compare four optimizers on MNIST",
    "check-gpu": "check everything that needs a GPU",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the programs, or list them; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    name = _called_as(sys.argv[0])
    if words and words[0] in COMMANDS:
        return _run(words[0], words[1:], f"{name} {words[0]}")
    from xpnet.cli import common  # here: a program imports what it needs itself

    parser = common.Parser(prog=name, **_description(name))
    parser.add_argument("command", choices=tuple(COMMANDS), metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"xpnet {import_module('xpnet').__version__}")
    return common.run(parser, words or ["--help"], lambda flags: common.EXIT_OK)


def _description(name: str) -> dict[str, Any]:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {command:{width}}  {what}" for command, what in COMMANDS.items())
    return {
        "usage": "%(prog)s COMMAND [options]",
        "description": f"Neural networks on NumPy, CuPy, PyTorch and JAX arrays.\n\ncommands:\n{listed}",
        "epilog": f"{name} COMMAND --help lists the options of a command.",
        "formatter_class": argparse.RawDescriptionHelpFormatter,
    }


def _run(command: str, argv: Sequence[str], prog: str) -> int:
    """Import a program and run it; Ctrl-C during the import is one line and 130."""
    in_program = signal.getsignal(signal.SIGINT)
    if in_program != signal.SIG_IGN:  # which a shell sets for what it starts in the background
        signal.signal(signal.SIGINT, _end)
    program = import_module(f"xpnet.cli.{command.replace('-', '_')}")
    signal.signal(signal.SIGINT, in_program)
    return program.main(argv, prog)


def _end(*_: object) -> None:
    """Without an exception, which a library's C code may turn into another one as it is imported."""
    os.write(2, b"Interrupted.\n")
    os._exit(130)


def _called_as(path: str) -> str:
    name = os.path.basename(path)
    return "python -m xpnet" if name == "__main__.py" else name.removesuffix(".exe")
