"""Files become networks that compute the same, and train."""

import dataclasses

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import numpy_helper

from tests.helpers import refused
from tests.onnx.running import around, by_onnxruntime, draw, inputs, model_of, node, saved, shaken, small
from xpnet import models
from xpnet.layers import (
    ELU,
    GELU,
    AdaptiveAvgPool2D,
    AvgPool2D,
    BatchNorm,
    ChannelShuffle,
    ClassToken,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    FirstPlace,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    HardSwish,
    Identity,
    LayerNorm,
    LeakyReLU,
    LocalResponseNorm,
    MaxPool2D,
    Normalize,
    ReLU,
    Residual,
    RMSNorm,
    ScaleBy,
    SelfAttention,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Upsample2D,
    ZeroPad2D,
)
from xpnet.layers.examples import EXAMPLES
from xpnet.network import Network
from xpnet.onnx.export import to_model
from xpnet.optimizers import Adam


def round_trip(network, folder):
    return Network.from_onnx(saved(to_model(network), folder))


def check_round_trip(network, folder):
    x, back = inputs(network), round_trip(network, folder)
    expected = network(x)
    assert back.input_shape == network.input_shape
    np.testing.assert_allclose(back(x), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    return back


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_layer_comes_back(example, tmp_path):
    if isinstance(example.layer, Softmax) and len(example.input_shape) == 1:
        network = around(*example)
        x, back = inputs(network), round_trip(network, tmp_path)
        np.testing.assert_allclose(back.predict_proba(x), network(x), rtol=1e-5, atol=1e-6)
    else:
        check_round_trip(around(*example), tmp_path)


@pytest.mark.parametrize("name", models.names())
def test_every_network_comes_back_and_trains(name, tmp_path):
    network = small(name, dropout=False)  # whose bits follow from the places of layers
    back = check_round_trip(network, tmp_path)
    assert back.parameter_count == network.parameter_count
    other = small(name, seed=5, dropout=False)
    other.set_normalization(0.0, 1.0)
    other.load_tensors(tmp_path / "net.onnx")
    assert all(np.array_equal(theirs, other.tensors()[key]) for key, theirs in network.tensors().items())

    x, before = inputs(network), network(inputs(network))
    targets = np.resize([0, 1, 2], (3, *network.output_shape[:-1]))
    for net in (network, back):
        _, gradient, _, net.state = net.loss_and_gradient(net.theta, net.state, x, targets)
        net.theta = net.theta - 0.01 * gradient
    change = np.abs(network(x) - before).max()
    assert change > 0
    np.testing.assert_allclose(back(x), network(x), atol=0.01 * change)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (RMSNorm(1e-3), (5, 3)),
        (ClassToken(), (4, 3)),
        (FirstPlace(), (4, 3)),
        (AdaptiveAvgPool2D((3, 5)), (4, 3, 2)),
        (SelfAttention(2), (4, 12)),
        (SelfAttention(2, causal=True), (4, 12)),
        (SelfAttention(2, mask=("11", "01")), (2, 12)),
    ],
    ids=str,
)
def test_several_nodes_become_one_layer_again(layer, shape, tmp_path):
    (_, found) = check_round_trip(around(layer, shape), tmp_path).layer.layers[-1]
    assert type(found) is type(layer)
    given, back = (getattr(each, "eps", None) or each for each in (layer, found))
    assert back == (pytest.approx(given) if isinstance(given, float) else given)


@pytest.mark.parametrize(
    ("layer", "shape", "constant", "change"),
    [
        (RMSNorm(), (5, 3), "integers_-1", lambda axes: axes - 1),
        (ClassToken(), (4, 3), "tested.zero", lambda zero: zero + 1),
        (ClassToken(), (4, 3), "integers_0", lambda start: start + 1),
        (FirstPlace(), (4, 3), "tested.index", lambda index: index + 1),
        (AdaptiveAvgPool2D((3, 5)), (4, 3, 2), "tested.rows", lambda rows: rows + 0.1),
        (SelfAttention(2), (4, 12), "tested.scale", lambda scale: 2 * scale),
        (SelfAttention(2), (4, 12), "integers_4", lambda end: end - 1),
        (SelfAttention(2, causal=True), (4, 12), "tested.mask", lambda mask: mask + 1),
        (SelfAttention(2, causal=True), (4, 12), "tested.mask", lambda mask: mask - np.inf),
    ],
)
def test_nodes_that_compute_something_else_do_not(layer, shape, constant, change, tmp_path):
    model = to_model(around(layer, shape))
    (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == constant]
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), constant))
    with refused("ONNX node 'tested"):
        Network.from_onnx(saved(model, tmp_path))


