"""Weights from PyTorch's files. Whole networks are compared with PyTorch's own in tests/models/test_torch_parity.py."""

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.helpers import assert_close, refused
from xpnet import models, torch_weights
from xpnet.layers import (
    BatchNorm,
    ClassToken,
    Conv1D,
    Conv2D,
    Dense,
    Flatten,
    LearnedPositions,
    MaxPool2D,
    Normalize,
    ReLU,
    Sequential,
)
from xpnet.layout import walk
from xpnet.network import Network
from xpnet.torch_weights import torch_name, torch_tensors

IMAGE = (5, 6, 2)


def small_network(classes=3, **settings):
    """Two dense layers, of which the first one sees flattened images, through a batch normalisation."""
    layers = [
        Normalize(),
        Conv2D(4, (3, 2)),
        ReLU(),
        Flatten(),
        BatchNorm(),
        Dense(5),
        ReLU(),
        Dense(classes),
    ]
    return Network(Sequential(layers), IMAGE, **settings)


def files_tensors(classes=3):
    """A file for it, as PyTorch would have it."""
    rng = np.random.default_rng(4)
    shapes = {
        "conv1.weight": (4, 2, 3, 2),
        "conv1.bias": (4,),
        "bn1.weight": (60,),
        "bn1.bias": (60,),
        "bn1.running_mean": (60,),
        "bn1.running_var": (60,),
        "dense1.weight": (5, 60),
        "dense1.bias": (5,),
        "dense2.weight": (classes, 5),
        "dense2.bias": (classes,),
    }
    tensors = {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}
    return {**tensors, "bn1.num_batches_tracked": np.array(7)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


def load(path, tensors, network=None, **options):
    save_file(tensors, path)
    network = network or small_network()
    network.load_tensors(path, **options)
    return network


def test_convolutions_and_flattened_pixels_change_places(path):
    tensors = files_tensors()
    network = load(path, tensors)
    ours = {**network.parameters(), **{f"bn1.{name}": value for name, value in network.state["bn1"].items()}}
    for o, i, row, column in np.ndindex(4, 2, 3, 2):
        assert ours["conv1.weight"][o, row, column, i] == tensors["conv1.weight"][o, i, row, column]
    for row, column, channel in np.ndindex(3, 5, 4):
        here, there = (row * 5 + column) * 4 + channel, (channel * 3 + row) * 5 + column
        assert np.array_equal(ours["dense1.weight"][:, here], tensors["dense1.weight"][:, there])
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert ours[f"bn1.{name}"][here] == tensors[f"bn1.{name}"][there]
    for name in ("conv1.bias", "dense1.bias", "dense2.weight", "dense2.bias"):
        assert np.array_equal(ours[name], tensors[name])


def test_the_way_back_gives_the_files_tensors(path):
    tensors = files_tensors()
    network = load(path, tensors)
    ours = dict([*network.parameters().items(), *walk(network.state)])
    shapes = {name: tensor.shape for name, tensor in ours.items()}
    for name, place in torch_tensors(network.layer.leaves(IMAGE), shapes, torch_name).items():
        np.testing.assert_array_equal(place.to_torch(ours[name]), tensors[place.name], strict=True)


def test_the_same_as_pytorch_from_its_own_file(path):
    """Pools and rectifiers between Flatten and the images, and as many units as pixels: a bias keeps its order."""
    torch = pytest.importorskip("torch")
    twin = torch.nn.Sequential(
        *(torch.nn.Conv2d(2, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten()),
        *(torch.nn.Linear(18, 18), torch.nn.ReLU(), torch.nn.Linear(18, 4)),
    )
    layers = [Conv2D(3, 3, padding=1), ReLU(), MaxPool2D(2), Flatten(), Dense(18), ReLU(), Dense(4)]
    network = Network(Sequential([("body", Sequential.numbered(layers))]), IMAGE)
    images = np.random.default_rng(0).normal(size=(3, *IMAGE)).astype(np.float32)
    expected = twin(torch.tensor(np.moveaxis(images, -1, 1).copy())).detach().numpy()
    torch.save(twin.state_dict(), path.with_suffix(".pth"))
    network.load_tensors(path.with_suffix(".pth"), torch_name=lambda name: name.removeprefix("body."))
    np.testing.assert_allclose(network(images), expected, rtol=1e-4, atol=1e-5)


def test_convolutions_of_sequences_and_dense_layers_that_are_convolutions(path):
    """The latter is how timm writes VGG's: a kernel as large as the image."""
    rng = np.random.default_rng(1)
    conv, whole = rng.normal(size=(4, 2, 3)).astype("f4"), rng.normal(size=(5, 4, 2, 3)).astype("f4")
    line = Network([("conv", Conv1D(4, 3, bias=False))], (6, 2))
    load(path, {"conv.weight": conv}, line)
    np.testing.assert_array_equal(line.parameters()["conv.weight"], np.moveaxis(conv, 1, 2))
    dense = Network([Flatten(), ("fc", Dense(5))], (2, 3, 4))
    load(path, {"fc.weight": whole, "fc.bias": np.zeros(5, "f4")}, dense)
    image = rng.normal(size=(1, 2, 3, 4)).astype("f4")
    np.testing.assert_allclose(dense(image)[0], np.einsum("ochw,hwc->o", whole, image[0]), rtol=1e-4, atol=1e-5)
    with refused("'fc.weight' is (5, 4, 3, 3) in the file and (5, 24) in the network"):
        load(path, {"fc.weight": np.zeros((5, 4, 3, 3), "f4"), "fc.bias": np.zeros(5, "f4")}, dense)


def test_a_class_token_and_positions_are_parameters_without_a_module_in_timm(path):
    network = Network([("cls_token", ClassToken()), ("pos_embed", LearnedPositions())], (2, 3))
    token, positions = np.arange(3.0, dtype="f4").reshape(1, 1, 3), np.arange(9.0, dtype="f4").reshape(1, 3, 3)
    load(path, {"cls_token": token, "pos_embed": positions}, network)
    assert network.parameters()["cls_token.weight"].tolist() == [0, 1, 2]
    np.testing.assert_array_equal(network.parameters()["pos_embed.weight"], positions[0])
    with refused("'pos_embed' is (1, 4, 3) in the file and (1, 3, 3) in the network"):
        load(path, {"cls_token": token, "pos_embed": np.zeros((1, 4, 3), "f4")}, network)


def test_names_of_residual_blocks():
    assert torch_name("layer2.0.residual.branch.bn1.running_mean") == "layer2.0.bn1.running_mean"
    assert torch_name("layer2.0.residual.shortcut.1.weight") == "layer2.0.downsample.1.weight"
    assert torch_name("features.0.weight") == "features.0.weight"


def test_normalization_stays_as_it_is(path):
    network = small_network()
    network.set_normalization([1.0, 2.0], 3.0)
    assert load(path, files_tensors(), network).state["normalize1"]["mean"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_other_backends_and_dtypes(path, library):
    pytest.importorskip(library)
    expected = load(path, files_tensors())
    network = load(path, files_tensors(), small_network(backend=library, dtype="float64"))
    assert network.theta.dtype == network.backend.dtype("float64")
    assert_close(network.theta, network.backend.asarray(expected.theta, "float64"))
    assert_close(
        network.state["bn1"]["running_var"], network.backend.asarray(expected.state["bn1"]["running_var"], "float64")
    )


def test_a_new_head(path):
    network = small_network(classes=7)
    before = network.parameters()
    after = load(path, files_tensors(classes=3), network, replace_head=True).parameters()
    for name in ("dense2.weight", "dense2.bias"):
        assert np.array_equal(after[name], before[name])
    assert np.array_equal(after["dense1.bias"], files_tensors()["dense1.bias"])

    without_head = {name: tensor for name, tensor in files_tensors().items() if not name.startswith("dense2")}
    same = load(path, without_head, small_network(classes=7), replace_head=True)
    assert_close(same.theta, network.theta)


def without(name):
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (without("bn1.running_var"), ["'bn1.running_var', for 'bn1.running_var' of the network, is not in the file"]),
        (without("dense2.bias"), ["'dense2.bias'", "not in the file"]),
        (lambda t: {**t, "conv2.weight": t["conv1.weight"]}, ["'conv2.weight' is in the file but not in the network"]),
        (lambda t: {**t, "conv1.weight": t["conv1.weight"][:, :1]}, ["'conv1.weight' is (4, 1, 3, 2) in the file and"]),
        (lambda t: {**t, "dense1.weight": t["dense1.weight"][:, 1:]}, ["(5, 59) in the file and (5, 60)", "Use the"]),
        (lambda t: files_tensors(classes=9), ["'dense2.weight' is (9, 5)", "replace_head=True"]),
        (lambda t: {**t, "bn1.bias": t["bn1.bias"].astype(np.int32)}, ["'bn1.bias' to hold float32", "got int32"]),
    ],
)
def test_files_that_do_not_fit_are_refused(path, change, parts):
    network = small_network()
    before = network.theta.copy()
    with refused(f"Weights file {path}: ", *parts):
        load(path, change(files_tensors()), network)
    assert np.array_equal(network.theta, before)


def test_a_residual_blocks_tensor_is_named_as_in_the_file_and_as_in_the_network(path):
    network = models.create("resnet18", input_shape=(8, 8, 3), stem="small")
    with refused("'conv1.weight', for 'conv1.weight' of the network"):
        load(path, {}, network)
    stem = {"conv1.weight": np.zeros((64, 3, 3, 3)), "bn1.weight": np.ones(64), "bn1.bias": np.ones(64)}
    with refused("'layer1.0.conv1.weight', for 'layer1.0.residual.branch.conv1.weight' of the network"):
        load(path, stem, network)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth"])
def test_files_that_cannot_be_read_are_refused(tmp_path, name):
    if name.endswith(".pth"):
        pytest.importorskip("torch")
    with refused(f"{name}: expected a .pth or .safetensors file, found none"):
        small_network().load_tensors(tmp_path / name)
    for content in (b"", b"abc", b"\x80\x02}q\x00." * 9):
        (tmp_path / name).write_bytes(content)
        with refused(f"{name}", "a state_dict of tensors", "got something else"):
            small_network().load_tensors(tmp_path / name)


def test_other_content_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "model.pth"
    for content in (torch.nn.Linear(2, 2), {"model": {"weight": torch.ones(2)}}, torch.ones(2), {"epoch": 3}):
        torch.save(content, path)
        with refused("model.pth: expected a state_dict of tensors", "Save model.state_dict() alone"):
            small_network().load_tensors(path)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_no_code_of_a_file_is_run(tmp_path, protocol):
    torch = pytest.importorskip("torch")
    torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, tmp_path / "model.pth", pickle_protocol=protocol)
    with refused("model.pth", "a state_dict of tensors", "got something else (it names "):
        small_network().load_tensors(tmp_path / "model.pth")
    assert not (tmp_path / "sprung").exists()


def test_pytorch_is_told_to_run_no_code_too(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    torch.save({"conv1.weight": Trap(tmp_path / "sprung")}, tmp_path / "model.pth")
    monkeypatch.setattr(torch_weights, "_check_pickles", lambda path: None)
    with refused("model.pth: expected a state_dict of tensors"):
        small_network().load_tensors(tmp_path / "model.pth")
    assert not (tmp_path / "sprung").exists()


def test_without_pytorch_the_message_says_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with refused('Install it with: pip install "xpnet[torch]"; or give a .safetensors file'):
        small_network().load_tensors(tmp_path / "weights.pth")


def test_a_pytorch_that_is_there_but_fails_says_so(tmp_path, broken):
    (tmp_path / "weights.pth").write_bytes(b"")
    broken("torch", ImportError("libtorch.so: cannot open shared object file"))
    with refused("torch: is installed but cannot be loaded (libtorch.so: cannot open shared object file)."):
        small_network().load_tensors(tmp_path / "weights.pth")


def test_a_safetensors_file_needs_no_pytorch(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert np.array_equal(load(path, files_tensors()).parameters()["conv1.bias"], files_tensors()["conv1.bias"])
