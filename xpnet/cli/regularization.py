"""Compare dropout with L2 regularisation, and both with neither."""

from __future__ import annotations

from rich.console import Console

from xpnet.cli import common, tables
from xpnet.runs import RunConfig
from xpnet.runs.regularization import Regularized, dropout_against_l2
from xpnet.runs.trial_parameters import Parameters, configure, single_values

LENGTH = {"limit": 1000, "epochs": 60}
WEIGHT_DECAYS, DROPOUTS, SEEDS = (0.003, 0.01, 0.03), (0.1, 0.2, 0.5), 3


def run(console: Console, config: RunConfig, values: Parameters, out: str) -> int:
    """Train with each, print the accuracies and draw them; returns the exit code."""
    weight_decays = values.pop("weight_decay", WEIGHT_DECAYS)
    dropouts = values.pop("dropout", DROPOUTS)
    config = configure(config, single_values(values))
    common.make_folder(out)
    seeds = range(config.train.seed, config.train.seed + SEEDS)
    results = []
    for result in dropout_against_l2(config, config.load_data(), weight_decays, dropouts, seeds):
        results.append(result)
        console.print(f"{_name(result)}: {SEEDS} runs of {config.train.epochs} epochs done")
    tables.print_regularization(console, {_name(result): result for result in results})
    from xpnet import plots  # here: matplotlib takes a second to import

    none, *others = results
    panels = {
        kind: {_name(result): result.validation for result in (none, *others) if result.kind in ("none", kind)}
        for kind in ("L2", "dropout")
    }
    common.save_plot(console, plots.regularization(none.epochs, panels), out, "dropout_vs_l2")
    return common.EXIT_OK


def _name(result: Regularized) -> str:
    symbols = {"L2": "L2, λ =", "dropout": "dropout, p ="}
    return f"{symbols[result.kind]} {result.strength:g}" if result.kind in symbols else result.kind