@pytest.mark.parametrize("shape", [(5,), (4, 5)], ids=str)
def test_local_response_norm_of_vectors_and_sequences_comes_back(shape, tmp_path):
    network = shaken(Network([BatchNorm(), LocalResponseNorm(3, alpha=0.5)], shape))
    assert kinds(check_round_trip(network, tmp_path)) == [BatchNorm, LocalResponseNorm]


def test_neighbours_along_another_axis_are_refused(tmp_path):
    nodes = [node("Unsqueeze", "x a", "u"), node("LRN", "u", "n", size=3), node("Squeeze", "n a", "y")]
    with refused("'the_n' (LRN)"):
        Network.from_onnx(saved(model_of(nodes, {"a": np.asarray([1, 2])}, (5,)), tmp_path))


@pytest.mark.parametrize(
    ("layer", "shape"), [(GroupNorm(2), (6,)), (AvgPool2D(2, 2, 1, ceil=True), (5, 5, 2))], ids=["group_norm", "pool"]
)
def test_exports_that_the_page_names_as_refused_are(layer, shape, tmp_path):
    with refused("'tested"):
        round_trip(around(layer, shape), tmp_path)


def test_an_image_of_one_pixel_comes_back_as_a_vector(tmp_path):
    back = round_trip(Network([Conv2D(5, 3), AdaptiveAvgPool2D(1)], (6, 7, 2)), tmp_path)
    assert back.output_shape == (5,)


def kinds(network):
    return [type(layer) for _, layer in network.layer.layers]


def test_nodes_become_the_layers_that_they_came_from(tmp_path):
    layers = [
        *(Normalize(), ZeroPad2D(((0, 1), (2, 1))), Conv2D(4, 3), GroupNorm(groups=2), SiLU(), ChannelShuffle(2)),
        *(Residual(Sequential([BatchNorm(), Conv2D(4, 1)])), HardSwish(), MaxPool2D(3, 2, ceil=True), Upsample2D(2)),
        Concat([Identity(), Conv2D(2, 3, padding=1)]),
        ScaleBy(Sequential([GlobalAvgPool2D(), Dense(6), Sigmoid()])),
        *(GELU(), GlobalAvgPool2D(), Dropout(0.3), Dense(3)),
    ]
    back = check_round_trip(shaken(Network(layers, (9, 8, 2))), tmp_path)
    assert kinds(back) == [type(layer) for layer in layers]
    assert isinstance(back.layer.layers[-2][1], Dropout)


@pytest.mark.parametrize(
    "layer",
    [BatchNorm(0.3, 1e-3), LayerNorm(1e-3), GroupNorm(2, eps=1e-3), LeakyReLU(0.2), ELU(0.5), Dropout(0.25)],
    ids=str,
)
def test_settings_come_back(layer, tmp_path):
    network = Network([("a", Conv2D(4, 1)), ("b", layer), ("c", Conv2D(2, 1))], (3, 4, 2))
    (found,) = [inner for _, inner in round_trip(network, tmp_path).layer.layers if type(inner) is type(layer)]
    given, back = (list(dataclasses.asdict(layer).values()) for layer in (layer, found))
    np.testing.assert_allclose(back, given, rtol=1e-6)


