"""Train once while the learning rate grows, and suggest a rate."""

from __future__ import annotations

from rich.console import Console

from xpnet.cli import common
from xpnet.runs import RunConfig
from xpnet.runs.trial_parameters import Parameters, configure, single_values
from xpnet.training.range_test import range_test

RATES, STEPS = (1e-4, 100.0), 300


def run(console: Console, config: RunConfig, values: Parameters, out: str) -> int:
    """Run the test, print what it says and draw it; returns the exit code."""
    rates = values.pop("learning_rate", RATES)
    config = configure(config, single_values(values))
    common.make_folder(out)
    dataset = config.load_data()
    network = config.make_network(dataset)
    test = range_test(network, dataset, config.train, min(rates), max(rates), STEPS, config.runtime)
    console.print(
        f"{len(test.rates)} of {STEPS} iterations, learning rate {test.rates[0]:.3g} to {test.rates[-1]:.3g}: "
        f"the smoothed loss is lowest, {min(test.smoothed):.4f}, at {test.rate_of_lowest_loss:.3g}."
    )
    if test.suggestion is None:
        console.print(
            "The loss had not exploded at the highest rate, so no rate is suggested. Try higher ones with "
            "--lr A B; if the loss is near 0, the network overfits these images: use more with --limit N."
        )
    else:
        console.print(f"A tenth of that is a good rate to begin with: --lr {test.suggestion:.2g}")
    from xpnet import plots  # here: matplotlib takes a second to import

    figure = plots.range_test(test.rates, test.losses, test.smoothed, test.suggestion)
    common.save_plot(console, figure, out, "lr_range_test")
    return common.EXIT_OK
