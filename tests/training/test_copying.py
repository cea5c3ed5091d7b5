"""Networks and trainers that are copied, pickled, or sent to other processes."""

import copy
import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import assert_same_bits, refused
from tests.training.runs import StopAfter, make_trainer
from xpnet import Network
from xpnet.layers import BatchNorm, Dense, Dropout, ReLU
from xpnet.layers.errors import LayerError, inside
from xpnet.losses import SoftmaxCrossEntropy

X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] > 0) + 2 * (X[:, 1] > 0)


@pytest.fixture(scope="module")
def learned():
    layers = [Dense(8), BatchNorm(), ReLU(), Dropout(0.2), Dense(4)]
    net = Network(layers, (3,), loss=SoftmaxCrossEntropy(label_smoothing=0.1))
    net.fit(X, Y, epochs=3, progress=False)
    return net


@pytest.mark.parametrize("twin_of", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_of_a_network_predicts_and_learns_as_the_network(learned, twin_of):
    net = copy.deepcopy(learned)
    twin = twin_of(net)
    assert_same_bits(twin(X), net(X))
    assert twin.evaluate(X, Y).loss == net.evaluate(X, Y).loss
    for one in (net, twin):
        one.fit(X, Y, epochs=2, progress=False)
    assert_same_bits((twin.theta, twin.state), (net.theta, net.state))
    assert not np.array_equal(net.theta, learned.theta)


IN_A_POOL = """
import multiprocessing, sys
import numpy as np
from xpnet import Network

if __name__ == "__main__":
    method, network, inputs, outputs = sys.argv[1:]
    net, x = Network.load(network), np.load(inputs)
    with multiprocessing.get_context(method).Pool(2) as pool:
        np.save(outputs, pool.map(net.predict_proba, [x[:20], x[20:]]))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_predict_alike(learned, tmp_path, method):
    """In a program of their own: JAX, which other tests import, forbids to fork."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    script, network, inputs, outputs = (tmp_path / name for name in ("pool.py", "net.safetensors", "x.npy", "p.npy"))
    script.write_text(IN_A_POOL)
    learned.save(network)
    np.save(inputs, X)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, script, method, network, inputs, outputs]
    subprocess.run(command, env=environment, check=True, timeout=120)
    parts = list(np.load(outputs))
    assert_same_bits(parts, [learned.predict_proba(X[:20]), learned.predict_proba(X[20:])])


def test_errors_of_layers_reach_another_process(learned):
    """One that cannot be unpickled makes a pool wait for ever."""
    error = LayerError(Dense(3), "expected more. Change it.")
    with pytest.raises(LayerError) as caught, inside("dense1"):
        raise error
    twin = pickle.loads(pickle.dumps(caught.value))
    assert str(twin) == str(error) == "Dense 'dense1': expected more. Change it."


@pytest.mark.parametrize("steps", [0, 7])
def test_a_copy_of_a_trainer_trains_on_alone(digits, steps):
    trainer = make_trainer(digits)
    if steps:
        trainer.run([StopAfter(steps)])
    twin, before = copy.deepcopy(trainer), trainer.network.theta.copy()
    twin.run()
    assert_same_bits(trainer.network.theta, before)
    assert (trainer.iteration, twin.iteration) == (steps, 12)
    trainer.run()
    assert_same_bits((twin.network.theta, twin.network.state), (trainer.network.theta, trainer.network.state))
    assert [record.loss for record in twin.history] == [record.loss for record in trainer.history]


def test_a_shallow_copy_of_a_trainer_has_its_network(digits):
    trainer = make_trainer(digits)
    twin = copy.copy(trainer)
    assert twin.network is trainer.network
    twin.step()
    assert (trainer.iteration, twin.iteration) == (0, 1)


def test_a_trainer_is_not_pickled_but_its_snapshot_is(digits):
    trainer = make_trainer(digits)
    trainer.run([StopAfter(7)])
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with refused("Trainer: ", "compiled functions", "Pickle its network", "snapshot()"):
            pickle.dumps(trainer, protocol)
    other = make_trainer(digits)
    other.restore(pickle.loads(pickle.dumps(trainer.snapshot())))
    for one in (trainer, other):
        one.run()
    assert_same_bits(other.network.theta, trainer.network.theta)
