"""Training that begins with the weights of another network, part of which stay as they are."""

import dataclasses

import numpy as np
import pytest
from safetensors.numpy import save_file
from xpnet.runs.folder import RunFolder

from tests.helpers import refused, torch_named
from xpnet import models
from xpnet.datasets import Dataset
from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, Normalize, ReLU, Sequential
from xpnet.models.imagenet import PIXEL_MEAN
from xpnet.network import Network
from xpnet.optimizers import OPTIMIZERS
from xpnet.training import TrainConfig, Trainer


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
def trained(config, digits, tmp_path):
    """The weights file of a network of ten classes, and the network."""
    trainer = Trainer(config, digits)
    list(trainer.run())
    trainer.network.save(tmp_path / "weights.safetensors")
    return str(tmp_path / "weights.safetensors"), trainer.network


def tensors(network):
    return {name: np.array(tensor) for name, tensor in network.parameters().items()}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_new_head_learns_while_frozen_tensors_keep_every_bit(two_classes, trained, optimizer):
    path, network = trained
    config = TrainConfig.for_model("mnist_starter", iterations=8, optimizer=optimizer, weight_decay=0.1)
    config = dataclasses.replace(config, weights=path, replace_head=True, freeze=["conv1.*", "conv2.weight"])
    trainer = Trainer(config, two_classes)
    before, old = tensors(trainer.network), tensors(network)
    list(trainer.run())
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
def test_a_batch_norm_that_is_frozen_whole_keeps_every_bit(config, digits, tmp_path, freeze, stay, precision):
    config = dataclasses.replace(config, model="mlp", model_options={"hidden": (6, 5), "batch_norm": True})
    first = Trainer(config, digits)
    list(first.run())  # so that the statistics are not those of the beginning
    first.network.save(tmp_path / "weights.safetensors")
    weights = str(tmp_path / "weights.safetensors")
    trainer = Trainer(dataclasses.replace(config, weights=weights, freeze=freeze, precision=precision), digits)
    list(trainer.run())
    before, after = (
        {name: np.array(tensor) for name, tensor in network.tensors(network.theta, network.state).items()}
        for network in (first.network, trainer.network)
    )
    kept = {name for name in after if "running" in name and before[name].tobytes() == after[name].tobytes()}
    assert kept == stay


def test_training_goes_on_from_the_weights_of_a_file_or_run(config, digits, trained, tmp_path):
    path, network = trained
    RunFolder(tmp_path).write_config(config)
    for weights in (path, str(tmp_path)):
        trainer = Trainer(dataclasses.replace(config, weights=weights), digits)
        assert np.array_equal(trainer.network.theta, network.theta)


def test_weights_with_torch_names_come_with_the_pixels_of_imagenet(tmp_path, two_classes):
    colours = np.repeat(two_classes.train_inputs, 3, axis=3)[:40, :, :, :]
    data = Dataset("rgb", colours, two_classes.train_targets[:40], colours, two_classes.train_targets[:40], ("a", "b"))
    source = models.create("resnet18", input_shape=(28, 28, 3), classes=10, stem="small", seed=3)
    path = tmp_path / "resnet18.safetensors"
    save_file(torch_named(source), path)
    config = TrainConfig.for_model("resnet18", iterations=1, batch_size=2, model_options={"stem": "small"})
    network = Trainer(dataclasses.replace(config, weights=str(path), replace_head=True), data).network
    np.testing.assert_allclose(network.state["normalize1"]["mean"], PIXEL_MEAN)
    ours, theirs = tensors(network), tensors(source)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours if not name.startswith("fc."))
    assert ours["fc.weight"].shape == (2, 512)


def test_a_given_network_is_trained_as_it_is(config, digits):
    network = Network(Sequential([Normalize(), Flatten(), Dense(10)]), (28, 28, 1), seed=4)
    network.set_normalization(7.0, 0.01)
    trainer = Trainer(config, digits, network=network)
    assert trainer.network is network
    assert network.state["normalize1"]["mean"].tolist() == [7.0]
    before = np.array(network.theta)
    list(trainer.run())
    assert not np.array_equal(before, network.theta)


def test_networks_and_weights_that_do_not_fit_are_refused(config, digits, two_classes, trained):
    with refused("expected a network for images (28, 28, 1) of 10 classes, as in digits", "gives (3,)"):
        Trainer(config, digits, network=Network(Sequential([Flatten(), Dense(3)]), (28, 28, 1)))
    with refused("'dense1.weight' is float32 (10, 784) in the file", "Give replace_head=True (train.py:"):
        Trainer(dataclasses.replace(config, weights=trained[0]), two_classes)
    with refused("Weights file nowhere.pth: expected a .pth or .safetensors file"):
        Trainer(dataclasses.replace(config, weights="nowhere.pth"), digits)
    with refused("expected weights with replace_head, got none"):
        dataclasses.replace(config, replace_head=True)
    with refused("a pattern that matches a parameter", "got 'conv7.*'"):
        Trainer(dataclasses.replace(config, freeze=["conv7.*"]), digits)


def test_no_decay_biases_spares_the_scale_of_batch_normalisation_too(config, digits):
    layers = [Normalize(), Conv2D(2, 3), BatchNorm(), ReLU(), Flatten(), Dense(10)]
    config = dataclasses.replace(config, weight_decay=1.0, decay_biases=False, iterations=1)
    no_decay = dataclasses.replace(config, weight_decay=0.0)
    plain, decayed = (
        tensors(_trained(Trainer(settings, digits, network=Network(Sequential(layers), (28, 28, 1)))))
        for settings in (no_decay, config)
    )
    spared = {name for name in plain if np.array_equal(plain[name], decayed[name])}
    assert spared == {"conv1.bias", "bn1.weight", "bn1.bias", "dense1.bias"}


def _trained(trainer):
    list(trainer.run())
    return trainer.network
