"""Serve the report of runs that go on to a browser on this machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from xpnet.cli import common
from xpnet.cli.train_flags import command_text

_PORT = 8650


def main(argv: Sequence[str] | None = None, prog: str = "xpnet watch") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _watch)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        usage="%(prog)s RUN [RUN ...] [options]",
        description="Show runs in a browser while they go on: settings, layers, learning curves and, at the end, "
        "results. Only browsers on this machine can read the page. Of a folder of runs it shows the newest runs, "
        "including later ones.",
        epilog="Ctrl-C ends it. Exit codes: 0 ended, 2 bad input or a port that is taken.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or a folder of runs such as runs/")
    parser.add_argument("--port", type=int, default=_PORT, metavar="N", help=f"port; 0: any free one; default: {_PORT}")
    return parser


def _watch(flags: argparse.Namespace) -> int:
    from xpnet.report.watch import serve  # here: matplotlib takes a second to import

    with serve([Path(path) for path in flags.runs], command_text, flags.port) as server:
        host, port = server.server_address[:2]
        common.make_console().print(f"Watching {', '.join(flags.runs)} at http://{host}:{port}/ until Ctrl-C")
        sys.stdout.flush()
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            return common.EXIT_OK
    return common.EXIT_OK
