"""The networks of the courses and papers: sizes, options, initial weights, and a training step of each family."""

import numpy as np
import pytest

from tests.helpers import assert_close, assert_lives_on, refused
from xpnet import models
from xpnet.backend import to_numpy
from xpnet.compile import compiled
from xpnet.gradcheck import TOLERANCE, check_network
from xpnet.layers import BatchNorm, Dropout, LeakyReLU, ReLU, Sigmoid, Softplus, Tanh
from xpnet.layout import Layout, map_tree
from xpnet.models import imagenet, registry, resnet
from xpnet.network import Network
from xpnet.random import make_key
from xpnet.weights import Undrawn

PUBLISHED_COUNTS = {
    "lenet5": 61_706,
    "fer_cnn": 4_740_039,
    "alexnet": 61_100_840,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50v2": 25_549_352,
    "resnet101v2": 44_541_480,
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
    "googlenet": 6_624_904,
    "squeezenet1_0": 1_248_424,
    "squeezenet1_1": 1_235_496,
    "densenet121": 7_978_856,
    "mobilenet_v2": 3_504_872,
    "vit_tiny": 5_717_416,
    "vit_small": 22_050_664,
}
IN_MILLIONS = {"resnet20": 0.27, "resnet32": 0.46, "resnet56": 0.85, "resnet110": 1.7}


def parameters(name, input_shape=None, classes=None, **options):
    model = registry.find(name)
    input_shape = input_shape or model.input_shape
    layers = model.build(input_shape, classes or model.classes, **options)
    return Layout.of(layers.init(Undrawn(), input_shape).params)


@pytest.mark.parametrize(("name", "count"), PUBLISHED_COUNTS.items())
def test_parameter_counts_are_the_published_ones(name, count):
    assert parameters(name).size == count


@pytest.mark.parametrize(("name", "millions"), IN_MILLIONS.items())
def test_parameter_counts_that_were_published_in_millions(name, millions):
    assert round(parameters(name).size / 1e6, 2 if millions < 1 else 1) == millions


