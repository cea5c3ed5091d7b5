"""What depends on the array library or the model without showing in a result."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.backend import on_accelerator, resolve
from xpnet.compile import compiled
from xpnet.datasets import Dataset
from xpnet.runs.settings import make_run


def square(x):
    """A pure function of an array."""
    return x * x


def test_a_numpy_array_is_on_no_accelerator():
    assert on_accelerator(np.zeros(1)) is False


def test_a_cupy_array_is_on_an_accelerator(monkeypatch):
    cupy = SimpleNamespace(ndarray=type("ndarray", (), {}))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert on_accelerator(cupy.ndarray()) is True
    assert on_accelerator(np.zeros(1)) is False


@pytest.mark.parametrize(("device", "accelerated"), [("cpu", False), ("meta", True)])
def test_a_torch_array_is_on_an_accelerator_unless_on_the_cpu(device, accelerated):
    """The device meta stands for a GPU."""
    torch = pytest.importorskip("torch")
    assert on_accelerator(torch.zeros(1, device=device)) is accelerated


def test_functions_are_jitted_for_jax():
    jax = pytest.importorskip("jax")
    function = compiled(square, resolve("cpu", "jax"))
    assert hasattr(function, "lower")
    assert float(function(jax.numpy.asarray(3.0))) == 9


def test_functions_stay_as_they_are_for_numpy():
    assert compiled(square, resolve("cpu")) is square


@pytest.mark.parametrize(
    ("model", "shape", "scale"), [("cifar10_starter", (32, 32, 3), 1), ("mnist_starter", (28, 28, 1), 1 / 255)]
)
def test_a_starter_subtracts_the_mean_of_pixels_and_scales_them_as_published(model, shape, scale):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, *shape), np.uint8), np.arange(40, dtype=np.int32) % 10
    dataset = Dataset("noise", images, labels, images, labels, tuple("abcdefghij"))
    state = make_run(model, iterations=1, limit=30).make_trainer(dataset).network.state["normalize1"]
    assert state["scale"] == pytest.approx(np.full(shape[-1], scale))
    assert state["mean"] == pytest.approx(np.full(shape[-1], 127.5), abs=5)
