"""Networks on a CUDA device that is not the current one, in another thread too; needs two devices."""

import threading

import numpy as np
import pytest

from tests.conftest import PRESENT
from tests.helpers import refused
from xpnet import backend as backends
from xpnet.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU
from xpnet.network import Network
from xpnet.optimizers import Momentum
from xpnet.random import make_key


def _devices() -> int:
    if "cupy" not in PRESENT:
        return 0
    import cupy

    return cupy.cuda.runtime.getDeviceCount()


pytestmark = pytest.mark.skipif(_devices() < 2, reason="needs two CUDA devices")


@pytest.fixture
def network():
    """A network on the second device; the first is the current one."""
    layers = [Conv2D(3, 3), BatchNorm(), ReLU(), MaxPool2D(2), Flatten(), Dropout(0.5), Dense(4)]
    network = Network(layers, (6, 6, 1), device="cuda:1")
    backends.resolve("cuda:0")
    yield network
    backends.resolve("cuda:0")


IMAGES = np.arange(144, dtype=np.uint8).reshape(4, 6, 6, 1)
LABELS = np.array([0, 1, 2, 3])


def current_device() -> int:
    import cupy

    return cupy.cuda.Device().id


def on(device: str, array):
    moved = backends.resolve(device).asarray(array)
    backends.resolve("cuda:0")
    return moved


def test_outputs_come_from_the_networks_device(network):
    expected = Network(network.layer, (6, 6, 1))
    np.testing.assert_allclose(network(IMAGES, batch_size=3), expected(IMAGES), rtol=1e-5)
    np.testing.assert_array_equal(network(IMAGES), expected(IMAGES))
    np.testing.assert_allclose(network.predict_proba(IMAGES), expected.predict_proba(IMAGES), rtol=1e-5)
    assert network.features(IMAGES, "dense1").shape == (4, 4)
    assert current_device() == 0


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_images_on_any_device_are_moved_there_and_back(network, device):
    images = on(device, IMAGES)
    for outputs in (
        network(images, batch_size=3),
        network(images, batch_size=3),
        network.predict_proba(images),
    ):
        assert f"cuda:{outputs.device.id}" == device
    moved = network.backend.asarray(images, "float32")
    assert (moved.device.id, str(moved.dtype)) == (1, "float32")
    np.testing.assert_array_equal(backends.to_numpy(moved), IMAGES)


def test_a_gradient_is_computed_on_the_networks_device(network):
    x, key, labels = (on("cuda:1", array) for array in (IMAGES.astype(np.float32), make_key(0), LABELS))
    result = network.loss_and_gradient(network.theta, network.state, x, labels, key=key)
    assert result.gradient.device.id == 1
    assert network.forward(network.theta, network.state, x).y.device.id == 1


def test_a_network_trains_on_its_device(network):
    twin = Network(network.layer, (6, 6, 1), device="cpu")
    for one in (network, twin):
        how = {"optimizer": Momentum(0.1, weight_decay=0.1), "batch_size": 2, "progress": False}
        one.fit(IMAGES, LABELS, epochs=3, validation=(IMAGES, LABELS), **how)
        one.freeze("conv1.*")
        one.fit(IMAGES, LABELS, epochs=1, **how)
    assert network.theta.device.id == 1
    np.testing.assert_allclose(backends.to_numpy(network.theta), twin.theta, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(network.evaluate(IMAGES, LABELS).loss, twin.evaluate(IMAGES, LABELS).loss, rtol=1e-3)
    assert current_device() == 0


def test_a_network_computes_in_another_thread(network):
    results = []
    thread = threading.Thread(target=lambda: results.append(network(IMAGES)))
    thread.start()
    thread.join()
    np.testing.assert_allclose(results[0], network(IMAGES))


def test_a_batch_on_another_device_is_refused(network):
    with refused("Device 1", "Device 0"):
        network.forward(network.theta, network.state, on("cuda:0", IMAGES.astype(np.float32)))
