"""Write the report of a run, or of several side by side, as one HTML file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from xpnet.cli import common
from xpnet.cli.train_flags import command_text
from xpnet.errors import InputError
from xpnet.runs import RunConfig
from xpnet.runs.folder import REPORT, RunFolder


def main(argv: Sequence[str] | None = None, prog: str = "xpnet report") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _report)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        usage="%(prog)s RUN [RUN ...]",
        description=f"Write {REPORT} into the folder of the (first) run: settings, layers, learning curves, test "
        "results, misclassified images, filters, calibration, timing and versions on one page that needs no network "
        "and no script; several runs are shown side by side, with their differences marked. Training writes it too.",
        epilog="Exit codes: 0 written, 2 bad input.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder that training wrote")
    return parser


def _report(flags: argparse.Namespace) -> int:
    from xpnet.report import page  # here: matplotlib takes a second to import
    from xpnet.report.findings import Findings, find
    from xpnet.report.run import State, read_run, state_of, titles
    from xpnet.report.view import RunView

    def find_or_warn(folder: RunFolder, config: RunConfig) -> Findings | None:
        try:
            return find(folder, config)
        except InputError as error:
            common.warn(f"{error} The report is without images and filters.")
            return None

    folders = [RunFolder.open_begun(path) for path in flags.runs]
    views = []
    for folder, title in zip(folders, titles(folders), strict=True):
        config = folder.read_config()
        run = read_run(folder, state_of(folder))
        is_over = run.state in (State.FINISHED, State.INTERRUPTED)
        views.append(RunView(run, command_text(config), title, find_or_warn(folder, config) if is_over else None))
    page.write(folders[0], views)
    common.make_console().print(f"The report is in {folders[0].path / REPORT}")
    return common.EXIT_OK
