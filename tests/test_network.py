import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.helpers import (
    assert_close,
    assert_is_gradient,
    assert_lives_on,
    assert_same_bits,
    host_copies,
    leaves,
    off_kinks,
    refused,
)
from xpnet import backend as backends
from xpnet.backend import to_numpy
from xpnet.cli import export, features
from xpnet.datasets import Dataset
from xpnet.datasets.image_files import ImageFiles
from xpnet.errors import InputError
from xpnet.initializers import Normal
from xpnet.layers import BatchNorm, Conv2D, Dense, Flatten, MaxPool2D, Normalize, ReLU, Residual, Sequential
from xpnet.layout import map_tree, walk
from xpnet.losses import BinaryCrossEntropy, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.models.resnet import basic_block, bottleneck, bottleneck_v2, resnet
from xpnet.network import Network
from xpnet.optimizers import Momentum
from xpnet.serialization import read_tensors, write_tensors

IMAGE = (6, 6, 2)


def small_layers():
    return Sequential(
        [
            Normalize(),
            Conv2D(3, 3, padding="same"),
            ReLU(),
            ("block", Sequential([MaxPool2D(2), Conv2D(2, (2, 3), padding=1)])),
            Flatten(),
            ("out", Dense(4)),
        ]
    )


def small_network(**settings):
    network = Network(small_layers(), IMAGE, **settings)
    network.set_normalization([0.5, -0.25], 2.0)
    return network


def images(count=5):
    return off_kinks(np.random.default_rng(8), (count, *IMAGE))


LABELS = np.array([0, 3, 1, 1, 2])


# Construction


def test_the_mnist_starter_has_14682_parameters():
    stage = [Conv2D(16, 5, padding=2), ReLU(), MaxPool2D(2)]
    network = Network(Sequential([*stage, *stage, Flatten(), Dense(10)]), (28, 28, 1))
    assert network.parameter_count == 416 + 6_416 + 7_850 == 14_682
    assert [(row.name, row.kind, row.output_shape, row.parameters) for row in network.layer_info()] == [
        ("conv1", "Conv2D", (28, 28, 16), 416),
        ("relu1", "ReLU", (28, 28, 16), 0),
        ("pool1", "MaxPool2D", (14, 14, 16), 0),
        ("conv2", "Conv2D", (14, 14, 16), 6_416),
        ("relu2", "ReLU", (14, 14, 16), 0),
        ("pool2", "MaxPool2D", (7, 7, 16), 0),
        ("flatten1", "Flatten", (784,), 0),
        ("dense1", "Dense", (10,), 7_850),
    ]
    lines = network.summary().splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "shape", "parameters"]
    assert lines[1].split() == ["conv1", "Conv2D", "28", "x", "28", "x", "16", "416"]
    assert lines[-1].split() == ["total", "14,682"]
    assert len({len(line) for line in lines}) == 1


def test_rows_go_into_blocks():
    assert [row.name for row in small_network().layer_info()] == [
        "normalize1", "conv1", "relu1", "block.pool1", "block.conv1", "flatten1", "out",
    ]  # fmt: skip


