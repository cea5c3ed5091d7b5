"""What is wrong with a student's answers to a lesson of the course."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from xpnet.cli import common
from xpnet.errors import printable
from xpnet.grading import LESSONS, grade
from xpnet.grading.process import SECONDS

STYLES = {"right": "green", "wrong": "red", "to do": "yellow"}


def main(argv: Sequence[str] | None = None, prog: str = "xpnet grade") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _grade)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        usage="%(prog)s FILE [options]",
        description="Grade the exercises of a lesson (course/lesson1.py to lesson6.py): run each function on inputs "
        "that the lesson does not show, check its gradients, and say in one sentence what is wrong. The file is run "
        "with your permissions; what it prints is not shown.",
        epilog="Exit codes: 0 all functions are right, 1 some are wrong or missing, 2 bad input.",
    )
    parser.add_argument("file", metavar="FILE", help="Python file with the functions of a lesson")
    parser.add_argument(
        "--lesson", **common.choices(LESSONS), help=f"{common.listed(LESSONS)}; default: the name of the file"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help="time limit for each function; default: %(default)g"
    )
    return parser


def _grade(flags: argparse.Namespace) -> int:
    verdicts = grade(flags.file, flags.lesson, seconds=flags.seconds)
    console = common.make_console()
    console.print(LESSONS[flags.lesson or Path(flags.file).stem].title, style="bold")
    width = max(len(verdict.name) for verdict in verdicts)
    for name, state, sentence in verdicts:
        words = printable(sentence) if state == "wrong" else ""
        console.print(Text.assemble((f"{state:5}", STYLES[state]), f"  {name:{width}}  {words}".rstrip()))
    right = sum(verdict.state == "right" for verdict in verdicts)
    console.print(f"{right} of {len(verdicts)} right")
    return common.EXIT_OK if right == len(verdicts) else common.EXIT_FAILED
