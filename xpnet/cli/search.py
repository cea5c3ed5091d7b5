"""Search for hyper-parameters, test a range of learning rates, or compare dropout with L2 regularisation."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from xpnet import models
from xpnet.cli import common, following, range_test, regularization, tables
from xpnet.cli.ranks import ending_all, engine_of, join
from xpnet.cli.train_flags import command_of
from xpnet.errors import InputError
from xpnet.layers import Dense, Dropout
from xpnet.optimizers import OPTIMIZERS
from xpnet.parallel import Group, connect
from xpnet.parallel.agreement import together
from xpnet.runs import RunConfig
from xpnet.runs.settings import SETTINGS, make_run
from xpnet.runs.trial_parameters import Parameters, Space, configure, parse_hidden
from xpnet.search import (
    COMPLETE,
    DIVERGED,
    LOGARITHMIC,
    SAMPLERS,
    WAITING,
    Search,
    Trial,
    best,
)
from xpnet.shapes import check_positive

_LABELS = {"learning_rate": "learning rate", "weight_decay": "weight decay", "dropout": "dropout", "hidden": "hidden"}
_FACTORS = (0.1, 0.3, 1.0, 3.0)  # of the model's own learning rate
_WEIGHT_DECAYS, _DROPOUTS, _TOPOLOGIES = (1e-5, 1e-3), (0.0, 0.3), ("100", "100,100", "300,100")
_SEARCH_LENGTH = {"limit": 5000, "epochs": 5}


def main(argv: Sequence[str] | None = None, prog: str = "xpnet search") -> int:
    """Run the program and return its exit code."""
    parser = make_parser(prog)
    join(parser, argv)
    return common.run(parser, argv, _search)


def make_parser(prog: str) -> common.Parser:
    """The parser of its flags."""
    parser = common.Parser(
        prog=prog,
        description="Search for the learning rate, weight decay, dropout and topology with the best validation "
        "accuracy. Without options: 20 short trainings of mlp on 5,000 MNIST digits, in about a minute; run it again "
        "and the search goes on. Prints the trials and the command that repeats the best one.",
        epilog="Processes with the same --storage and --study, also on several machines with one database, share a "
        "study. Exit codes: 0 done, 1 diverged (in a search: and this process completed no trial), 2 bad input, "
        "130 Ctrl-C, 143 SIGTERM (the study stays usable).",
    )
    what = parser.add_argument_group("instead of a search")
    mode = what.add_mutually_exclusive_group()
    mode.add_argument(
        "--lr-range-test",
        action="store_true",
        help=f"train once for {range_test.STEPS} iterations while the learning rate grows, and plot the loss",
    )
    mode.add_argument(
        "--dropout-vs-l2",
        action="store_true",
        help=f"train on few images with neither, with L2, and with dropout, {regularization.SEEDS} seeds each; plot it",
    )
    train = parser.add_argument_group("every training")
    train.add_argument(
        "--model", default="mlp", metavar="NAME", help=f"{', '.join(models.names())}; default: %(default)s"
    )
    common.add_data_arguments(train)
    common.add_image_size_argument(train)
    train.add_argument(
        "--limit",
        type=int,
        metavar="N",
        help=f"train on N images; default: {_SEARCH_LENGTH['limit']}, with --dropout-vs-l2 "
        f"{regularization.LENGTH['limit']}",
    )
    train.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"passes over these images; default: {_SEARCH_LENGTH['epochs']}, with --dropout-vs-l2 "
        f"{regularization.LENGTH['epochs']}",
    )
    train.add_argument("--batch-size", type=int, metavar="N", help="images in a batch; default: the model's own")
    train.add_argument(
        "--optimizer", **common.choices(OPTIMIZERS), help=f"{common.listed(OPTIMIZERS)}; default: the model's own"
    )
    train.add_argument("--seed", type=int, default=0, metavar="N", help="seed of all random numbers; default: 0")
    common.add_device_arguments(train)
    common.add_parallel_argument(train)
    options = parser.add_argument_group("model")
    common.add_model_arguments(options)
    values = parser.add_argument_group(
        "values to try", "grid tries each; tpe and random try any value between the smallest and the largest"
    )
    values.add_argument(
        "--lr",
        type=float,
        nargs="+",
        dest="learning_rate",
        metavar="α",
        help=f"learning rates; default: the model's own times {_listed(_FACTORS)}; with --lr-range-test the first and "
        f"the last one, default: {_listed(range_test.RATES)}; with --dropout-vs-l2 one, default: the model's own",
    )
    values.add_argument(
        "--weight-decay",
        type=float,
        nargs="+",
        metavar="λ",
        help=f"default: {_listed(_WEIGHT_DECAYS)}; with --dropout-vs-l2 {_listed(regularization.WEIGHT_DECAYS)}",
    )
    values.add_argument(
        "--dropout",
        type=float,
        nargs="+",
        metavar="P",
        help=f"of models that have it; default: {_listed(_DROPOUTS)}; with --dropout-vs-l2 "
        f"{_listed(regularization.DROPOUTS)}",
    )
    values.add_argument(
        "--hidden",
        nargs="+",
        metavar="N,N",
        help="topologies, each the units of its hidden layers (mlp; every sampler tries only these); default: "
        f"{_listed(_TOPOLOGIES)}; otherwise one, default: the model's own",
    )
    study = parser.add_argument_group("study")
    study.add_argument(
        "--sampler",
        **common.choices(SAMPLERS),
        default="tpe",
        help="tpe learns from earlier trials, random does not, grid tries every combination; default: %(default)s",
    )
    study.add_argument("--trials", type=int, default=20, metavar="N", help="trials of this process; default: 20")
    study.add_argument("--study", metavar="NAME", help="its name in the storage; default: <model>-<data>")
    study.add_argument(
        "--storage",
        metavar="FILE",
        help="SQLite file, or the URL of a database that machines share, such as postgresql+psycopg://user@host/db; "
        "default: search.db in the output folder",
    )
    parser.add_argument("--out", default="runs/search", metavar="DIR", help="folder for plots; default: %(default)s")
    return parser


def _search(flags: argparse.Namespace) -> int:
    group = connect(engine_of(flags))
    with ending_all(group, make_parser("search").spellings()):
        code = _by_all_ranks(flags, group)
        if code in (common.EXIT_INTERRUPTED, common.EXIT_TERMINATED):  # the other ranks wait for the next trial
            sys.stdout.flush()
            group.abort(code)
        return code


def _by_all_ranks(flags: argparse.Namespace, group: Group) -> int:
    console = common.make_console(group.rank > 0)
    with together(group):
        run, values = _settings(flags)
        if group.size > 1 and (flags.lr_range_test or flags.dropout_vs_l2):
            raise InputError(
                f"Search: expected one process with --lr-range-test or --dropout-vs-l2, got {group.size} ranks. "
                "Start it without a launcher of ranks."
            )
    if flags.lr_range_test:
        return range_test.run(console, run, values, flags.out)
    if flags.dropout_vs_l2:
        return regularization.run(console, run, values, flags.out)
    with together(group):
        check_positive("Search", "trials", flags.trials)
        space, dataset = _space(run, values), run.load_data()
        if group.rank == 0:
            common.make_folder(flags.out)
    storage = flags.storage or os.path.join(flags.out, "search.db")
    name = flags.study or f"{run.model}-{run.data}"
    searched = Search(run, dataset, space, sampler=flags.sampler, storage=storage, name=name)
    if group.rank > 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the first rank, which gets it too, ends all
        searched.run(flags.trials)
        return common.EXIT_OK
    alone = replace(run, runtime=run.runtime.alone)  # as it is to be repeated
    return _run_study(console, searched, alone, flags.trials, flags.out)


def _settings(flags: argparse.Namespace) -> tuple[RunConfig, Parameters]:
    """The run as every training has it, and the values to try that were given."""
    settings = {name: value for name, value in vars(flags).items() if name in SETTINGS}
    values = {name: settings.pop(name) for name in _LABELS}
    values = {name: value for name, value in values.items() if value is not None}
    length = regularization.LENGTH if flags.dropout_vs_l2 else _SEARCH_LENGTH
    given = {name: value for name, value in settings.items() if value is not None}
    run = make_run(**{**length, **given, "parallel": engine_of(flags)})
    images = run.train.limit or length["limit"]
    per_epoch = max(images // run.train.batch_size, 1)  # about one report each epoch
    return replace(run, train=replace(run.train, report_every=per_epoch)), values


def _space(config: RunConfig, values: Parameters) -> Space:
    """The values to try: those given, or the defaults of what the model has."""
    defaults: dict[str, Any] = {
        "learning_rate": tuple(float(f"{factor * config.train.optimizer.learning_rate:.4g}") for factor in _FACTORS),
        "weight_decay": _WEIGHT_DECAYS,
    }
    owned = {"dropout": _DROPOUTS, "hidden": _TOPOLOGIES}
    for name in models.options(config.model):
        if name in owned:
            defaults[name] = owned.pop(name)
    for name in owned.keys() & values.keys():
        raise InputError(f"Search: expected no {name}, which {config.model} does not have. Leave it out.")
    space = {**defaults, **values}
    for name in ("learning_rate", "weight_decay"):
        for value in space[name]:
            configure(config, {name: value})  # refuses what is out of range
    for value in space.get("dropout", ()):
        Dropout(value)
    for value in space.get("hidden", ()):
        for units in parse_hidden(value):
            Dense(units)
    return space


def _run_study(console: Console, searched: Search, config: RunConfig, trials: int, out: str) -> int:
    ended = set()

    def report_trial(tried: Trial) -> None:
        ended.add(tried.state)
        console.print(_line(tried))

    try:
        with following.sigterm_as_ctrl_c():
            searched.run(trials, report_trial)
        code = common.EXIT_FAILED if DIVERGED in ended and COMPLETE not in ended else common.EXIT_OK
    except KeyboardInterrupt as stop:
        is_sigterm = isinstance(stop, following.Terminated)
        name = "SIGTERM" if is_sigterm else "Ctrl-C"
        console.print(f"{name}: the study keeps its trials; run the same command again to continue.")
        code = common.EXIT_TERMINATED if is_sigterm else common.EXIT_INTERRUPTED
    waiting, running = searched.waiting(), searched.running()
    tried = [t for t in searched.trials() if t.state != WAITING]
    tables.print_trials(console, tried)
    if waiting:
        console.print(f"Waiting trials: {waiting}. Run the same command again, or several at a time.")
    if running:
        console.print(
            f"Running in another process, or killed: {running}, shown as running. "
            "A killed trial is not repeated: try its values with another --study."
        )
    winner = best(tried)
    if winner is None:
        console.print("No trial was completed.")
        return code
    console.print(f"Best: trial {winner.number}, validation accuracy {winner.accuracy:.2%}. Repeat it with")
    console.print(shlex.join(command_of(configure(config, winner.parameters))))
    console.print(f"or leave out --limit {config.train.limit} to train on all images.")
    _draw_trials(console, tried, out)
    return code


def _line(tried: Trial) -> str:
    parameters = "  ".join(f"{_LABELS[name]} {value}" for name, value in tried.parameters.items())
    accuracy = "" if tried.accuracy is None else f"{tried.accuracy:.2%}"
    return f"trial {tried.number}  {parameters}  {accuracy} {tried.state}"


def _draw_trials(console: Console, tried: Sequence[Trial], out: str) -> None:
    from xpnet import plots  # here: matplotlib takes a second to import

    known = [t for t in tried if t.accuracy is not None and t.parameters]
    figure = plots.search_trials(
        np.asarray([t.accuracy for t in known]),
        np.asarray([t.state == COMPLETE for t in known]),
        {_LABELS[name].capitalize(): [t.parameters[name] for t in known] for name in known[0].parameters},
        [_LABELS[name].capitalize() for name in LOGARITHMIC],
    )
    common.save_plot(console, figure, out, "search")


def _listed(values: Sequence[Any]) -> str:
    return " ".join(map(str, values))