def test_initial_values_follow_the_seed():
    first, same, other = Network(small_layers(), IMAGE), Network(small_layers(), IMAGE, seed=0), small_network(seed=1)
    assert_close(first.theta, same.theta)
    assert not np.array_equal(first.theta, other.theta)
    other.init(0)
    assert_close(first.theta, other.theta)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_initial_values_are_the_same_on_every_backend(library):
    pytest.importorskip(library)
    network = Network(small_layers(), IMAGE, backend=library)
    assert backends.backend_of(network.theta).name == library
    assert to_numpy(network.theta).dtype == np.float32
    np.testing.assert_array_equal(to_numpy(network.theta), Network(small_layers(), IMAGE).theta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_has_the_networks_dtype(dtype):
    network = small_network(dtype=dtype)
    result = network.loss_and_gradient(network.theta, network.state, images().astype(dtype), LABELS)
    for array in [network.theta, *leaves(network.state), *leaves(list(result)), network(images())]:
        assert array.dtype == dtype


def test_what_a_network_cannot_be_built_from():
    with refused("Network, dtype: expected", "float32, float64", "got 'float16'"):
        Network(Dense(2), (3,), dtype="float16")
    with refused("Network: expected each length of input_shape ", "of at least 1, got 0."):
        Network(Dense(2), (0,))
    with refused("Network: expected input_shape to be a tuple, got 784."):
        Network(Dense(2), 784)
    with refused("Network", "layers with parameters", "got none"):
        Network(Sequential([ReLU(), Flatten()]), (3,))
    with refused("Conv2D 'block.conv2'", "images (N, H, W, C)", "got shape (N, 8)"):
        inner = Sequential([Conv2D(2, 1), Flatten(), ("conv2", Conv2D(2, 1))])
        Network(Sequential([("block", inner)]), (2, 2, 1))


def test_lists_pairs_and_single_layers_are_networks():
    listed = Network([Dense(10), ReLU()], (4,))
    assert listed.layer == Network(Sequential([Dense(10), ReLU()]), (4,)).layer
    assert list(Network([("a", Dense(3)), ReLU()], (4,)).parameters()) == ["a.weight", "a.bias"]
    network = Network(Dense(2), (3,))
    assert network.parameters().keys() == {"dense1.weight", "dense1.bias"}
    assert_close(
        network(np.ones((4, 3))), np.float32(np.ones((4, 3)) @ network.parameters()["dense1.weight"].T), rtol=1e-6
    )


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_a_mask_marks_tensors_by_name(library):
    if library != "numpy":
        pytest.importorskip(library)
    network, names = small_network(backend=library, dtype="float32"), []

    def is_a_bias_in_the_block(name):
        names.append(name)
        return name.startswith("block.") and name.endswith(".bias")

    mask = network.mask(is_a_bias_in_the_block)
    assert names == [name for name, _ in walk(network.layout.tree)]
    assert_close(mask, mask + 0 * network.theta)
    assert backends.backend_of(mask) == network.backend
    for name, part in walk(network.layout.unflatten(to_numpy(mask))):
        assert np.all(part == (name == "block.conv1.bias")), name


# Loss and gradient


def pure_arguments(network, backend):
    """θ, state, images and labels on any array library, also on one that no device string names."""
    return (
        backend.asarray(network.theta),
        map_tree(backend.asarray, network.state),
        backend.asarray(images()),
        backend.asarray(LABELS),
    )


def test_gradient_is_the_derivative_on_every_library(backend):
    network = small_network(dtype="float64")
    theta, state, x, labels = pure_arguments(network, backend)

    def loss(theta):
        return float(network.loss_and_gradient(backend.asarray(theta), state, x, labels).loss)

    gradient = network.loss_and_gradient(theta, state, x, labels).gradient
    assert_is_gradient(loss, {"theta": to_numpy(theta)}, {"theta": gradient})


def test_loss_and_gradient_is_pure_and_agrees_with_numpy(backend):
    network = small_network(dtype="float64")
    expected = network.loss_and_gradient(*pure_arguments(network, backends.resolve("cpu")))
    handed_in = list(pure_arguments(network, backend))
    before = host_copies([*handed_in, network.theta, network.state])
    result = network.loss_and_gradient(*handed_in)
    for a, b in zip(leaves(list(result)), leaves(list(expected)), strict=True):
        assert_close(a, backend.asarray(b), rtol=1e-12, atol=1e-13)
    for a, b in zip(before, host_copies([*handed_in, network.theta, network.state]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_loss_and_logits_are_those_of_the_forward_pass():
    network = small_network(dtype="float64")
    theta, state, x, labels = pure_arguments(network, backends.resolve("cpu"))
    result = network.loss_and_gradient(theta, state, x, labels)
    assert_close(result.outputs, network.forward(theta, state, x).y)
    assert result.loss == network.loss.forward(result.outputs, labels).loss


def test_no_gradient_of_the_images_is_computed(monkeypatch):
    def backward(*arguments, **settings):
        raise AssertionError("nobody needs this dx")

    monkeypatch.setattr(Normalize, "unchecked_backward", backward)
    network = small_network(dtype="float64")
    network.loss_and_gradient(*pure_arguments(network, backends.resolve("cpu")))


@pytest.mark.parametrize("backend", ["jax"], indirect=True)
def test_a_jitted_step_equals_an_eager_one(backend):
    import jax

    network = small_network(dtype="float64")
    arguments = pure_arguments(network, backend)
    eager, jitted = network.loss_and_gradient(*arguments), jax.jit(network.loss_and_gradient)(*arguments)
    for a, b in zip(leaves(list(jitted)), leaves(list(eager)), strict=True):
        assert_close(a, b, rtol=1e-12, atol=1e-13)


# Predictions and features


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_predictions_come_back_in_the_images_own_library(backend, library):
    if library != "numpy":
        pytest.importorskip(library)
    network = small_network(backend=library)
    expected = small_network()(images())
    logits = network(backend.asarray(images()))
    assert_close(logits, backend.asarray(expected), rtol=1e-5, atol=1e-6)


def test_predictions_do_not_depend_on_the_batches(backend):
    network, x = small_network(), backend.asarray(images())
    whole = network(x)
    assert tuple(whole.shape) == (5, 4)
    for batch_size in (1, 2, 5):
        assert_close(network(x, batch_size=batch_size), whole, rtol=1e-5, atol=1e-6)


def test_whole_number_pixels_are_taken_as_they_come():
    network = small_network()
    pixels = np.random.default_rng(0).integers(0, 256, (2, *IMAGE), dtype=np.uint8)
    assert_close(network(pixels), network(pixels.astype(np.float32)))


def test_features_are_each_layers_output():
    network = small_network(dtype="float64")
    x, params = images(), network.layout.unflatten(network.theta)
    expected = {}
    y = (x - np.array([0.5, -0.25])) * 2.0
    expected["normalize1"] = y
    for name in ("conv1", "relu1"):
        y = dict(network.layer.layers)[name].forward(params[name], {}, y).y
        expected[name] = y
    block = dict(network.layer.layers)["block"]
    for name in ("pool1", "conv1"):
        y = dict(block.layers)[name].forward(params["block"][name], {}, y).y
        expected[f"block.{name}"] = y
    expected["flatten1"] = y.reshape(5, -1)
    expected["out"] = network(x)
    expected["block"] = expected["block.conv1"]
    assert expected.keys() == network.layer_shapes().keys()
    for name, value in expected.items():
        assert_close(network.features(x, name, batch_size=2), value, rtol=1e-12, atol=1e-13)


def test_features_of_no_such_layer():
    with refused("Network, layer: expected one of normalize1, conv1, relu1,", "got 'conv7'. Did you mean 'conv1'?"):
        small_network().features(images(), "conv7")


def test_of_many_layers_an_unknown_name_gives_the_nearest_and_no_long_list():
    network = Network(Sequential([Dense(2) for _ in range(41)]), (2,))
    with refused("one of dense1, dense2, ..., dense41", "got 'dense42'"):
        network.features(np.ones((1, 2)), "dense42")


@pytest.mark.parametrize("block", [basic_block, bottleneck, bottleneck_v2])
def test_every_part_of_a_residual_network_has_a_name_and_features(block):
    layers = resnet("resnet", block, (8, 16), (2, 1), (8, 8, 1), 3, stem="small")
    network = Network(layers, (8, 8, 1))
    shapes = network.layer_shapes()
    paths = [*("layer1.0", "layer1.1", "layer2.0", "layer1"), "layer2.0.residual", "layer2.0.residual.branch"]
    assert {*paths, "layer2.0.residual.branch.conv1", "layer2.0.residual.shortcut.0"} <= shapes.keys()
    x = np.ones((2, 8, 8, 1), np.float32)
    traced = network.layer.trace(network.layout.unflatten(network.theta), network.state, x)
    assert {name: y.shape[1:] for name, y in traced if name} == shapes
    assert network.features(np.ones((2, 8, 8, 1)), "layer2.0").shape == (2, 4, 4, 16)


@pytest.mark.parametrize("shape", [(5, 6, 6, 3), (6, 6, 2), (0, 6, 6, 2), (5, 72)])
def test_images_of_another_shape(shape):
    with refused(f"Network: expected inputs N x 6 x 6 x 2, got shape {shape}."):
        small_network()(np.zeros(shape))


def test_other_bad_requests():
    with refused("Network: expected batch_size ", "of at least 1, got 0."):
        small_network()(images(), batch_size=0)
    with refused("Network, inputs", "a dense array of real numbers", "got object"):
        small_network()({"images": images()})
    with refused("Network, layer: expected one of normalize1, conv1, ", "got None. Choose one of these."):
        small_network().features(images(), None)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("complex64", "complex64"),
        ("U3", "<U3"),
        (object, "object"),
        ("datetime64[s]", "datetime64[s]"),
        ("timedelta64[s]", "timedelta64[s]"),
        ([("a", "f4")], "[('a', '<f4')]"),
    ],
)
def test_pixels_that_are_no_real_numbers(dtype, kind):
    with refused("Network, inputs", "a dense array of real numbers", f"got {kind}"):
        small_network()(np.zeros((2, *IMAGE), dtype))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x: x.to("meta"), "torch.float64, torch.strided on meta"),
        (lambda x: x.to_sparse(), "torch.float64, torch.sparse_coo on cpu"),
        (lambda x: x.cfloat(), "torch.complex64, torch.strided on cpu"),
    ],
)
@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_tensors_without_real_numbers(backend, change, kind):
    x = pytest.importorskip("torch").asarray(images(), device="cpu")
    with refused("Network, inputs", "a dense array of real numbers", f"got {kind}"):
        small_network(backend=backend)(change(x))


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn"])
def test_floating_point_numbers_that_numpy_has_not(kind):
    torch = pytest.importorskip("torch")
    x = torch.asarray(images(), device="cpu").to(getattr(torch, kind))
    network = small_network()
    assert torch.equal(network(x), network(x.float()))