def test_a_network_from_a_file_trains(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6, 6, 1)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype("int32")
    network = Network([Conv2D(4, 3), ReLU(), Flatten(), Dense(2), Softmax()], (6, 6, 1))
    network.class_names = ("dark", "bright")
    back = round_trip(network, tmp_path)
    assert back.class_names == ("dark", "bright")
    np.testing.assert_allclose(back.predict_proba(x), network(x), rtol=1e-5, atol=1e-6)
    before = back.evaluate(x, y).loss
    back.fit(x, y, epochs=40, optimizer=Adam(0.01), progress=False)
    assert back.evaluate(x, y).loss < before / 2


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_on_another_library(tmp_path, backend):
    pytest.importorskip(backend)
    network = shaken(Network([Conv2D(4, 3), ReLU(), Flatten(), Dense(3)], (5, 4, 2)))
    back = Network.from_onnx(saved(to_model(network), tmp_path), backend=backend)
    x = inputs(network)
    np.testing.assert_allclose(back(x), network(x), rtol=1e-4, atol=1e-4)


# Graphs that other programs write


def check_against_onnxruntime(model, folder, shape):
    onnx.checker.check_model(model)
    x = draw(2, *shape)
    expected = by_onnxruntime(model, x)
    network = Network.from_onnx(saved(model, folder))
    images = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    actual = network(images)
    actual = np.moveaxis(actual, -1, 1) if actual.ndim == 4 else actual
    np.testing.assert_allclose(actual.reshape(expected.shape), expected, rtol=1e-4, atol=1e-5)
    return network


def test_a_flattened_image_with_its_channels_in_front(tmp_path):
    tensors = {"w": draw(24, 5), "b": draw(5), "s": np.asarray([-1, 24])}
    nodes = [node("Reshape", "x s", "f"), node("MatMul", "f w", "p"), node("Add", "p b", "y")]
    network = check_against_onnxruntime(model_of(nodes, tensors, (2, 3, 4)), tmp_path, (2, 3, 4))
    assert network.input_shape == (3, 4, 2)
    assert kinds(network) == [Flatten, Dense]


def test_scale_and_shift_become_part_of_the_layer_before(tmp_path):
    tensors = {
        "w": draw(4, 2, 3, 3),
        "a": draw(4, 1, 1),
        "b": draw(1, 4, 1, 1),
        "c": np.asarray(0.5, np.float32),
        "m": draw(2, 1, 1),
    }
    nodes = [
        node("Sub", "x m", "z"),
        node("Conv", "z w", "p", pads=[1, 1, 1, 1]),
        node("Mul", "a p", "q"),
        node("Add", "q b", "r"),
        node("Div", "r c", "s"),
        node("Sub", "c s", "y"),
    ]
    model = model_of(nodes, tensors, (2, 5, 4), output=("n", 4, 5, 4))
    assert kinds(check_against_onnxruntime(model, tmp_path, (2, 5, 4))) == [Normalize, Conv2D]


