"""Repeat the published experiments, and write the page that compares the results."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from xpnet.checks import pick
from xpnet.cli import common, compare_optimizers, train
from xpnet.experiments import EXPERIMENTS, measure
from xpnet.provenance import code_version
from xpnet.results_page import (
    IMAGES,
    PAGE,
    RESULTS,
    comparison,
    keep_picture,
    read_page,
    read_results,
    write_results,
)
from xpnet.runs.folder import RunFolder
from xpnet.shapes import check_positive

_PROGRAMS: Mapping[str, Callable[[list[str]], int]] = {
    "train.py": train.main,
    "compare_optimizers.py": compare_optimizers.main,
}


def main(argv: Sequence[str] | None = None, prog: str = "xpnet experiments") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _run)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        usage="%(prog)s [NAME ...] [options]",
        description=f"Repeat published experiments and write the results beside the published ones: {RESULTS} keeps "
        f"the metrics of every run, and {PAGE} shows them. They stay until the same experiment is run again with the "
        "same seed.",
        epilog="Exit codes: 0 all done, 2 bad input; otherwise the code of the experiment that failed.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"{', '.join(EXPERIMENTS)}; default: all, in this order"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="run with the seeds 0 to N - 1; default: 3 for short experiments, 1 for long ones",
    )
    parser.add_argument("--data-dir", metavar="DIR", help="folder with CIFAR-10's files; default: downloaded")
    parser.add_argument(
        "--docs", default="docs", metavar="DIR", help="folder with the page and the results; default: %(default)s"
    )
    parser.add_argument("--render", action="store_true", help="run nothing, only write the page from the kept results")
    common.add_device_arguments(parser)
    return parser


def _run(flags: argparse.Namespace) -> int:
    folder = Path(flags.docs)
    read_page(folder)  # before hours of work, not after
    for name in flags.names:
        pick("Experiment", EXPERIMENTS, name)
    if flags.seeds is not None:
        check_positive("Experiments", "seeds", flags.seeds)
    if flags.render:
        write_results(folder, read_results(folder))
        return common.EXIT_OK
    version = code_version()  # of the code that is running, whatever is committed in the hours that it runs
    where = [f"--{name}={getattr(flags, name)}" for name in ("device", "backend") if getattr(flags, name)]
    for name in flags.names or EXPERIMENTS:
        for seed in range(flags.seeds or EXPERIMENTS[name].seeds):
            code = _repeat(name, seed, flags.data_dir, folder, where, version)
            if code != common.EXIT_OK:
                return code
    return common.EXIT_OK


def _repeat(name: str, seed: int, data_dir: str | None, docs: Path, where: list[str], version: str) -> int:
    """Run an experiment with one seed and keep its metrics."""
    experiment, run = EXPERIMENTS[name], RunFolder.create_default(name)
    program, *flags = experiment.command.split()
    flags += ["--seed", str(seed), "--out", str(run.path), *where]
    if data_dir and experiment.needs_data_dir:
        flags += ["--data-dir", data_dir]
    print(f"\n{name}, seed {seed}: scripts/{program} {' '.join(flags)}", flush=True)
    start, cpu_start = time.perf_counter(), time.process_time()
    code = _PROGRAMS[program](flags)
    if code == common.EXIT_OK:
        metrics = measure(experiment, run, time.perf_counter() - start, time.process_time() - cpu_start, version)
        for line in comparison(experiment, metrics):
            print(line, flush=True)
        results = read_results(docs)
        results.setdefault(name, {})[str(seed)] = metrics
        write_results(docs, results)
        if seed == 0:
            keep_picture(run.plots_path / f"{experiment.picture}.png", docs / IMAGES / f"{name}.png")
    return code