@pytest.mark.parametrize("value", [None, [0.0]])
@pytest.mark.parametrize("method", ["forward", "loss_and_gradient"])
def test_a_theta_or_state_that_is_none(method, value):
    network = small_network()
    x = images().astype(np.float32)
    rest = (LABELS,) if method == "loss_and_gradient" else ()
    message = "Network, θ: expected an array of NumPy, CuPy, PyTorch or JAX, got "
    with refused(message + type(value).__name__):
        getattr(network, method)(value, network.state, x, *rest)
    lacking = {**network.state, "normalize1": {}}
    for state in (value, {}, lacking):
        with refused("Network", "a state with the names of network.state", "got another"):
            getattr(network, method)(network.theta, state, x, *rest)
    if rest:
        with refused("SoftmaxCrossEntropy, targets", "an array of NumPy, CuPy, PyTorch or JAX"):
            network.loss_and_gradient(network.theta, network.state, x, value)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_theta_of_another_dtype_is_named(library):
    pytest.importorskip(library)
    network = small_network(backend=library)
    x, theta = network.backend.asarray(images(), "float32"), network.backend.asarray(network.theta, "float64")
    with refused(f"Network: expected θ to be float32 of {library}, got ", f"float64 of {library}. Convert θ."):
        network.forward(theta, network.state, x)