@pytest.mark.parametrize("how", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("operator", ["Conv", "AveragePool", "MaxPool"])
def test_padding_that_the_operator_finds_itself(operator, how, tmp_path):
    inputs = "x w" if operator == "Conv" else "x"
    nodes = [node(operator, inputs, "y", auto_pad=how, kernel_shape=[2, 3], strides=[1, 2])]
    model = model_of(
        nodes, {"w": draw(4, 2, 2, 3)} if operator == "Conv" else {}, (2, 5, 6), output=("n", None, None, None)
    )
    nodes.insert(0, node("Conv", "x v", "first"))
    if operator != "Conv" and how != "VALID":
        with refused("'the_y'", "padding"):
            Network.from_onnx(saved(_with_convolution(model), tmp_path))
    else:
        check_against_onnxruntime(_with_convolution(model), tmp_path, (2, 5, 6))


def _with_convolution(model):
    """A 1x1 convolution in front, for a network must have parameters."""
    model.graph.node[0].input[0] = "first"
    model.graph.node.insert(0, node("Conv", "x v", "first"))
    model.graph.initializer.append(numpy_helper.from_array(draw(2, 2, 1, 1), "v"))
    return model


def test_squeeze_and_excitation_by_convolutions(tmp_path):
    tensors = {"w": draw(3, 2, 1, 1), "d": draw(2, 3, 1, 1), "u": draw(3, 2, 1, 1)}
    nodes = [
        node("Conv", "x w", "c"),
        *(node("GlobalAveragePool", "c", "g"), node("Conv", "g d", "h"), node("Relu", "h", "i")),
        *(node("Conv", "i u", "j"), node("Sigmoid", "j", "k"), node("Mul", "k c", "y")),
    ]
    model = model_of(nodes, tensors, (2, 5, 4), output=("n", 3, 5, 4))
    assert kinds(check_against_onnxruntime(model, tmp_path, (2, 5, 4))) == [Conv2D, ScaleBy]


def test_branches_in_branches(tmp_path):
    tensors = {name: draw(2, 2, 1, 1) for name in "abcd"}
    nodes = [
        *(node("Conv", "x a", "p"), node("Conv", "p b", "q"), node("Relu", "p", "r"), node("Add", "q r", "s")),
        *(node("Tanh", "s", "t"), node("Conv", "x c", "u"), node("Concat", "t u x", "y", axis=1)),
    ]
    model = model_of(nodes, tensors, (2, 3, 4), output=("n", 6, 3, 4))
    assert kinds(check_against_onnxruntime(model, tmp_path, (2, 3, 4))) == [Concat]


def test_gelu_of_before_opset_20(tmp_path):
    tensors = {"w": draw(2, 4), "root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    nodes = [
        *(node("MatMul", "x w", "p"), node("Div", "p root", "q"), node("Erf", "q", "r"), node("Add", "one r", "s")),
        *(node("Mul", "p s", "t"), node("Mul", "half t", "y")),
    ]
    assert kinds(check_against_onnxruntime(model_of(nodes, tensors, (2,)), tmp_path, (2,))) == [Dense, GELU]


def test_rms_norm_and_silu_of_opset_24(tmp_path):
    if onnx.defs.onnx_opset_version() < 24:
        pytest.skip("onnx does not know opset 24")
    nodes = [
        node("RMSNormalization", "x w", "n", epsilon=0.5),
        *(node("MatMul", "n a", "m"), node("Swish", "m", "s"), node("MatMul", "s b", "y")),
    ]
    model = model_of(nodes, {"w": draw(6), "a": draw(6, 6), "b": draw(6, 6)}, (4, 6), opset=24)
    network, x = Network.from_onnx(saved(model, tmp_path)), draw(2, 4, 6)
    assert kinds(network) == [RMSNorm, Dense, SiLU, Dense]
    (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(network(x), expected, rtol=1e-4, atol=1e-5)
    nodes[2] = node("Swish", "m", "s", alpha=2.0)
    with refused("'the_s' (Swish)", "alpha 1, got 2"):
        Network.from_onnx(
            saved(model_of(nodes, {"w": draw(6), "a": draw(6, 6), "b": draw(6, 6)}, (4, 6), opset=24), tmp_path)
        )


def test_each_layer_joined_with_all_before_it(tmp_path):
    """As PyTorch writes a DenseNet."""
    tensors = {"a": draw(3, 2, 1, 1), "b": draw(3, 5, 1, 1), "c": draw(3, 8, 1, 1)}
    nodes = [
        *(node("Concat", "x", "d", axis=1), node("Conv", "d a", "e"), node("Concat", "x e", "f", axis=1)),
        *(node("Conv", "f b", "g"), node("Concat", "x e g", "h", axis=1), node("Conv", "h c", "i")),
        node("Concat", "x e g i", "y", axis=1),
    ]
    model = model_of(nodes, tensors, (2, 3, 4), output=("n", 11, 3, 4))
    assert kinds(check_against_onnxruntime(model, tmp_path, (2, 3, 4))) == [Concat, Concat, Concat]


def test_global_pooling_that_keeps_height_and_width(tmp_path):
    tensors = {"w": draw(5, 2, 1, 1)}
    nodes = [node("GlobalAveragePool", "x", "g"), node("Conv", "g w", "y")]
    model = model_of(nodes, tensors, (2, 3, 4), output=("n", 5, 1, 1))
    network = check_against_onnxruntime(model, tmp_path, (2, 3, 4))
    assert kinds(network) == [AdaptiveAvgPool2D, Conv2D, Flatten]
    assert network.output_shape == (5,)