def test_parameter_counts_that_follow_from_the_layers():
    pair = {c: 9 * c * c + c for c in (64, 128, 256, 512, 1024)}
    down = sum(9 * (c // 2 if c > 64 else 1) * c + c + pair[c] for c in pair)
    up = sum(9 * 2 * c * c + c + pair[c] + 4 * 2 * c * c + c for c in (64, 128, 256, 512))
    assert parameters("unet", (16, 16, 1), 2).size == down + up + 2 * 64 + 2 == 31_030_658
    assert parameters("cnn_32_64").size == 832 + 51_264 + (7 * 7 * 64 + 1) * 100 + 101 * 100 + 101 * 10 == 376_906
    convolutions = 3 * 32 + 32 * 64 + 64 * 128 + 128 * 256
    assert parameters("cifar10_cnn").size == 9 * convolutions + 2 * (32 + 64 + 128 + 256) + (2 * 2 * 256 + 1) * 10
    assert parameters("mlp").size == 785 * 100 + 101 * 100 + 101 * 10


def test_lenet5_pads_28x28_images_and_no_others():
    conv = {row.name: row.output_shape for row in models.create("lenet5").layer_info()}
    assert (conv["conv1"], conv["conv2"], conv["pool2"]) == ((28, 28, 6), (10, 10, 16), (5, 5, 16))
    assert parameters("lenet5", (32, 32, 1)).size == 61_706
    assert models.create("lenet5", input_shape=(48, 40, 1)).layer_info()[1].output_shape == (44, 36, 6)


def test_alexnet_takes_images_of_224_and_227_pixels_alike_and_small_ones_are_refused():
    assert parameters("alexnet", (227, 227, 3)).size == PUBLISHED_COUNTS["alexnet"]
    assert parameters("alexnet", (63, 63, 3)).slots()["classifier.1.weight"].shape == (4096, 256)
    with refused("MaxPool2D 'features.12': window 3x3 is larger than its padded input 2x2"):
        models.create("alexnet", input_shape=(62, 62, 3))


def test_resnets_take_other_images_and_classes():
    slots = parameters("resnet50", (48, 48, 1), 7, stem="small").slots()
    assert slots["conv1.weight"].shape == (64, 3, 3, 1)
    assert slots["fc.weight"].shape == (7, 2048)
    assert parameters("resnet50", (224, 224, 1)).slots()["conv1.weight"].shape == (64, 7, 7, 1)


@pytest.mark.parametrize(("stem", "size", "sizes"), [("imagenet", 64, (16, 8, 4, 2)), ("small", 32, (32, 16, 8, 4))])
@pytest.mark.parametrize("block", [resnet.basic_block, resnet.bottleneck, resnet.bottleneck_v2])
def test_stages_halve_the_image(block, stem, size, sizes):
    layers = resnet.resnet("resnet", block, (4, 8, 12, 16), (1, 1, 1, 1), (size, size, 3), 10, stem=stem)
    outputs = {name: layer.output_shape(shape) for name, layer, shape in layers.sublayers((size, size, 3))}
    assert [outputs[f"layer{stage}"] for stage in (1, 2, 3, 4)] == [
        (rows, rows, channels) for rows, channels in zip(sizes, (4, 8, 12, 16), strict=True)
    ]


def test_resnets_begin_as_torchvisions_do():
    network = models.create("resnet18", input_shape=(8, 8, 3), stem="small")
    tensors = network.parameters()
    for name in ("conv1", "layer3.0.residual.branch.conv2", "layer4.0.residual.shortcut.0"):
        outputs, height, width, _ = tensors[f"{name}.weight"].shape
        assert tensors[f"{name}.weight"].std() == pytest.approx((2 / (outputs * height * width)) ** 0.5, rel=0.05)
    assert np.abs(tensors["fc.weight"]).max() == pytest.approx(512**-0.5, rel=0.01)
    assert not any(tensor.any() for name, tensor in tensors.items() if name.endswith("bias"))


@pytest.mark.parametrize("block", [resnet.basic_block, resnet.bottleneck, resnet.bottleneck_v2])
def test_gradient_of_a_tiny_resnet(block):
    layers = resnet.resnet("resnet", block, (8, 12), (1, 2), (7, 7, 2), 3, stem="small")
    network = Network(layers, (7, 7, 2), dtype="float64", seed=2)
    rng = np.random.default_rng(3)
    # Biases of 0 would put every channel's mean on the kink of its ReLU.
    network.theta = network.theta + rng.normal(0.0, 0.1, network.parameter_count)
    entries = check_network(network, rng.normal(size=(3, 7, 7, 2)), np.array([0, 2, 1]), entries=2)
    assert len(entries) > 2 * 20
    assert max(entry.relative_difference for entry in entries) <= TOLERANCE


# Options


def kinds(**options):
    return [row.kind for row in models.create("mlp", **options).layer_info()]


def test_gradient_of_alexnet():
    """Along random directions, since a difference for each entry of its dense layers would take too long."""
    shape, rng, step = (63, 63, 3), np.random.default_rng(4), 1e-6
    network = models.create("alexnet", input_shape=shape, classes=4, dropout=0.0, dtype="float64")
    images, labels = rng.normal(size=(2, *shape)), np.array([3, 1])
    gradient = network.loss_and_gradient(network.theta, network.state, images, labels).gradient

    def loss(theta):
        return float(network.loss.forward(network.forward(theta, network.state, images).y, labels).loss)

    for part in ("features", "classifier"):
        direction = 0.01 * rng.normal(size=gradient.size) * network.mask(lambda name, part=part: name.startswith(part))
        slope = (loss(network.theta + step * direction) - loss(network.theta - step * direction)) / (2 * step)
        assert abs(slope) > 1e-3
        assert gradient @ direction == pytest.approx(slope, rel=1e-6)


def test_mlp_is_made_of_what_is_asked_for():
    assert kinds() == ["Normalize", "Flatten", "Dense", "ReLU", "Dense", "ReLU", "Dense"]
    block = ["Dense", "BatchNorm", "Tanh", "Dropout"]
    options = {"activation": "tanh", "dropout": 0.25, "batch_norm": True}
    assert kinds(hidden=[7], **options) == ["Normalize", "Flatten", *block, "Dense"]
    assert kinds(hidden=[9, 8, 7], **options) == ["Normalize", "Flatten", *block * 3, "Dense"]
    network = models.create("mlp", hidden=(9, 8), dropout=0.25)
    assert [row.output_shape for row in network.layer_info() if row.kind == "Dense"] == [(9,), (8,), (10,)]
    assert {layer.p for _, layer, _ in network.layer.leaves((28, 28, 1)) if isinstance(layer, Dropout)} == {0.25}


@pytest.mark.parametrize(
    ("activation", "kind"),
    [("relu", ReLU), ("leaky-relu", LeakyReLU), ("sigmoid", Sigmoid), ("tanh", Tanh), ("softplus", Softplus)],
)
def test_mlp_activations(activation, kind):
    assert kinds(activation=activation)[3] == kind.__name__


@pytest.mark.parametrize(
    ("weight_init", "std"),
    [("normal", 1.0), ("lecun", 784**-0.5), ("he", (2 / 784) ** 0.5), ("glorot", (2 / (784 + 100)) ** 0.5)],
)
def test_mlp_initial_weights(weight_init, std):
    tensors = models.create("mlp", weight_init=weight_init).parameters()
    assert tensors["dense1.weight"].std() == pytest.approx(std, rel=0.02)
    assert not tensors["dense1.bias"].any()


@pytest.mark.parametrize("name", ["fer_cnn", "alexnet"])
def test_dropout_of_the_published_networks_can_be_changed(name):
    def probabilities(**options):
        model = registry.find(name)
        layers = model.build(model.input_shape, model.classes, **options)
        return [layer.p for _, layer, _ in layers.leaves(model.input_shape) if isinstance(layer, Dropout)]

    assert probabilities() == [0.5, 0.5]
    assert probabilities(dropout=0.1) == [0.1, 0.1]


@pytest.mark.parametrize(
    ("name", "options", "parts"),
    [
        ("lenet5", {"hidden": (3,)}, ["Model 'lenet5': expected no options, got 'hidden'."]),
        ("mlp", {"stem": "small"}, ["Model 'mlp': expected options of hidden, activation, dropout,", "got 'stem'."]),
        ("resnet18", {"depths": (1,)}, ["Model 'resnet18': expected options of stem, got 'depths'."]),
        ("mlp", {"activation": "sine"}, ["activation: expected one of relu, leaky-relu,", "got 'sine'. Choose one"]),
        ("mlp", {"weight_init": "zeros"}, ["weight_init: expected one of he, glorot, lecun, normal, got 'zeros'."]),
        ("resnet18", {"stem": "tiny"}, ["stem: expected one of imagenet, small, got 'tiny'."]),
        ("mlp", {"hidden": (10, 0)}, ["Dense: expected units", "got 0"]),
        ("mlp", {"dropout": 1.0}, ["Dropout: expected p", "got 1.0"]),
        ("mlp", {"dropout": -0.5}, ["Dropout: expected p", "got -0.5"]),
    ],
)
def test_options_that_do_not_fit_are_refused(name, options, parts):
    with refused(*parts):
        models.create(name, **options)


# A training step


SMALL = {
    "mlp": ((6, 5, 2), {"hidden": (7,), "batch_norm": True, "dropout": 0.3}),
    "lenet5": ((16, 16, 1), {}),
    "cnn_32_64": ((8, 8, 1), {}),
    "cifar10_cnn": ((16, 16, 3), {}),
    "fer_cnn": ((8, 8, 1), {}),
    "resnet18": ((8, 8, 3), {"stem": "small"}),
    "resnet20": ((8, 8, 3), {}),
    "vit_digits": ((14, 7, 1), {"dropout": 0.2}),
}


@pytest.mark.parametrize("name", SMALL)
def test_a_training_step_on_every_library(name, backend):
    """Equal to NumPy's, also in what Dropout draws, and downhill."""
    input_shape, options = SMALL[name]
    network = models.create(name, input_shape=input_shape, classes=3, dtype="float64", **options)
    rng, labels = np.random.default_rng(0), np.array([0, 2, 1, 1])
    images, key = rng.normal(size=(4, *input_shape)), make_key(0)
    expected = network.loss_and_gradient(network.theta, network.state, images, labels, key=key)

    move = backend.asarray
    theta, state, x, y, key = move(network.theta), map_tree(move, network.state), move(images), move(labels), move(key)
    loss_and_gradient = compiled(network.loss_and_gradient, backend)
    actual = loss_and_gradient(theta, state, x, y, key=key)
    assert_lives_on(actual.gradient, backend, "float64")
    assert_close(actual.loss, move(np.asarray(expected.loss)), rtol=1e-10)
    scale = float(np.abs(expected.gradient).max())
    assert_close(actual.gradient, move(expected.gradient), atol=1e-9 * scale)
    logits = compiled(network.forward, backend)(theta, state, x).y
    assert_close(logits, move(network(images)), rtol=1e-9, atol=1e-10)

    step = theta - actual.gradient * (0.05 / float(np.linalg.norm(to_numpy(actual.gradient))))
    assert float(loss_and_gradient(step, state, x, y, key=key).loss) < float(actual.loss)


def test_every_family_has_layers_by_the_names_it_promises():
    """The names of torchvision, which ``Network.features`` and ``freeze`` take."""
    for name, expected in {
        "alexnet": {"features.0", "features.12", "classifier.6"},
        "resnet50": {"conv1", "bn1", "relu", "maxpool", "layer1.0.relu", "layer4.2.residual.branch.conv3", "avgpool"},
    }.items():
        model = registry.find(name)
        layers = model.build(model.input_shape, model.classes)
        assert expected <= {leaf.name for leaf in layers.leaves(model.input_shape)}


def test_batch_norm_of_resnets_is_in_every_block():
    model = registry.find("resnet50")
    layers = model.build(model.input_shape, model.classes)
    assert sum(isinstance(leaf.layer, BatchNorm) for leaf in layers.leaves(model.input_shape)) == 1 + 16 * 3 + 4


def test_imagenet_pixels_come_in_as_torchvisions():
    network = models.create("resnet18", input_shape=(2, 2, 3), stem="small")
    network.set_normalization(imagenet.PIXEL_MEAN, imagenet.PIXEL_SCALE)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 3))
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(network.features(pixels, "normalize1"), expected, rtol=1e-5, atol=1e-5)