# Normalization


def test_normalization_by_one_number_or_one_for_each_channel():
    network = small_network(dtype="float64")
    network.set_normalization(0.5, [2.0, 4.0])
    assert network.state["normalize1"]["mean"].tolist() == [0.5, 0.5]
    assert_close(network.features(images(), "normalize1"), (images() - 0.5) * np.array([2.0, 4.0]))


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_normalization_on_other_backends(library):
    pytest.importorskip(library)
    mean = small_network(backend=library).state["normalize1"]["mean"]
    assert backends.backend_of(mean).name == library
    assert to_numpy(mean).tolist() == [0.5, -0.25]


def test_normalization_that_does_not_fit():
    with refused("Network", "mean to be one number or 2", "got shape (3,)"):
        small_network().set_normalization([1.0, 2.0, 3.0], 1.0)


def test_a_network_without_normalize_gets_one():
    network = Network([Dense(2)], (2,), dtype="float64")
    theta, plain = network.theta, network(np.array([[1.0, 2.0]]))
    network.set_normalization([1.0, 2.0], 4.0)
    assert network.theta is theta
    assert list(network.layer_shapes()) == ["normalize", "dense1"]
    assert_close(network(np.array([[1.25, 2.5]])), plain)
    network.set_normalization(0.0, 1.0)
    assert list(network.layer_shapes()) == ["normalize", "dense1"]
    assert_close(network(np.array([[1.0, 2.0]])), plain)


# Files


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_network_is_the_saved_one(tmp_path, dtype):
    network = small_network(dtype=dtype, seed=3)
    network.save(tmp_path / "weights.safetensors")
    loaded = Network.load(tmp_path / "weights.safetensors")
    assert (loaded.layer, loaded.input_shape, loaded.dtype) == (network.layer, network.input_shape, dtype)
    assert_close(loaded.theta, network.theta)
    for (name, a), (_, b) in zip(walk(loaded.state), walk(network.state), strict=True):
        assert_close(a, b), name
    assert_close(loaded(images()), network(images()))


@pytest.mark.parametrize("loss", [SoftmaxCrossEntropy(0.1), SoftmaxCrossEntropy(np.float32(0.25)), MeanSquaredError()])
def test_a_loaded_network_has_the_saved_ones_loss(tmp_path, loss):
    network = small_network()
    network.loss = loss
    network.save(tmp_path / "weights.safetensors")
    assert Network.load(tmp_path / "weights.safetensors").loss == loss
    other = SoftmaxCrossEntropy(0.2)
    assert Network.load(tmp_path / "weights.safetensors", loss=other).loss is other


def test_a_loss_of_ones_own_is_asked_for_by_name(tmp_path):
    class OwnSquaredError(MeanSquaredError):
        pass

    network, path = small_network(loss=OwnSquaredError()), tmp_path / "weights.safetensors"
    network.save(path)
    with refused(str(path), "'OwnSquaredError'", "loss="):
        Network.load(path)
    loaded = Network.load(path, loss=network.loss)
    assert loaded.loss is network.loss
    assert_close(loaded.theta, network.theta)


@pytest.mark.parametrize(
    ("saved_on", "loaded_on"), [("numpy", "torch"), ("torch", "numpy"), ("torch", "jax"), ("jax", "numpy")]
)
def test_files_do_not_depend_on_the_backend(tmp_path, saved_on, loaded_on):
    for library in {saved_on, loaded_on} - {"numpy"}:
        pytest.importorskip(library)
    network = small_network(backend=saved_on)
    network.save(tmp_path / "weights.safetensors")
    loaded = Network.load(tmp_path / "weights.safetensors", backend=loaded_on)
    assert backends.backend_of(loaded.theta).name == loaded_on
    np.testing.assert_array_equal(to_numpy(loaded.theta), to_numpy(network.theta))


