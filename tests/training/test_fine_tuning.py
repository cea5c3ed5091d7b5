"""Training that begins with the weights of another network, part of which stay as they are."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.helpers import refused, torch_named
from tests.training.runs import make_trainer
from xpnet import models
from xpnet.datasets import Dataset
from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, Normalize, ReLU, Sequential
from xpnet.models.imagenet import PIXEL_MEAN
from xpnet.network import Network
from xpnet.optimizers import OPTIMIZERS
from xpnet.runs.folder import RunFolder
from xpnet.runs.settings import make_run


@pytest.fixture(scope="module")
def two_classes(digits):
    """Digits below and from 5 on."""
    return Dataset(
        "halves",
        digits.train_inputs,
        (digits.train_targets >= 5).astype(np.int32),
        digits.test_inputs,
        (digits.test_targets >= 5).astype(np.int32),
        ("low", "high"),
    )


@pytest.fixture
def trained(digits, tmp_path):
    """The weights file of a network of ten classes, and the network."""
    trainer = make_trainer(digits)
    trainer.run()
    trainer.network.save(tmp_path / "weights.safetensors")
    return str(tmp_path / "weights.safetensors"), trainer.network


def tensors(network):
    return {name: np.array(tensor) for name, tensor in network.parameters().items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_new_head_learns_while_frozen_tensors_keep_every_bit(two_classes, trained, optimizer):
    path, network = trained
    settings = {"weights": path, "replace_head": True, "freeze": ["conv1.*", "conv2.weight"], "weight_decay": 0.1}
    trainer = make_trainer(two_classes, iterations=8, optimizer=optimizer, **settings)
    before, old = tensors(trainer.network), tensors(network)
    trainer.run()
    after = tensors(trainer.network)
    for name in ("conv1.weight", "conv1.bias", "conv2.weight"):
        assert old[name].tobytes() == before[name].tobytes() == after[name].tobytes()
    assert np.array_equal(before["conv2.bias"], old["conv2.bias"])
    for name in ("conv2.bias", "dense1.weight", "dense1.bias"):
        assert not np.array_equal(before[name], after[name])
    assert after["dense1.weight"].shape == (2, 784)
    for name in ("mean", "scale"):
        assert np.array_equal(trainer.network.state["normalize1"][name], network.state["normalize1"][name])


@pytest.mark.parametrize(
    ("freeze", "stay"),
    [
        (["bn1.*", "bn2.weight"], {"bn1.running_mean", "bn1.running_var"}),
        (["bn1.weight", "bn2.bias"], set()),
        (["*.weight", "bn?.bias"], {f"bn{n}.running_{what}" for n in (1, 2) for what in ("mean", "var")}),
    ],
)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_batch_norm_that_is_frozen_whole_keeps_every_bit(digits, tmp_path, freeze, stay, precision):
    settings = {"model": "mlp", "model_options": {"hidden": (6, 5), "batch_norm": True}}
    first = make_trainer(digits, **settings)
    first.run()  # so that the statistics are not those of the beginning
    first.network.save(tmp_path / "weights.safetensors")
    weights = str(tmp_path / "weights.safetensors")
    trainer = make_trainer(digits, **settings, weights=weights, freeze=freeze, precision=precision)
    trainer.run()
    before, after = (
        {name: np.array(tensor) for name, tensor in network.tensors(network.theta, network.state).items()}
        for network in (first.network, trainer.network)
    )
    kept = {name for name in after if "running" in name and before[name].tobytes() == after[name].tobytes()}
    assert kept == stay


def test_training_goes_on_from_the_weights_of_a_file_or_run(digits, trained, tmp_path):
    path, network = trained
    RunFolder(tmp_path).write_config(make_run("mnist_starter"), {})
    for weights in (path, str(tmp_path)):
        trainer = make_trainer(digits, weights=weights)
        assert np.array_equal(trainer.network.theta, network.theta)


def test_weights_with_torch_names_come_with_the_pixels_of_imagenet(tmp_path, two_classes):
    colours = np.repeat(two_classes.train_inputs, 3, axis=3)[:40, :, :, :]
    data = Dataset("rgb", colours, two_classes.train_targets[:40], colours, two_classes.train_targets[:40], ("a", "b"))
    source = models.create("resnet18", input_shape=(28, 28, 3), classes=10, stem="small", seed=3)
    path = tmp_path / "resnet18.safetensors"
    save_file(torch_named(source), path)
    settings = {"iterations": 1, "batch_size": 2, "model_options": {"stem": "small"}}
    network = make_trainer(data, "resnet18", **settings, weights=str(path), replace_head=True).network
    np.testing.assert_allclose(network.state["normalize1"]["mean"], PIXEL_MEAN)
    ours, theirs = tensors(network), tensors(source)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours if not name.startswith("fc."))
    assert ours["fc.weight"].shape == (2, 512)


def test_a_given_network_is_trained_as_it_is(digits):
    network = Network(Sequential([Normalize(), Flatten(), Dense(10)]), (28, 28, 1), seed=4)
    network.set_normalization(7.0, 0.01)
    trainer = make_trainer(digits, network=network)
    assert trainer.network is network
    assert network.state["normalize1"]["mean"].tolist() == [7.0]
    before = np.array(network.theta)
    trainer.run()
    assert not np.array_equal(before, network.theta)


def test_networks_and_weights_that_do_not_fit_are_refused(digits, two_classes, trained):
    with refused("10 outputs for the 10 classes in digits", "got 3 outputs", "Dense(10)"):
        make_trainer(digits, network=Network([Flatten(), Dense(3)], (28, 28, 1)))
    with refused("inputs of shape (14, 14, 1)", "got (28, 28, 1) in digits"):
        make_trainer(digits, network=Network([Flatten(), Dense(10)], (14, 14, 1)))
    with refused("'dense1.weight' is (10, 784) in the file", "replace_head"):
        make_trainer(two_classes, weights=trained[0])
    with refused("Weights file nowhere.pth: expected a", "file"):
        make_trainer(digits, weights="nowhere.pth")
    with refused("expected weights with replace_head, got none"):
        make_trainer(digits, replace_head=True)
    with refused("a pattern that matches a parameter", "got 'conv7.*'"):
        make_trainer(digits, freeze=["conv7.*"])


def test_weight_decay_without_biases_excludes_the_scale_of_batch_normalisation_too(digits):
    layers = [Normalize(), Conv2D(2, 3), BatchNorm(), ReLU(), Flatten(), Dense(10)]
    settings = {"decay_biases": False, "iterations": 1}
    plain, decayed = (
        tensors(_trained(make_trainer(digits, network=Network(layers, (28, 28, 1)), weight_decay=decay, **settings)))
        for decay in (0.0, 1.0)
    )
    same = {name for name in plain if np.array_equal(plain[name], decayed[name])}
    assert same == {"conv1.bias", "bn1.weight", "bn1.bias", "dense1.bias"}


def _trained(trainer):
    trainer.run()
    return trainer.network
