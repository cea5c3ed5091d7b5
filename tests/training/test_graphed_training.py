"""Training with a recorded step on a fake CuPy; ``tests/test_cuda_graph.py`` says what that proves."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import assert_same_bits
from xpnet.cuda_graph import GraphedStep
from xpnet.training import TrainConfig, Trainer

SETTINGS = {"iterations": 30, "schedule": "cosine", "optimizer": "adamw"}


@pytest.fixture
def trained(fake_cupy, digits, monkeypatch):
    """What a trainer has become with and without a graph, after each report and at the end."""
    monkeypatch.setattr("xpnet.training.trainer.graphed", lambda step, backend: GraphedStep(step, fake_cupy))

    def train(**settings):
        options = {"hidden": (6,), "dropout": 0.3, "batch_norm": True}
        config = TrainConfig.for_model(
            "mlp", model_options=options, limit=70, batch_size=16, report_every=7, **settings
        )
        trainer = Trainer(config, digits)
        kept = [(trainer.network.theta, trainer.network.state, record) for record in trainer.run()]
        return trainer, [(*values, record._replace(seconds=0)) for *values, record in kept]

    return train


def test_a_run_is_the_same_and_keeps_what_it_reported(trained, fake_cupy):
    plain, expected = trained(**SETTINGS)
    graph, actual = trained(**SETTINGS, graph=True)
    assert fake_cupy.calls.count("launch") > 15
    for ours, theirs in zip(actual, expected, strict=True):
        assert_same_bits(ours[:2], theirs[:2])
        assert ours[2] == theirs[2]
    assert_same_bits(graph.snapshot().tensors, plain.snapshot().tensors)


def test_early_stopping_keeps_its_best(trained):
    settings = {**SETTINGS, "early_stopping": 2, "learning_rate": 0.5}
    plain, _ = trained(**settings)
    graph, _ = trained(**settings, graph=True)
    assert graph.best.record.iteration == plain.best.record.iteration < plain.iteration
    np.testing.assert_array_equal(graph.best.theta, plain.best.theta)


def test_a_run_goes_on_with_a_graph(trained, digits):
    plain, _ = trained(**SETTINGS)
    config = dataclasses.replace(plain.config, graph=True)
    begun = Trainer(config, digits)
    list(begun.run(lambda iteration: begun.stop() if iteration == 13 else None))
    resumed = Trainer(config, digits)
    resumed.restore(begun.snapshot())
    list(resumed.run())
    assert_same_bits(resumed.snapshot().tensors, plain.snapshot().tensors)


def test_a_step_is_looked_into_without_a_graph(trained, fake_cupy, digits):
    """Finding where a step went wrong takes the values before it."""
    plain, _ = trained(**SETTINGS)
    trainer = Trainer(dataclasses.replace(plain.config, graph=True), digits)
    list(trainer.run(detect_nonfinite=True))
    assert fake_cupy.calls == []
    assert_same_bits(trainer.snapshot().tensors, plain.snapshot().tensors)
