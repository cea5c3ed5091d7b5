"""Networks on a CUDA device that is not the current one, in another thread too; needs two devices."""

import threading

import numpy as np
import pytest

from tests.conftest import PRESENT
from tests.helpers import refused
from xpnet import backend as backends
from xpnet.layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, ReLU, Sequential
from xpnet.network import Network
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
    layers = Sequential([Conv2D(3, 3), BatchNorm(), ReLU(), MaxPool2D(2), Flatten(), Dropout(0.5), Dense(4)])
    network = Network(layers, (6, 6, 1), device="cuda:1")
    backends.resolve("cuda:0")
    yield network
    backends.resolve("cuda:0")


IMAGES = np.arange(72, dtype=np.uint8).reshape(2, 6, 6, 1)


def current_device() -> int:
    import cupy

    return cupy.cuda.Device().id


def on(device: str, array):
    return backends.resolve(device).asarray(array)


def test_predictions_come_from_the_networks_device(network):
    expected = Network(network.layer, (6, 6, 1)).predict(IMAGES)
    np.testing.assert_allclose(network.predict(IMAGES), expected, rtol=1e-5)
    assert network.features(IMAGES, "dense1").shape == (2, 4)
    assert current_device() == 0


def test_images_on_another_device_are_moved(network):
    images = on("cuda:0", IMAGES)
    assert network.predict(images).device.id == 0
    moved = network.backend.asarray(images, "float32")
    assert (moved.device.id, str(moved.dtype)) == (1, "float32")
    np.testing.assert_array_equal(backends.to_numpy(moved), IMAGES)


def test_a_gradient_is_computed_on_the_networks_device(network):
    x, key, labels = (network.backend.asarray(a) for a in (IMAGES.astype(np.float32), make_key(0), np.array([0, 1])))
    backends.resolve("cuda:0")
    result = network.loss_and_gradient(network.theta, network.state, x, labels, key=key)
    assert result.gradient.device.id == 1
    assert network.forward(network.theta, network.state, x).y.device.id == 1


def test_a_network_computes_in_another_thread(network):
    results = []
    thread = threading.Thread(target=lambda: results.append(network.predict(IMAGES)))
    thread.start()
    thread.join()
    np.testing.assert_allclose(results[0], network.predict(IMAGES))


def test_a_batch_on_another_device_is_refused(network):
    x = on("cuda:0", IMAGES.astype(np.float32))
    with refused("Device 1", "Device 0"):
        network.forward(network.theta, network.state, x)