def test_files_hold_named_tensors(tmp_path):
    network = small_network()
    network.save(tmp_path / "weights.safetensors")
    tensors, header = read_tensors(tmp_path / "weights.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "conv1.weight": (3, 3, 3, 2),
        "conv1.bias": (3,),
        "block.conv1.weight": (2, 2, 3, 3),
        "block.conv1.bias": (2,),
        "out.weight": (4, 24),
        "out.bias": (4,),
        "normalize1.mean": (2,),
        "normalize1.scale": (2,),
    }
    np.testing.assert_array_equal(tensors["conv1.weight"], network.parameters()["conv1.weight"])
    assert header["input_shape"] == [6, 6, 2]


def rewrite(path, change_tensors=None, change_header=None):
    """Save a small network and write the file again with changes."""
    small_network().save(path)
    tensors, header = read_tensors(path)
    tensors.update(change_tensors or {})
    header.update(change_header or {})
    present = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    write_tensors(path, present, {name: value for name, value in header.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out.bias": None}, "'out.bias' is in the network but not in the file. Use the same layers."),
        ({"extra": np.zeros(1)}, "'extra' is in the file but not in the network. Use the same layers."),
        (
            {"out.bias": np.zeros(3, np.float32)},
            "'out.bias' is (3,) in the file and (4,) in the network.",
        ),
        ({"normalize1.mean": np.zeros(2, np.int64)}, "expected 'normalize1.mean' to hold float32 numbers, got int64."),
    ],
)
def test_files_whose_tensors_do_not_fit(tmp_path, changes, message):
    path = tmp_path / "weights.safetensors"
    rewrite(path, change_tensors=changes)
    with refused(f"Weights file {path}: {message}"):
        Network.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": None}, "its header lacks 'dtype'."),
        ({"layer": {"type": "Normal", "std": 1.0}}, "expected layers, got Normal"),
        ({"layer": [1, 2]}, "expected layers, got tuple"),
        ({"layer": {"units": 3}}, "expected layers, got dict"),
        ({"layer": {"type": "Dense", "units": 3}}, "expected layers, got Dense"),
        ({"class_names": [1, 2]}, "expected printable names of classes"),
        ({"layer": {"type": "Perceptron"}}, "expected a known type of layer, loss or setting, got 'Perceptron'."),
        ({"loss": {"type": "Dense", "units": 3}}, "expected a loss, got Dense"),
        ({"loss": 3}, "expected a loss, got int"),
        ({"input_shape": 6}, "its header does not describe a network ("),
    ],
)
def test_files_whose_header_does_not_describe_a_network(tmp_path, changes, message):
    rewrite(tmp_path / "weights.safetensors", change_header=changes)
    with refused(message):
        Network.load(tmp_path / "weights.safetensors")


def test_another_format_version_is_refused_by_its_number(tmp_path):
    path = tmp_path / "weights.safetensors"
    rewrite(path, change_header={"network": 3})
    with refused(f"Weights file {path}: expected a network of format version 2, got 3. Use the xpnet version"):
        Network.load(path)


def of_version_1(path, network):
    """Save a network as an xpnet before 0.2.0 did: without the version, and with its name of ``kernel_size``."""
    network.save(path)
    tensors, header = read_tensors(path)
    del header["network"]
    write_tensors(path, tensors, json.loads(json.dumps(header).replace('"kernel_size"', '"kernel"')))


@pytest.mark.parametrize("program", [None, features, export])
def test_a_file_from_before_0_2_0_is_refused_by_its_number(tmp_path, capsys, program):
    path, image = tmp_path / "weights.safetensors", tmp_path / "image.png"
    of_version_1(path, small_network())
    Image.new("L", (6, 6)).save(image)
    words = f"Weights file {path}: expected a network of format version 2, got 1. Load it with the xpnet before 0.2.0"
    if program is None:
        with refused(words, "load_tensors"):
            Network.load(path)
    else:
        assert program.main([str(image), "--weights", str(path)] if program is features else [str(path)]) == 2
        assert words in capsys.readouterr().err


