"""Training with a step that is recorded as a CUDA graph."""

import pytest

from tests.helpers import assert_same_bits
from tests.training.runs import AfterReport, StopAfter, make_trainer

SETTINGS = {"iterations": 30, "schedule": "cosine", "optimizer": "adamw", "mixup": 0.4, "ema": 0.8}


def make(digits, **settings):
    options = {"hidden": (6,), "dropout": 0.3, "batch_norm": True}
    settings |= {"limit": 70, "batch_size": 16, "report_every": 7, "device": "cuda"}
    return make_trainer(digits, "mlp", model_options=options, **settings)


@pytest.fixture
def trained(graphs, digits):
    """What a trainer has become with and without a graph, after each report and at the end."""

    def train(**settings):
        trainer, kept = make(digits, **settings), []

        def keep(record):
            kept.append((trainer.network.theta, trainer.network.state, record._replace(seconds=0)))

        trainer.run([AfterReport(keep)])
        return trainer, kept

    return train


def test_a_run_is_the_same_and_keeps_what_it_reported(trained, graphs):
    plain, expected = trained(**SETTINGS)
    graph, actual = trained(**SETTINGS, graph=True)
    assert graphs["replays"] > 15
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same_bits(ours[:2], theirs[:2])
        assert ours[2] == theirs[2]
    assert_same_bits(graph.snapshot().tensors, plain.snapshot().tensors)


def test_early_stopping_keeps_its_best(trained):
    settings = {**SETTINGS, "early_stopping": 2, "learning_rate": 0.5}
    plain, _ = trained(**settings)
    graph, _ = trained(**settings, graph=True)
    assert graph.best.record.iteration == plain.best.record.iteration < plain.iteration
    assert_same_bits(graph.best.theta, plain.best.theta)


def test_a_run_goes_on_with_a_graph(trained, digits):
    plain, _ = trained(**SETTINGS)
    begun, resumed = (make(digits, **SETTINGS, graph=True) for _ in range(2))
    begun.run([StopAfter(13)])
    resumed.restore(begun.snapshot())
    resumed.run()
    assert_same_bits(resumed.snapshot().tensors, plain.snapshot().tensors)


def test_a_step_is_looked_into_without_a_graph(trained, graphs, digits):
    """Finding where a step went wrong takes the values before it."""
    plain, _ = trained(**SETTINGS)
    trainer = make(digits, **SETTINGS, graph=True)
    trainer.run(detect_nonfinite=True)
    assert graphs["replays"] == 0
    assert_same_bits(trainer.snapshot().tensors, plain.snapshot().tensors)


def test_parts_of_a_batch_are_one_graph(trained, graphs):
    plain, _ = trained(accumulate=3, iterations=20)
    graph, _ = trained(accumulate=3, iterations=20, graph=True)
    assert graphs["replays"] > 8
    assert_same_bits(graph.snapshot().tensors, plain.snapshot().tensors)
