import numpy as np
import pytest

from xpnet import models


def test_mnist_starter_layer_by_layer():
    network = models.create("mnist_starter")
    rows = [(row.name, row.output_shape, row.parameters) for row in network.layer_info()]
    assert rows == [
        ("normalize1", (28, 28, 1), 0),
        ("conv1", (28, 28, 16), 416),
        ("relu1", (28, 28, 16), 0),
        ("pool1", (14, 14, 16), 0),
        ("conv2", (14, 14, 16), 6416),
        ("relu2", (14, 14, 16), 0),
        ("pool2", (7, 7, 16), 0),
        ("flatten1", (784,), 0),
        ("dense1", (10,), 7850),
    ]
    assert network.parameter_count == 14_682


def test_cifar10_starter_layer_by_layer():
    network = models.create("cifar10_starter")
    rows = [(row.name, row.output_shape, row.parameters) for row in network.layer_info()]
    assert rows == [
        ("normalize1", (32, 32, 3), 0),
        ("conv1", (32, 32, 16), 1216),
        ("relu1", (32, 32, 16), 0),
        ("pool1", (16, 16, 16), 0),
        ("conv2", (16, 16, 16), 6416),
        ("relu2", (16, 16, 16), 0),
        ("flatten1", (4096,), 0),
        ("dense1", (10,), 40_970),
    ]
    assert network.parameter_count == 48_602


@pytest.mark.parametrize(
    ("model", "expected_std"),
    [
        ("mnist_starter", {"conv1": (2 / 75) ** 0.5, "conv2": (2 / 400) ** 0.5, "dense1": (2 / 784) ** 0.5}),
        (
            "cifar10_starter",
            {"conv1": 0.1 * (2 / 75) ** 0.5, "conv2": 0.1 * (2 / 400) ** 0.5, "dense1": (2 / 4096) ** 0.5},
        ),
    ],
)
def test_initial_weights_are_as_published(model, expected_std):
    networks = [models.create(model, seed=seed).parameters() for seed in range(8)]
    for layer, std in expected_std.items():
        weights = np.concatenate([parameters[f"{layer}.weight"].ravel() for parameters in networks])
        assert weights.std() == pytest.approx(std, rel=0.05)
        assert abs(weights.mean()) < 4 * std / weights.size**0.5
        assert all(not parameters[f"{layer}.bias"].any() for parameters in networks)


def test_models_fit_other_images_and_classes():
    network = models.create("mnist_starter", input_shape=(32, 20, 3), classes=7)
    assert network(np.zeros((2, 32, 20, 3), np.uint8)).shape == (2, 7)
