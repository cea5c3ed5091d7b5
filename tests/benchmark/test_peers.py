"""The peers do the same work as xpnet: gradients, optimizers and logits."""

import dataclasses

import numpy as np
import pytest

from tests.helpers import refused
from xpnet.benchmark import implementation
from xpnet.benchmark.cases import CPU_MODELS, Case, find_cases
from xpnet.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    Normalize,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)

PEERS = ("torch", "torch-channels-last", "jax")
ODD = Sequential(
    [
        Normalize(),
        Conv2D(4, (2, 3), stride=(2, 1), padding=1, dilation=(1, 2), bias=False),
        BatchNorm(),
        Residual(Sequential([Conv2D(4, 3, padding="same", groups=2), ReLU()])),
        Residual(
            Conv2D(6, 3, stride=2, padding=1), shortcut=Sequential([Conv2D(6, 1, stride=2, bias=False), BatchNorm(0.3)])
        ),
        MaxPool2D(3, stride=2, padding=1),
        AvgPool2D(2, stride=1),
        Flatten(),
        Dropout(0.0),
        Dense(6),
        ReLU(),
        Dense(3),
    ]
)


def make(name, case):
    pytest.importorskip(name.partition("-")[0])
    return implementation.make(name, case, "cpu")


def cases():
    (resnet,) = find_cases("resnet18-small", (8,))
    return {
        "mnist_starter": find_cases("mnist_starter", (2,))[0],
        "cifar10_starter": find_cases("cifar10_starter", (2,))[0],
        "fer_cnn": find_cases("fer_cnn", (2,))[0],
        "resnet18": dataclasses.replace(resnet, input_shape=(8, 8, 3)),
        "odd settings": Case("odd", ODD, (13, 11, 2), 5),
    }


def assert_same_gradient(actual, expected, tolerance):
    assert set(actual) == set(expected)
    for name, tensor in expected.items():
        assert actual[name].shape == tensor.shape
        difference = np.linalg.norm(actual[name] - tensor) / np.linalg.norm(tensor)
        assert difference < tolerance, f"{name}: {difference}"


@pytest.mark.parametrize("name", cases())
def test_gradients_agree(name):
    """Compiling ResNet-18 takes JAX long; its kinds of layers are among the odd ones."""
    case = cases()[name].comparable()
    ours = implementation.make("xpnet-numpy", case, "cpu").gradient()
    for peer in PEERS[:2] if name == "resnet18" else PEERS:
        assert_same_gradient(make(peer, case).gradient(), ours, 1e-9)


@pytest.mark.parametrize("model", [*CPU_MODELS, "mlp"])
def test_gradients_in_float32_are_as_exact_as_pytorchs(model):
    """Both against float64: how far rounding moves a gradient is the network's matter, and neither should add to it.

    Behind a batch normalisation of noise rounding may take a ReLU's input to the other side of 0, and all gradients
    before it then move by thousandths: those of PyTorch's ResNet with channels last as well.
    """
    case = find_cases(model, (8,))[0]
    exact = make("torch", case.comparable()).gradient()
    ours, theirs = (make(name, case.comparable("float32")).gradient() for name in ("xpnet-numpy", "torch"))

    whole = np.linalg.norm([np.linalg.norm(tensor) for tensor in exact.values()])

    def error(gradient, name):
        return np.linalg.norm(gradient[name] - exact[name]) / max(np.linalg.norm(exact[name]), 1e-3 * whole)

    least = 0.02 if any(isinstance(leaf.layer, BatchNorm) for leaf in case.layer.leaves(case.input_shape)) else 1e-6
    for name in exact:
        assert ours[name].dtype == np.float32
        assert error(ours, name) <= max(least, 3 * error(theirs, name)), name


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_optimizers_take_the_same_steps(peer, optimizer):
    (case,) = find_cases("mnist_starter", (4,))
    case = dataclasses.replace(case, optimizer=optimizer, weight_decay=0.1, learning_rate=0.001, dtype="float64")
    ours, theirs = implementation.make("xpnet-numpy", case, "cpu"), make(peer, case)
    before = ours.gradient()
    for step in (ours.training(), theirs.training()):
        for _ in range(3):
            step()
    after = ours.gradient()
    assert all(np.linalg.norm(after[name] - before[name]) > 0.02 * np.linalg.norm(before[name]) for name in before)
    assert_same_gradient(theirs.gradient(), after, 1e-5)


@pytest.mark.parametrize("peer", PEERS)
def test_inference_gives_the_same_logits(peer):
    case = cases()["odd settings"].comparable()
    ours = implementation.make("xpnet-numpy", case, "cpu").inference()()
    np.testing.assert_allclose(np.asarray(make(peer, case).inference()()), ours, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("peer", PEERS)
def test_training_draws_a_dropout_mask(peer):
    """With p close to 1 hardly anything is left of the first dense layer's inputs, and so of its gradient."""
    layer = Sequential([Normalize(), Flatten(), Dropout(0.99), Dense(10)])
    twin = make(peer, Case("dropout", layer, (4, 4, 1), 1))
    twin.training()()
    assert np.count_nonzero(twin.gradient()["dense1.weight"]) < 80


def test_jaxs_compiled_step_takes_its_batch_as_an_argument():
    """One that it closed over would be converted and normalised while compiling."""
    twin = make("jax", cases()["mnist_starter"])
    train, losses = twin.training(), []
    images, labels = twin._batch
    for batch in ((images, labels), (images, labels), (255 - images, labels)):
        twin._batch = batch
        train()
        losses.append(float(twin._last))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert losses[2] != pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("peer", ["torch", "jax"])
def test_a_layer_without_twin_is_refused(peer):
    case = Case("tanh", Sequential([Normalize(), Flatten(), Dense(4), Tanh(), Dense(2)]), (2, 2, 1), 3)
    with refused("Benchmark", "Tanh", peer):
        make(peer, case).gradient()


def test_scikit_learn_trains_on_the_batch():
    pytest.importorskip("sklearn")
    twin = implementation.make("sklearn", dataclasses.replace(find_cases("mlp", (8,))[0], learning_rate=0.1), "cpu")
    assert twin.gradient() is None
    predict, train = twin.inference(), twin.training()
    before = predict()
    train()
    assert before.shape == (8, 10)
    assert not np.array_equal(before, predict())


def test_scikit_learn_refuses_what_it_cannot_do():
    pytest.importorskip("sklearn")
    with refused("scikit-learn", "mlp"):
        implementation.make("sklearn", find_cases("mnist_starter", (2,))[0], "cpu")
    with refused("scikit-learn", "cuda"):
        implementation.make("sklearn", find_cases("mlp", (2,))[0], "cuda")
