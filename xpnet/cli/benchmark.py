"""Speed beside other libraries: tables, a JSON file and a chart."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from xpnet import backend as backends
from xpnet import kernels, runtime
from xpnet.benchmark import controller, environment, scaling
from xpnet.benchmark.cases import CPU_MODELS, GPU_MODELS, PLANS, Case, find_cases
from xpnet.benchmark.controller import Row
from xpnet.benchmark.implementation import (
    CPU_PEERS,
    CPU_PURE,
    CUDNN,
    CUDNN_GRAPH,
    GPU_PEERS,
    GPU_PURE,
    is_installed,
    library,
)
from xpnet.checks import pick
from xpnet.cli import common, tables
from xpnet.errors import InputError
from xpnet.files import atomic_write
from xpnet.shapes import check_positive

_PACKAGES = {"torch": '"xpnet[torch]"', "jax": '"xpnet[jax]"', "sklearn": "scikit-learn"}
_PEERS = {peer: peer for peer in (*CPU_PEERS, *GPU_PEERS, *CPU_PURE)}
_TITLES = {"train": "Training step", "predict": "Inference"}


def main(argv: Sequence[str] | None = None, prog: str = "xpnet benchmark") -> int:
    """Run the program and return its exit code."""
    return common.run(make_parser(prog), argv, _benchmark)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        description="Measure how long a training step and a prediction take, beside the same network, optimizer and "
        "data in other libraries. Each implementation has its own processes; they take turns, and medians are "
        "compared. Gradients are compared first: an implementation with other gradients is not timed.",
        epilog="Run it on an otherwise idle machine. Exit codes: 0 measured, 1 an implementation failed "
        "or was refused, 2 bad input or a file cannot be written. benchmarks/README.md says how to read the results.",
    )
    parser.add_argument("--device", default="cpu", help="cpu (NumPy), cuda or cuda:N (CuPy); default: cpu")
    parser.add_argument(
        "--models",
        type=_list,
        metavar="A,B",
        help=f"networks, of {', '.join(PLANS)}; default: {', '.join(CPU_MODELS)}, on a GPU resnet50 too",
    )
    parser.add_argument(
        "--batch-sizes", type=_list, metavar="N,N", help="images in a batch; default: each network's own"
    )
    parser.add_argument(
        "--peers",
        type=_list,
        metavar="A,B",
        help=f"what to compare with: on the CPU {', '.join(CPU_PEERS)} (for mlp alone), on a GPU "
        f"{', '.join(GPU_PEERS)}, or none; beside PyTorch and JAX, xpnet runs on their arrays too; default: all of "
        f"these, with --scaling torch. Also {', '.join(CPU_PURE)}: xpnet with portable kernels, all of them as with "
        "--kernels pure of train.py, or one in place of NumPy's own",
    )
    parser.add_argument(
        "--precision",
        **common.choices(kernels.PRECISIONS),
        default=Case.precision,
        help="precision of float32 products on a GPU, the same in every library; default: %(default)s",
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of each process; default: one per core")
    parser.add_argument(
        "--rounds",
        type=int,
        default=12,
        metavar="N",
        help="measurements of each implementation, spread over up to three processes; default: 12",
    )
    parser.add_argument("--json", metavar="FILE", help="write environment and rows to this file; default: none")
    parser.add_argument("--plot", metavar="FILE", help="draw a chart (.png, .pdf, .svg); default: none")
    parser.add_argument(
        "--profile", action="store_true", help="instead, show what each layer of xpnet's networks costs; default: off"
    )
    parser.add_argument(
        "--scaling",
        action="store_true",
        help="instead, vary batch size, image size, channels and depth of a plain network; default: off",
    )
    return parser


@dataclass(frozen=True)
class _Run:
    """What all measurements of a run share."""

    console: Console
    environment: Mapping[str, Any]
    own: str  # xpnet on the device's own array library
    device: str
    threads: int
    rounds: int

    @property
    def where(self) -> dict[str, Any]:
        """Settings of a measurement."""
        return {"device": self.device, "threads": self.threads}

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, style="yellow")

    def write(self, path: str | None, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write what has been measured so far, so that a run that is broken off is not lost."""
        if path:
            content = {"environment": self.environment, "rows": rows}
            atomic_write(Path(path).resolve(), (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _benchmark(flags: argparse.Namespace) -> int:
    home = backends.resolve(flags.device)
    check_positive("Benchmark", "--rounds", flags.rounds)
    threads = runtime.cores() if flags.threads is None else _threads(flags.threads)
    batch_sizes = flags.batch_sizes and _numbers(flags.batch_sizes)
    if flags.profile and flags.scaling:
        raise InputError("Benchmark: expected --profile or --scaling, got both. Use one of them.")
    if flags.scaling and flags.precision != Case.precision:
        raise InputError(f"Benchmark: expected --scaling in float32, got {flags.precision}. Leave --precision out.")
    if flags.scaling and (flags.models or flags.batch_sizes):
        raise InputError(
            "Benchmark: expected --scaling alone, which has a network of its own, got --models or --batch-sizes. "
            "Leave them out."
        )
    if flags.profile and (flags.peers or flags.plot):
        raise InputError(
            "Benchmark: expected --profile of xpnet alone, got --peers or --plot. Leave them out, or --profile."
        )
    common.check_file("--json", flags.json)
    common.check_file("--plot", flags.plot)
    if flags.plot:
        from xpnet import plots  # here: matplotlib takes a second to import

        plots.check_suffix(flags.plot)
    device, console = home.device_name(), common.make_console()
    about = {**environment.describe(device, threads), "precision": flags.precision}
    run = _Run(console, about, f"xpnet-{home.name}", device, threads, flags.rounds)
    models = flags.models or (CPU_MODELS if device == "cpu" else GPU_MODELS)
    cases = [case for model in models for case in find_cases(model, batch_sizes, flags.precision)]
    peers = _peers(flags.peers or (["torch"] if flags.scaling else None), device)
    tables.print_environment(console, run.environment)
    if flags.profile:
        return _profile(run, cases, flags.json)
    implementations = _implementations(run, peers)
    if flags.scaling:
        return _scaling(run, implementations, flags.json, flags.plot)
    return _compare(run, cases, implementations, peers, flags.json, flags.plot)


def _compare(
    run: _Run,
    cases: Sequence[Case],
    implementations: Sequence[str],
    peers: Sequence[str],
    path: str | None,
    plot: str | None,
) -> int:
    rows: list[Row] = []
    all_measured = True
    for case in cases:
        names = [name for name in implementations if name != "sklearn" or case.model == "mlp"]
        measured = controller.measure(case, names, run.say, rounds=run.rounds, **run.where)
        if measured:
            tables.print_rows(run.console, measured, peers)
        rows += measured
        all_measured &= {row.implementation for row in measured} == set(names)
        run.write(path, [row._asdict() for row in rows])
    if plot and rows:
        from xpnet import plots  # here: matplotlib takes a second to import

        plots.save(plots.relative_times(*_bars(rows)), plot)
    return common.EXIT_OK if all_measured else common.EXIT_FAILED


def _profile(run: _Run, cases: Sequence[Case], path: str | None) -> int:
    rows: list[dict[str, Any]] = []
    complete, implementations = True, [run.own, *_by_cudnn(run)]
    for case, name in itertools.product(cases, implementations):
        try:
            profile = controller.profile(case, name, **run.where)
        except controller.WorkerError as error:
            run.say(f"{name} left out for {case.model}: {error}")
            complete = False
            continue
        tables.print_profile(run.console, case, name, profile)
        what = {"model": case.model, "batch_size": case.batch_size, "implementation": name}
        bounds = {"products_ms": profile.products_ms, "traffic_ms": profile.traffic_ms}
        rows += [{**what, **cost._asdict(), **bounds} for cost in profile.costs]
        run.write(path, rows)
    return common.EXIT_OK if complete else common.EXIT_FAILED


def _scaling(run: _Run, implementations: Sequence[str], path: str | None, plot: str | None) -> int:
    points: list[scaling.Point] = []
    for point in scaling.measure_scaling(implementations, run.say, rounds=run.rounds, **run.where):
        points.append(point)
        row = point.row
        run.console.print(
            f"{point.value:>6} {point.varied:<18} {row.implementation:<20} "
            f"{1e6 / row.images_per_second:10.1f} us per image"
        )
        run.write(path, [{**p._asdict(), "row": p.row._asdict()} for p in points])
    if plot:
        from xpnet import plots

        plots.save(plots.scaling_curves(scaling.curves(points), scaling.WORK), plot)
    return common.EXIT_OK


def _peers(names: Sequence[str] | None, device: str) -> list[str]:
    """The peers asked for, or all that there are on a device."""
    peers, pure = (CPU_PEERS, CPU_PURE) if device == "cpu" else (GPU_PEERS, GPU_PURE)
    if names is None:
        return list(peers)
    chosen = [] if list(names) == ["none"] else [pick("Benchmark, peer", _PEERS, name) for name in names]
    there = (*peers, *pure)
    for name in chosen:
        if name not in there:
            raise InputError(f"Benchmark: expected peers on {device} of {', '.join(there)}, got {name}. Leave it out.")
    return chosen


def _implementations(run: _Run, peers: Sequence[str]) -> list[str]:
    """The installed peers, after xpnet on the libraries that take part; a line names each missing one."""
    libraries = dict.fromkeys(map(library, peers))
    for name in libraries:
        if not is_installed(name):
            run.say(f"{name} is left out, it is not installed: pip install {_PACKAGES[name]}")
    peers = [peer for peer in peers if is_installed(peer)]
    own = [f"xpnet-{name}" for name in ("torch", "jax") if name in libraries and is_installed(name)]
    graph = [f"{run.own}-graph"] if run.own == "xpnet-cupy" else []
    by_cudnn = [CUDNN, CUDNN_GRAPH] if _by_cudnn(run) else []
    return [run.own, *graph, *by_cudnn, *own, *peers]


def _by_cudnn(run: _Run) -> list[str]:
    """What of xpnet runs by cuDNN on a GPU; where that is not installed, a line says so."""
    if run.own != "xpnet-cupy":
        return []
    if not is_installed(CUDNN):
        run.say(f'{CUDNN} is left out, cuDNN is not installed: pip install "xpnet[cudnn]"')
        return []
    return [CUDNN]


def _bars(rows: Sequence[Row]) -> tuple[list[str], dict[str, dict[str, np.ndarray]], str]:
    """Groups, panels and reference of ``plots.relative_times``: PyTorch where it ran, xpnet elsewhere."""
    reference = "torch" if any(row.implementation == "torch" for row in rows) else rows[0].implementation
    groups = list(dict.fromkeys(_group(row) for row in rows))
    base = {(row.mode, _group(row)): row.median_ms for row in rows if row.implementation == reference}
    panels: dict[str, dict[str, np.ndarray]] = {title: {} for title in _TITLES.values()}
    for row in rows:
        times = panels[_TITLES[row.mode]].setdefault(row.implementation, np.full((len(groups), 3), np.nan))
        by = base.get((row.mode, _group(row)), np.nan)
        times[groups.index(_group(row))] = np.array([row.median_ms, row.p10_ms, row.p90_ms]) / by
    return groups, panels, reference


def _group(row: Row) -> str:
    return f"{row.model}, {row.batch_size}"


def _list(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",")))


def _numbers(parts: Sequence[str]) -> tuple[int, ...]:
    return tuple(
        check_positive("Benchmark", "--batch-sizes", int(part) if part.isdecimal() else part) for part in parts
    )


def _threads(number: int) -> int:
    """Refuse more threads than cores: they would wait for each other, and the rows would not show it."""
    check_positive("Benchmark", "--threads", number)
    if number > runtime.cores():
        raise InputError(
            f"Benchmark: expected --threads of at most {runtime.cores()}, the cores that this program may use, "
            f"got {number}. Use fewer."
        )
    return number
