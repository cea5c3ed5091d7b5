"""Networks on a CUDA device that is not the current one, in another thread too; needs two devices."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from tests.conftest import PRESENT
from tests.emulated_cuda.records import IS_EMULATED
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


@pytest.mark.parametrize(
    ("device", "backend", "number"), [("cuda", None, 0), ("cuda:1", None, 1), ("cuda:1", "cupy", 1), ("auto", None, 0)]
)
def test_cuda_is_cupy_with_that_device_made_current(device, backend, number):
    chosen = backends.resolve(device, backend)
    assert (chosen.name, chosen.device.id, current_device()) == ("cupy", number, number)
    assert chosen.describe() == f"cupy {chosen.version()} on cuda:{number}"
    backends.resolve("cuda:0")


def test_a_device_that_is_not_there_is_refused():
    with refused(f"device 'cuda:99': {_devices()} CUDA devices found. Use device='cuda:0' to cuda:{_devices() - 1}."):
        backends.resolve("cuda:99")


@pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")
@pytest.mark.parametrize(
    ("settings", "device", "answer"),
    [
        ("devices=0", "auto", "numpy"),
        ("driver=old", "auto", "numpy"),
        ("memory=10", "auto", "numpy"),
        ("devices=1", "auto", "cupy"),
        ("devices=1", "cuda:1", "device 'cuda:1': 1 CUDA device found. Use device='cuda:0'."),
        (
            "driver=old",
            "cuda",
            "device 'cuda': CuPy is installed but finds no usable CUDA driver (cudaErrorInsufficientDriver: CUDA "
            "driver version is insufficient for CUDA runtime version). Check that nvidia-smi lists a GPU; or run with "
            "device='cpu'.",
        ),
    ],
)
def test_what_other_machines_have(settings, device, answer):
    """In a process of its own: a device is as it was when CuPy first saw it."""
    program = f"""if True:
        from xpnet.backend import resolve
        from xpnet.errors import InputError
        try:
            print(resolve({device!r}).name)
        except InputError as error:
            print(error)
    """
    environment = {**os.environ, "EMULATED_CUDA": settings}
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip() == answer


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
    np.testing.assert_allclose(network(IMAGES), expected(IMAGES), rtol=1e-5)
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