def test_the_values_of_a_file_from_before_0_2_0_are_taken_over(tmp_path):
    of_version_1(tmp_path / "weights.safetensors", small_network(seed=5))
    network = small_network()
    network.load_tensors(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(network.theta, small_network(seed=5).theta)


def test_a_file_of_0_2_0_which_has_no_version_is_read(tmp_path):
    rewrite(tmp_path / "weights.safetensors", change_header={"network": None})
    np.testing.assert_array_equal(Network.load(tmp_path / "weights.safetensors").theta, small_network().theta)


def test_a_network_keeps_its_values_when_new_ones_do_not_fit():
    network = small_network()
    before = np.array(network.theta)
    with refused("Network: 'normalize1.scale' is in the network but not in the given tensors."):
        network.set_tensors(network.parameters() | {"normalize1.mean": np.ones(2)})
    np.testing.assert_array_equal(network.theta, before)


def test_other_precision_is_converted():
    network = small_network()
    tensors = {name: np.full(tensor.shape, 0.5) for name, tensor in network.tensors().items()}
    network.set_tensors(tensors)
    assert network.theta.dtype == np.float32
    assert np.all(network.theta == 0.5)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("home", ["numpy", "torch"])
def test_tensors_go_out_and_in_on_any_library(home, library):
    for name in {home, library} - {"numpy"}:
        pytest.importorskip(name)
    source, network = small_network(backend=library, seed=5), small_network(backend=home)
    network.set_tensors(source.tensors())
    assert backends.backend_of(network.theta).name == home
    np.testing.assert_array_equal(to_numpy(network.theta), to_numpy(source.theta))
    np.testing.assert_array_equal(to_numpy(network.state["normalize1"]["mean"]), [0.5, -0.25])


def test_tensors_as_lists_of_numbers():
    network = Network([Dense(2)], (3,))
    network.set_tensors({"dense1.weight": [[1.0, 2.0, 3.0], [0.5, 0.0, -1.0]], "dense1.bias": [0.25, 0.0]})
    assert network(np.ones((1, 3))).tolist() == [[6.25, -0.5]]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (np.zeros(2, np.int64), ("'dense1.bias'", "float32", "int64", "Convert")),
        (["a", "b"], ("'dense1.bias'", "float32")),
        (None, ("'dense1.bias'", "NoneType")),
        ([0.0], ("'dense1.bias'", "(1,)", "(2,)")),
        ([0.0, np.nan], ("'dense1.bias'", "NaN")),
    ],
)
def test_tensors_that_are_not_the_networks_are_named_and_no_file_is_blamed(value, parts):
    network = Network([Dense(2)], (3,))
    before = network.theta.copy()
    with pytest.raises(InputError) as caught:
        network.set_tensors({**network.tensors(), "dense1.bias": value})
    message = str(caught.value)
    assert all(part in message for part in ("Network: ", *parts)), message
    assert not {"file", "replace_head"} & set(re.findall(r"\w+", message))
    np.testing.assert_array_equal(network.theta, before)


