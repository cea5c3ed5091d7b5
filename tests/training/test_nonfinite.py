"""Which layer is blamed when numbers stop being finite."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from array_api_compat import array_namespace

from tests.training.runs import make_trainer
from xpnet.errors import TrainingDivergedError
from xpnet.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, ReLU, Residual, Sequential
from xpnet.layers.base import Backward, Forward, Layer
from xpnet.network import Network
from xpnet.random import make_key
from xpnet.training.nonfinite import first_nonfinite

BACKENDS = ["numpy", "torch", "jax"]


@dataclass(frozen=True)
class Faulty(Layer):
    """Hands its input on, but spoils its output, its input's gradient, or that of a weight."""

    where: str = ""
    prefix: ClassVar[str] = "faulty"

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, state, x, *, train=False, key=None):
        return Forward(spoiled(x) if self.where == "output" else x, {"x": x} if train else None, state)

    def backward(self, params, cache, dy, *, need_dx=True):
        grads = {"weight": spoiled(dy)} if self.where == "weight" else {}
        return Backward(spoiled(dy) if self.where == "gradient" else dy, grads)


def spoiled(x):
    return x / array_namespace(x).zeros_like(x)


def network_with(fault, backend="numpy"):
    branch = Sequential([Conv2D(2, 3, padding=1), BatchNorm(), Dropout(0.2), ("bad", Faulty(fault))])
    layers = Sequential([Conv2D(2, 3), ("stage", Residual(branch)), ReLU(), Flatten(), Dense(3)])
    return Network(layers, (6, 6, 1), backend=backend)


def found(network, x=None, theta=None):
    backend = network.backend
    if x is None:
        x = np.random.default_rng(0).normal(size=(4, 6, 6, 1)).astype(np.float32)
    labels, key = backend.asarray(np.array([0, 1, 2, 0], np.int32)), backend.asarray(make_key(0))
    with np.errstate(all="ignore"):
        theta = network.theta if theta is None else theta
        return first_nonfinite(network, theta, network.state, backend.asarray(x), labels, key)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_layer_is_named_by_its_path(backend):
    pytest.importorskip(backend, exc_type=ImportError)
    assert found(network_with("", backend)) is None
    for fault, what in {
        "output": "output",
        "gradient": "gradient with respect to its input",
        "weight": "gradient with respect to weight",
    }.items():
        found_there = found(network_with(fault, backend))
        assert found_there == f"Faulty 'stage.branch.bad': its {what} is the first that is not finite"


@pytest.mark.parametrize("name", ["conv1.weight", "stage.branch.conv1.bias", "dense1.weight"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parameter_that_is_not_finite_is_found_where_it_acts(name, value):
    network = network_with("")
    theta = network.theta.copy()
    theta[network.layout.slots()[name].start] = value
    assert f"'{name.rpartition('.')[0]}': its output is the first" in str(found(network, theta=theta))


def test_the_loss_is_looked_at():
    network = Network(Sequential([Flatten(), Dense(3)]), (6, 6, 1))
    theta = network.theta * 0
    theta[-3:] = [3e38, -3e38, 0]
    assert str(found(network, theta=theta)).startswith("SoftmaxCrossEntropy: the loss is not finite")


def diverging(digits, **settings):
    return make_trainer(digits, "mlp", learning_rate=1e30, model_options={"hidden": (4,)}, **settings)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_trainer_ends_at_the_iteration_and_names_the_layer(digits, backend):
    pytest.importorskip(backend, exc_type=ImportError)
    trainer = diverging(digits, backend=backend, flip=True)
    with pytest.raises(TrainingDivergedError, match=r"in iteration 2, Dense 'dense2': its output is the first"):
        trainer.run(detect_nonfinite=True)


def test_without_the_flag_the_loss_tells_at_the_next_report(digits):
    with pytest.raises(TrainingDivergedError, match="the loss became"):
        diverging(digits).run()


def test_a_step_of_the_optimizer_that_overflows(digits):
    trainer = make_trainer(digits, learning_rate=3e38, weight_decay=1e3, optimizer="sgd")
    with pytest.raises(TrainingDivergedError, match=r"in iteration \d+, the optimizer: the parameters after its step"):
        trainer.run(detect_nonfinite=True)


def test_looking_changes_nothing(digits):
    plain, watched = (make_trainer(digits, "mlp", batch_size=30, dropout=0.1) for _ in range(2))
    assert len(plain.run()) == len(watched.run(detect_nonfinite=True)) == 3
    np.testing.assert_array_equal(plain.network.theta, watched.network.theta)
