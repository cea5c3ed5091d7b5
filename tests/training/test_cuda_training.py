"""Training on a CUDA device against the CPU's, in every way that the device computes differently."""

import dataclasses
import gc
import importlib
import os

import numpy as np
import pytest

from tests.conftest import PRESENT
from tests.training.runs import make_trainer
from xpnet import kernels, models
from xpnet.backend import to_numpy
from xpnet.datasets import Dataset
from xpnet.layers import Dense
from xpnet.layers.containers import map_leaves
from xpnet.network import Network

pytestmark = pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device")

SIDES = {"alexnet": 63, "fer_cnn": 48, "vit_digits": 28}  # the smallest images that go through
LARGE = ("resnet101", "resnet101v2", "resnet152")  # 6 to 8 GB in float64
MLP = {"model": "mlp", "model_options": {"hidden": (12,), "dropout": 0.3, "batch_norm": True}, "learning_rate": 0.01}


@pytest.fixture(autouse=True)
def leave_the_process_alone():
    """A trainer chooses kernels and precision for the whole process."""
    yield
    kernels.use("fastest")


def losses(digits, device, **settings):
    trainer = make_trainer(digits, **{"iterations": 5, "report_every": 1, "batch_size": 16, **settings}, device=device)
    return [record.total_loss for record in trainer.run()], to_numpy(trainer.network.theta)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"crop_padding": 2, "flip": True, "cutout": 7, "schedule": "cosine"},
        {"clip_norm": 0.1, "weight_decay": 0.1, "decay_biases": False, "freeze": ["conv1.*"]},
        {"kernels": "pure"},
        {"dtype": "float64"},
        MLP,
        # Without batch normalisation, before which gradients of biases are 0: Adam makes steps of their rounding.
        {**MLP, "model_options": {"hidden": (12,), "dropout": 0.3}, "optimizer": "adamw", "weight_decay": 0.1},
        {**MLP, "precision": "float16"},
    ],
    ids=["starter", "augmented", "clipped", "pure", "float64", "mlp", "adamw", "float16"],
)
def test_training_comes_to_what_the_cpu_comes_to(digits, settings):
    here, there = (losses(digits, device, **settings)[0] for device in ("cuda", "cpu"))
    np.testing.assert_allclose(here, there, rtol=1e-2 if "precision" in settings else 1e-4)


def narrowed(name, layer):
    """The layer itself, but of the dense ones of VGG and AlexNet, which would be gigabytes in float64, a part."""
    return dataclasses.replace(layer, units=32) if isinstance(layer, Dense) and layer.units == 4096 else layer


def first_losses(name, dataset, device):
    """Of two steps; everything else is given back."""
    shape = dataset.input_shape
    layer = map_leaves(narrowed, models.create(name, input_shape=shape, classes=3, seed=None).layer)
    network = Network(layer, shape, dtype="float64", device=device)
    settings = {"batch_size": 4, "learning_rate": 1e-4, "dtype": "float64", "validation": 0, "limit": 4}
    trainer = make_trainer(dataset, name, network=network, device=device, **settings)
    losses = [float(to_numpy(trainer.step().loss)) for _ in range(2)]
    del trainer, network
    gc.collect()
    importlib.import_module("cupy").get_default_memory_pool().free_all_blocks()
    return losses


@pytest.mark.parametrize("name", models.names())
def test_every_model_trains_as_on_the_cpu(name):
    """In float64: so few images leave batch normalisation variances that float32's rounding decides."""
    if name in LARGE and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("needs the memory that processes of pytest -n share: use -n 0")
    side, rng = SIDES.get(name, 32), np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, side, side, 1), np.uint8), np.array([0, 1, 2, 0])
    if name.startswith("unet"):
        labels = rng.integers(0, 3, (4, side, side))
    dataset = Dataset("noise", images, labels, images, labels, tuple("abc"))
    ours, theirs = (first_losses(name, dataset, device) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_two_runs_are_the_same_bit_for_bit(digits):
    ours, theirs = (losses(digits, "cuda", deterministic=True) for _ in range(2))
    assert ours[0] == theirs[0]
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_tf32_rounds_factors_and_trains(digits):
    exact, rounded = (losses(digits, "cuda", precision=precision)[0] for precision in ("float32", "tf32"))
    assert exact != rounded
    np.testing.assert_allclose(rounded, exact, rtol=1e-2)
