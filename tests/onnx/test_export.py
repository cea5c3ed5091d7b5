"""What a network computes, its ONNX file computes in onnxruntime."""

import json

import numpy as np
import onnx
import pytest

from tests.helpers import refused
from tests.onnx.running import around, by_onnxruntime, inputs, shaken, small
from xpnet import models
from xpnet.layers import (
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Identity,
    Layer,
    LocalResponseNorm,
    MaxPool2D,
    Normalize,
    PReLU,
    ReLU,
    Residual,
    ScaleBy,
    Sequential,
    Sigmoid,
)
from xpnet.layers.examples import EXAMPLES
from xpnet.network import Network
from xpnet.onnx.export import to_model


def check_parity(network, **settings):
    model = to_model(network, **settings)
    onnx.checker.check_model(model, full_check=True)
    x = inputs(network)
    expected = network(x)
    actual = by_onnxruntime(model, x)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return model


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_layer(example):
    check_parity(around(*example))


@pytest.mark.parametrize("before", [[], [Conv2D(3, 2), Flatten()]], ids=["plain", "flattened"])
@pytest.mark.parametrize("shape", [(5,), (4, 5), (4, 5, 2)], ids=str)
def test_local_response_norm_of_vectors_and_sequences(shape, before):
    """In onnxruntime, which takes images alone; of flattened images the neighbours are xpnet's."""
    if before and len(shape) < 3:
        pytest.skip("only images are flattened")
    check_parity(shaken(Network([BatchNorm(), *before, LocalResponseNorm(3, alpha=0.5)], shape)))


@pytest.mark.parametrize("name", models.names())
def test_every_network(name):
    model = check_parity(small(name))
    operators = [node.op_type for node in model.graph.node]
    assert operators[0] == "Transpose"
    if "vit" not in name:  # whose heads are transposed
        assert operators.count("Transpose") == (2 if "unet" in name else 1)  # one more for images that come out


def test_flattened_images_reach_every_kind_of_layer_in_the_right_order():
    behind = [Flatten(), PReLU(), BatchNorm(), Residual(ReLU()), ScaleBy(Sequential([Dense(48), Sigmoid()]))]
    check_parity(shaken(Network([Conv2D(4, 3, padding=1), *behind, Dense(3)], (4, 3, 2))))


@pytest.mark.parametrize("last", [Flatten(), Sequential([Flatten(), ReLU()]), Identity()], ids=str)
def test_outputs_come_in_their_own_order_without_a_dense_layer(last):
    check_parity(shaken(Network([Conv2D(4, 3, padding=1), last], (4, 3, 2))))


def test_branches_of_which_one_was_flattened_as_it_came():
    flat = Sequential([Conv2D(2, 1), Flatten()])
    check_parity(shaken(Network([Concat([flat, Flatten()]), Dense(3)], (4, 3, 2))))


@pytest.mark.parametrize("pool", [MaxPool2D, AvgPool2D])
@pytest.mark.parametrize("size", [(5, 6), (7, 9), (8, 8)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 2, 0), (2, 3, 1), ((3, 2), (2, 3), (1, 0))])
def test_pools_whose_last_windows_reach_over_the_edge(pool, size, kernel, stride, padding):
    check_parity(around(pool(kernel, stride, padding, ceil=True), (*size, 2)))
    if pool is AvgPool2D:
        check_parity(around(pool(kernel, stride, padding, ceil=True, count_padding=False), (*size, 2)))


def test_settings_that_came_as_numbers_of_numpy():
    convolution = Conv2D(np.int64(4), [3, 3], groups=np.int32(2), bias=np.bool_(True))
    check_parity(Network([convolution, Flatten(), Dense(np.int64(3))], (5, 5, 2)))


def test_float64_and_newer_opsets():
    network = Network([ReLU(), Flatten(), Dense(3)], (5, 4, 2), dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 2))
    np.testing.assert_allclose(by_onnxruntime(to_model(network), x), network(x), rtol=1e-12, atol=1e-12)
    check_parity(shaken(Network([Conv2D(4, 3), ReLU(), Flatten(), Dense(3)], (5, 4, 2))), opset=22)


def test_the_file_says_what_it_is(tmp_path):
    network = Network([Normalize(), Flatten(), Dense(2)], (2, 2, 1))
    network.class_names = ("cat", "dög")
    network.to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert (model.producer_name, model.opset_import[0].version) == ("xpnet", 20)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["class_names"]) == ["cat", "dög"]
    assert properties["loss"] == "SoftmaxCrossEntropy"
    assert properties["xpnet_code"]
    assert {tensor.name for tensor in model.graph.initializer} >= {"dense1.weight", "normalize1.scale"}
    (batch, *_) = model.graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param


def test_dropout_stays_in_the_file():
    model = to_model(Network([Dense(4), Dropout(0.3), Dense(2)], (3,)))
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Dropout", "Gemm", "Identity"]


def test_names_that_the_graph_uses_itself():
    network = Network([("input", Dense(4)), ("output", Dense(4)), ("x", ReLU()), ("integers_1", Dense(2))], (3,))
    check_parity(shaken(network))


class Unknown(Layer):
    def output_shape(self, input_shape):
        return input_shape


def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch):
    network = Network([Dense(2), ("block", Sequential([("odd", Unknown())]))], (3,))
    with refused("Unknown 'block.odd'", "row"):
        network.to_onnx(tmp_path / "net.onnx")
    network = Network([Dense(2)], (3,))
    for opset in (19, 1000, "20", True):
        with refused("opset"):
            network.to_onnx(tmp_path / "net.onnx", opset=opset)
    with refused(str(tmp_path / "none"), "Create the folder"):
        network.to_onnx(tmp_path / "none" / "net.onnx")
    with refused("path"):
        network.to_onnx(None)  # pyright: ignore
    monkeypatch.setattr("xpnet.onnx.export.LARGEST_FILE", 10)
    with refused("2 GB"):
        network.to_onnx(tmp_path / "net.onnx")
    assert not list(tmp_path.iterdir())
