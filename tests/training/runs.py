"""Trainers from flat settings, and callbacks that only do what one test needs."""

from xpnet.datasets import Dataset
from xpnet.network import Network
from xpnet.runs.settings import make_run
from xpnet.training import Callback, Trainer


def make_trainer(dataset: Dataset, model: str = "mnist_starter", *, network: Network | None = None, **settings):
    """A trainer of a model as its recipe says, but for 12 iterations and a report after every five of them."""
    settings = {"report_every": 5, **({} if "epochs" in settings else {"iterations": 12}), **settings}
    run = make_run(model, **settings)
    return run.make_trainer(dataset) if network is None else Trainer(network, dataset, run.train, run.runtime)


class AfterStep(Callback):
    """Calls a function with the iteration after each step."""

    def __init__(self, function):
        self.function = function

    def on_step(self, trainer):
        self.function(trainer.iteration)


class AfterReport(Callback):
    """Calls a function with each record."""

    def __init__(self, function):
        self.function = function

    def on_report(self, trainer, record):
        self.function(record)


class StopAfter(Callback):
    """Stops after an iteration."""

    def __init__(self, iteration):
        self.iteration = iteration

    def on_step(self, trainer):
        if trainer.iteration == self.iteration:
            trainer.stop()


def timeless(records):
    """Records without the seconds, which are never the same."""
    return [record._replace(seconds=0.0) for record in records]