# Predictions of each kind


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_predictions_are_what_targets_are(library):
    if library != "numpy":
        pytest.importorskip(library)
    x = backends.resolve("cpu", library).asarray(np.random.default_rng(0).normal(size=(7, 3)))
    classes, real = Network([Dense(4)], (3,)), Network([Dense(1)], (3,), loss=MeanSquaredError())
    binary = Network([Dense(2)], (3,), loss=BinaryCrossEntropy())
    outputs = to_numpy(classes(x))
    np.testing.assert_array_equal(to_numpy(classes.predict(x)), outputs.argmax(axis=1))
    exponentials = np.exp(outputs)
    np.testing.assert_allclose(
        to_numpy(classes.predict_proba(x)), exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-5
    )
    np.testing.assert_array_equal(to_numpy(binary.predict(x)) > 0, to_numpy(binary(x)) > 0)
    np.testing.assert_allclose(to_numpy(binary.predict_proba(x)), 1 / (1 + np.exp(-to_numpy(binary(x)))), rtol=1e-5)
    np.testing.assert_array_equal(to_numpy(real.predict(x)), to_numpy(real(x))[:, 0])
    for network in (classes, binary):
        assert backends.backend_of(network.predict(x)).name == library
        assert backends.backend_of(network.predict_proba(x)).name == library
    with refused("MeanSquaredError"):
        real.predict_proba(x)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_network_moves_with_all_it_has(library):
    pytest.importorskip(library)
    network = small_network()
    network.freeze("conv1.*")
    before = network(images())
    assert network.to("cpu", library) is network
    for array in (network.theta, network.trainable, *leaves(network.state)):
        assert backends.backend_of(array).name == library
    assert_close(network(images()), before, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(to_numpy(network.to("cpu").theta), small_network().theta)


def test_a_file_keeps_the_names_of_classes(tmp_path):
    network = small_network()
    network.class_names = ("ant", "bee", "wasp", "fly")
    network.save(tmp_path / "weights.safetensors")
    assert Network.load(tmp_path / "weights.safetensors").class_names == network.class_names


def test_settings_are_in_the_file_as_json(tmp_path):
    network = Network(Dense(2, weight_init=Normal(0.01)), (3,))
    network.save(tmp_path / "weights.safetensors")
    header = read_tensors(tmp_path / "weights.safetensors")[1]
    assert json.loads(json.dumps(header["layer"]))["layers"][0][1] == {
        "type": "Dense",
        "units": 2,
        "weight_init": {"type": "Normal", "std": 0.01},
    }


# Freezing


def test_mask_marks_tensors_by_name(backend):
    network = small_network()
    network.backend = backend
    mask = network.mask(lambda name: name.endswith("bias"))
    assert_lives_on(mask, backend, "float32")
    for name, slot in network.layout.slots().items():
        assert set(to_numpy(mask)[slot.start : slot.stop].tolist()) == {float(name.endswith("bias"))}


def test_frozen_parameters_get_no_gradient():
    network, free = small_network(), small_network()
    network.freeze("*conv*", "out.bias")
    network.freeze("out.bias")
    assert set(np.unique(network.trainable)) == {0, 1}
    x = images().astype(np.float32)
    gradient = network.loss_and_gradient(network.theta, network.state, x, LABELS).gradient
    expected = free.loss_and_gradient(free.theta, free.state, x, LABELS).gradient
    frozen = {"conv1.weight", "conv1.bias", "block.conv1.weight", "block.conv1.bias", "out.bias"}
    assert frozen < set(network.layout.slots())
    for name, slot in network.layout.slots().items():
        part = slice(slot.start, slot.stop)
        assert network.trainable[part].all() == (name not in frozen)
        assert np.array_equal(gradient[part], 0 * expected[part] if name in frozen else expected[part])


def test_nothing_is_frozen_at_first():
    assert small_network().trainable == 1.0


def test_a_frozen_network_is_trained_by_its_head_alone():
    network = small_network()
    network.freeze("conv1.*", "block.*")
    before, x = network.parameters(), images().astype(np.float32)
    before = {name: tensor.copy() for name, tensor in before.items()}
    optimizer = Momentum(0.05, 0.9, weight_decay=0.0)
    state, losses = optimizer.init(network.theta), []
    for _ in range(20):
        loss, gradient, _, _ = network.loss_and_gradient(network.theta, network.state, x, LABELS)
        network.theta, state = optimizer.update(network.theta, gradient, state)
        losses.append(float(loss))
    assert losses[-1] < 0.9 * losses[0]
    for name, tensor in network.parameters().items():
        assert np.array_equal(tensor, before[name]) == (not name.startswith("out."))


def test_a_jitted_step_knows_what_is_frozen():
    jax = pytest.importorskip("jax")
    network = small_network(backend="jax")
    network.freeze("out.*")
    x, labels = (network.backend.asarray(array) for array in (images().astype(np.float32), LABELS))
    gradient = jax.jit(network.loss_and_gradient)(network.theta, network.state, x, labels).gradient
    assert not to_numpy(network.layout.unflatten(gradient)["out"]["weight"]).any()
    assert to_numpy(network.layout.unflatten(gradient)["conv1"]["weight"]).any()


def normalised_layers(first, second):
    stage = [Conv2D(3, 3), first, ReLU()]
    return Sequential(
        [Normalize(), *stage, ("block", Residual(Sequential([Conv2D(3, 1), second]))), Flatten(), Dense(4)]
    )


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_a_batch_norm_that_is_frozen_whole_keeps_its_running_statistics(library):
    if library != "numpy":
        pytest.importorskip(library)
    network = Network(normalised_layers(BatchNorm(), BatchNorm()), IMAGE, backend=library)
    built_so = Network(normalised_layers(BatchNorm(frozen=True), BatchNorm()), IMAGE, backend=library)
    network.freeze("bn1.*", "block.branch.bn1.weight")
    x, labels = network.backend.asarray(images(), "float32"), network.backend.asarray(LABELS)
    ours, theirs = (n.loss_and_gradient(n.theta, n.state, x, labels) for n in (network, built_so))
    assert_same_bits(ours.state["bn1"], network.state["bn1"])
    for name in ("running_mean", "running_var"):
        before, after = (state["block"]["branch"]["bn1"][name] for state in (network.state, ours.state))
        assert (to_numpy(before) != to_numpy(after)).all()
    assert_same_bits(ours, theirs._replace(gradient=theirs.gradient * network.trainable))


def test_freezing_adds_up():
    network = Network(normalised_layers(BatchNorm(), BatchNorm()), IMAGE)
    frozen = {}
    for pattern in ("*.weight", "bn1.bias"):
        network.freeze(pattern)
        leaves = network.layer.leaves(IMAGE)
        frozen[pattern] = [leaf.name for leaf in leaves if isinstance(leaf.layer, BatchNorm) and leaf.layer.frozen]
    assert frozen == {"*.weight": [], "bn1.bias": ["bn1"]}


def test_a_file_does_not_say_what_was_frozen_but_how_layers_were_built(tmp_path):
    network = Network(normalised_layers(BatchNorm(), BatchNorm(frozen=True)), IMAGE)
    network.freeze("*")
    network.save(tmp_path / "weights.safetensors")
    loaded = Network.load(tmp_path / "weights.safetensors")
    assert loaded.layer == normalised_layers(BatchNorm(), BatchNorm(frozen=True))
    assert loaded.trainable == 1.0


def test_a_name_with_a_null_character_is_no_file():
    with refused("cannot be written", "embedded null"):
        small_network().save("a\0b")


def test_a_pattern_that_matches_nothing_is_refused():
    with refused("Network", "a pattern that matches a parameter, such as conv1.weight", "got 'conv1'"):
        small_network().freeze("out.*", "conv1")


def test_a_theta_of_another_length_is_refused():
    network = small_network()
    x, labels = np.zeros((1, *network.input_shape), np.float32), np.zeros(1, np.int32)
    with refused("expected θ to be a vector of", f"got shape ({network.parameter_count + 1},)"):
        network.loss_and_gradient(np.append(network.theta, 0), network.state, x, labels)


def test_an_empty_batch_is_refused():
    network = small_network()
    x, labels = np.zeros((0, *network.input_shape), np.float32), np.zeros(0, np.int32)
    with refused("at least one example"):
        network.loss_and_gradient(network.theta, network.state, x, labels)
    with refused("at least one example"):
        network.forward(network.theta, network.state, x)


def test_a_batch_of_another_library_is_refused():
    network = Network(Sequential([Flatten(), Sequential([Dense(2)])]), (4,))
    x = pytest.importorskip("torch").zeros(1, 4, device="cpu")
    with refused("Dense 'block1.dense1'", "x to be float32 of numpy on cpu", "got float32 of torch on cpu"):
        network.forward(network.theta, network.state, x)


def test_a_list_is_refused():
    network = small_network()
    with refused("expected an array of NumPy, CuPy, PyTorch or JAX, got list"):
        network.forward(network.theta, network.state, np.zeros((1, *network.input_shape)).tolist())


# Inputs as training takes them


@pytest.mark.parametrize("method", ["__call__", "predict", "predict_proba"])
def test_predictions_take_what_training_takes(method, tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    x.tofile(tmp_path / "x")
    data = Dataset.from_arrays(x[::-1], np.arange(300) % 4, test=(x, np.arange(300) % 4))
    predict = getattr(Network([Dense(4)], (3,)), method)
    expected = predict(x)
    for same in (x.tolist(), data, np.memmap(tmp_path / "x", np.float32, shape=x.shape), x.astype(">f4")):
        assert_close(predict(same), expected)
    with refused("Network, inputs", "test part", "arrays"):
        predict(Dataset.from_arrays(x, np.arange(300) % 4))


def test_predictions_take_data_frames_and_images_in_files(tmp_path):
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(5, 3))
    network = Network([Dense(4)], (3,))
    assert_close(network(pandas.DataFrame(x, columns=["a", "b", "c"])), network(x))
    paths = [str(tmp_path / f"{number}.png") for number in range(3)]
    for number, path in enumerate(paths):
        Image.fromarray(np.full((4, 4), 50 * number, np.uint8)).save(path)
    files = ImageFiles(paths, (4, 4, 1))
    network = Network([Flatten(), Dense(2)], (4, 4, 1))
    assert_close(network(files, batch_size=2), network(files[:]), rtol=1e-6)
    assert_close(network(files[:][..., 0]), network(files[:]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["__call__", "predict", "predict_proba"])
def test_predictions_refuse_numbers_that_are_not_finite(backend, method, value):
    x = np.ones((300, 3))
    x[270, 1] = value
    with refused("Network, inputs", "NaN or infinity", "first in row 270"):
        getattr(Network([Dense(4)], (3,)), method)(backend.asarray(x))


def test_a_call_can_be_compiled():
    jax = pytest.importorskip("jax")
    network, x = Network([Dense(4)], (3,), backend="jax"), np.random.default_rng(0).normal(size=(5, 3))
    x = network.backend.asarray(x, "float32")
    np.testing.assert_allclose(to_numpy(jax.jit(network)(x)), to_numpy(network(x)), rtol=1e-5)


# What is printed


def test_a_network_prints_one_line_for_each_layer():
    network = Network([Conv2D(2, 3), ReLU(), Flatten(), Dense(3)], (8, 6, 1))
    head, *lines = repr(network).splitlines()
    for part in ("Network", "8 x 6 x 1", "3", f"{network.parameter_count} parameters", "float32", "numpy", "cpu"):
        assert part in head
    assert [line.split()[:2] for line in lines] == [[i.name, i.kind] for i in network.layer_info()]
    assert lines[0].endswith("6 x 4 x 2")
