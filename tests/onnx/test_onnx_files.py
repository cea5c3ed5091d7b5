"""What of a file is read, and from where."""

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers import refused
from tests.onnx.running import draw, model_of, node, saved
from xpnet.layers import (
    Conv2D,
    Dense,
    Flatten,
)
from xpnet.network import Network
from xpnet.onnx.export import to_model


def external(folder, location, **entries):
    """A model with a weight in another file."""
    model = model_of([node("Conv", "x w", "y")], {"w": draw(4, 2, 1, 1)}, (2, 3, 4))
    (tensor,) = model.graph.initializer
    entries = {"location": location, **entries}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=str(value))
    return saved(model, folder)


def test_weights_beside_the_file(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"12345678" + draw(4, 2, 1, 1).tobytes())
    network = Network.from_onnx(external(tmp_path, "weights.bin", offset=8, length=32))
    assert np.array_equal(network.parameters()["conv1.weight"], draw(4, 2, 1, 1).reshape(4, 1, 1, 2))


def constant_external(folder, location):
    """A model whose weight is the value of a node and in another file."""
    path = external(folder, location)
    model = onnx.load(path, load_external_data=False)
    (tensor,) = model.graph.initializer
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], name="constant", value=tensor))
    del model.graph.initializer[:]
    return saved(model, folder)


def test_a_constant_is_read_beside_the_file_and_not_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "weights.bin").write_bytes(np.zeros((4, 2, 1, 1), np.float32).tobytes())
    path = constant_external(tmp_path / "model", "weights.bin")
    monkeypatch.chdir(tmp_path)
    with refused("tensor 'constant'", "beside the model"):
        Network.from_onnx(path)
    (tmp_path / "model" / "weights.bin").write_bytes(draw(4, 2, 1, 1).tobytes())
    weight = Network.from_onnx(path).parameters()["conv1.weight"]
    assert np.array_equal(weight, draw(4, 2, 1, 1).reshape(4, 1, 1, 2))


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "sub/weights.bin", "", "..", "link", "none"])
def test_weights_elsewhere_are_not_read(location, tmp_path):
    (tmp_path / "sub").mkdir()
    for path in (tmp_path / "weights.bin", tmp_path / "sub" / "weights.bin"):
        path.write_bytes(draw(4, 2, 1, 1).tobytes())
    (tmp_path / "sub" / "link").symlink_to(tmp_path / "weights.bin")
    with refused("tensor 'w'", "beside the model"):
        Network.from_onnx(external(tmp_path / "sub", location))


@pytest.mark.parametrize("entries", [{"offset": 1}, {"offset": -1}, {"length": 31}, {"offset": "x"}, {"offset": 2**70}])
def test_a_part_of_a_file_that_is_not_there(entries, tmp_path):
    (tmp_path / "weights.bin").write_bytes(draw(4, 2, 1, 1).tobytes())
    with refused("tensor 'w'", "weights.bin"):
        Network.from_onnx(external(tmp_path, "weights.bin", **entries))


def with_unused(folder, count, **entries):
    """The model with further tensors that no node uses, all in the same file."""
    model = onnx.load(external(folder, "weights.bin"), load_external_data=False)
    for index in range(count):
        tensor = model.graph.initializer.add(name=f"unused{index}")
        tensor.CopyFrom(model.graph.initializer[0])
        tensor.name = f"unused{index}"
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
    return saved(model, folder)


def test_bytes_of_another_file_are_read_once(tmp_path):
    (tmp_path / "weights.bin").write_bytes(draw(4, 2, 1, 1).tobytes() * 2)
    Network.from_onnx(with_unused(tmp_path, 1, offset=32))
    with refused("tensor 'unused1'", "overlap"):
        Network.from_onnx(with_unused(tmp_path, 2))


def test_other_files_above_2_gb_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "weights.bin").write_bytes(bytes(5000))
    path = external(tmp_path, "weights.bin")
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer.add(name="large", data_type=TensorProto.FLOAT, dims=[1000])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    Network.from_onnx(saved(model, tmp_path))
    monkeypatch.setattr("xpnet.onnx.reading.LARGEST_FILE", 4000)
    with refused("tensor 'large'", "2 GB"):
        Network.from_onnx(path)


@pytest.mark.parametrize("content", [b"", b"\0", b"not a model", b"\x08" + b"\xff" * 20, b"\x3a\xff\xff\x7f"])
def test_files_of_another_kind(content, tmp_path):
    (tmp_path / "net.onnx").write_bytes(content)
    with refused(str(tmp_path / "net.onnx")):
        Network.from_onnx(tmp_path / "net.onnx")


def test_a_file_above_2_gb_is_not_read(tmp_path):
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(2**31)
    with refused("at most 2 GB"):
        Network.from_onnx(tmp_path / "net.onnx")


def test_a_file_of_many_parts_is_refused_before_it_is_parsed(tmp_path):
    """A million empty nodes: 2 MB, which take 100 times as much once they are parsed."""
    nodes = b"\x0a\x00" * 1_000_000
    length = len(nodes)
    varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21])
    (tmp_path / "net.onnx").write_bytes(b"\x3a" + varint + nodes)
    with refused("nodes and tensors"):
        Network.from_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize("where", ["raw", "floats", "node"])
def test_large_weights_are_not_what_is_bounded(where, tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.onnx.reading.MOST_BESIDE_TENSORS", 10_000)
    weight = draw(200, 200)
    tensor = numpy_helper.from_array(weight, "w")
    if where == "floats":
        tensor = helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.ravel().tolist())
    model = model_of([node("MatMul", "x w", "y")], {}, (200,))
    if where == "node":
        model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    else:
        model.graph.initializer.append(tensor)
    assert np.array_equal(Network.from_onnx(saved(model, tmp_path)).parameters()["dense1.weight"], weight.T)
    model.doc_string = "x" * 10_000
    with refused("bytes beside"):
        Network.from_onnx(saved(model, tmp_path))


def test_weights_of_other_layers(tmp_path):
    path = saved(to_model(Network([Conv2D(4, 3), Flatten(), Dense(3)], (5, 4, 2))), tmp_path)
    with refused(str(path), "network's 1", "got 2"):
        Network([Flatten(), Dense(3)], (5, 4, 2)).load_tensors(path)
    with refused(str(path), "'dense1'"):
        Network([Conv2D(4, 3), Flatten(), Dense(5)], (5, 4, 2)).load_tensors(path)
    other = Network([Conv2D(4, 3), Flatten(), Dense(5)], (5, 4, 2), seed=3)
    head = other.parameters()["dense1.weight"].copy()
    other.load_tensors(path, replace_head=True)
    assert np.array_equal(other.parameters()["dense1.weight"], head)
    assert np.array_equal(other.parameters()["conv1.weight"], Network.from_onnx(path).parameters()["conv1.weight"])
