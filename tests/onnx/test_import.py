"""Files become networks that compute the same, and train."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.helpers import refused
from tests.onnx.running import around, by_onnxruntime, inputs, shaken, small
from xpnet import models
from xpnet.layers import (
    ELU,
    GELU,
    AdaptiveAvgPool2D,
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


def saved(model, folder):
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


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


def model_of(nodes, tensors, shape, *, output=("n", "m"), opset=13):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def draw(*shape):
    return np.random.default_rng(1).normal(size=shape).astype("float32")


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


def node(operator, inputs, output, **attributes):
    return helper.make_node(operator, inputs.split(), [output], name=f"the_{output}", **attributes)


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


# Graphs that are refused


def relu_of(name="x"):
    return node("Relu", name, "y")


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([node("LSTM", "x w w", "y")], ["'the_y' (LSTM)", "Known are", "Conv"]),
        ([node("Conv", "x x", "y")], ["'the_y' (Conv)", "constant"]),
        ([node("Conv", "x odd", "y")], ["'the_y' (Conv)", "2 channels", "(4, 3, 1, 1)"]),
        ([node("Relu", "z", "y")], ["'the_y' (Relu)", "'z'", "missing initializers"]),
        ([node("Add", "x r", "y"), node("Relu", "y", "r")], ["'the_y' (Add)", "'r'", "cycles"]),
        ([helper.make_node("Relu", ["x"], ["y"], name="mine", domain="com.example")], ["'mine'", "com.example"]),
        ([node("Concat", "x x", "y", axis=2)], ["'the_y' (Concat)", "axis"]),
        ([node("Transpose", "x", "y", perm=[0, 2, 1, 3])], ["'the_y' (Transpose)"]),
        ([node("Reshape", "x s", "y")], ["output", "Reshape"]),
        ([node("Conv", "x w", "p"), node("Reshape", "p n", "y")], ["'the_y' (Reshape)"]),
        ([node("Mul", "x m", "y")], ["'the_y' (Mul)", "(4,)"]),
        ([node("MaxPool", "x", "y", kernel_shape=[9, 9])], ["'the_y' (MaxPool)", "window"]),
        ([node("HardSigmoid", "x", "y")], ["'the_y' (HardSigmoid)", "alpha"]),
        ([node("BatchNormalization", "x one one one below", "y")], ["'the_y' (BatchNormalization)", "variance"]),
        ([node("LRN", "x", "y", size=2)], ["'the_y' (LRN)", "odd"]),
        ([node("Tanh", "x", "p"), node("Relu", "x", "q"), node("Mul", "p q", "y")], ["'the_y' (Mul)", "branch"]),
        (
            [helper.make_node("Split", ["x"], ["a", "b"], axis=1), node("Relu", "b", "y")],
            ["'the_y' (Relu)", "'b'", "first outputs"],
        ),
        ([node("Expand", "s s", "y")], ["'the_y' (Expand)", "constants"]),
        ([node("ConstantOfShape", "big", "c"), node("Mul", "x c", "y")], ["'the_c' (ConstantOfShape)", "at most"]),
        ([node("Relu", "w", "y")], ["(Relu)"]),
        ([node("Relu", "x", "y"), node("Tanh", "x", "y")], ["'the_y' (Tanh)", "known"]),
        ([node("Softmax", "x", "y", axis="last")], ["'the_y' (Softmax)", "axis", "INT", "STRING"]),
        ([node("Conv", "x", "y")], ["'the_y' (Conv)", "input size 1"]),
        ([node("Relu", "x", "y"), node("Identity", "w", "y2")], ["output"]),
    ],
)
def test_what_layers_cannot_say_is_refused_by_the_node(nodes, words, tmp_path):
    tensors = {
        "w": draw(4, 2, 1, 1),
        "odd": draw(4, 3, 1, 1),
        "m": draw(4),
        "one": np.ones(2, np.float32),
        "below": np.asarray([1, -0.5], np.float32),
        "s": np.asarray([0, 2, 12]),
        "big": np.asarray([2**40]),
        "n": np.asarray([0, 3, 5]),
    }
    model = model_of(nodes, tensors, (2, 3, 4))
    with refused(str(tmp_path / "net.onnx"), *words):
        Network.from_onnx(saved(model, tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_an_operator_whose_name_is_not_text_is_refused(tmp_path):
    content = model_of([relu_of()], {}, (2, 3, 4)).SerializeToString().replace(b"Relu", b"Re\xffu")
    (tmp_path / "net.onnx").write_bytes(content)
    with refused("'the_y'", "an operator that is known"):
        Network.from_onnx(tmp_path / "net.onnx")


def test_a_value_that_several_branches_need_is_refused(tmp_path):
    tensors = {name: draw(2, 2, 1, 1) for name in "ab"}
    nodes = [
        *(node("Conv", "x a", "p"), node("Relu", "p", "q"), node("Conv", "q b", "r")),
        *(node("Add", "p r", "s"), node("Add", "x q", "t"), node("Add", "s t", "y")),
    ]
    with refused("'the_", "several"):
        Network.from_onnx(saved(model_of(nodes, tensors, (2, 3, 4)), tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: setattr(model.opset_import[0], "version", 99), ["opset", "99"]),
        (lambda model: model.ClearField("opset_import"), ["opset", "none"]),
        (lambda model: model.graph.input[0].type.tensor_type.shape.dim[2].ClearField("dim_value"), ["'x'", "'?'"]),
        (lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"), ["'x'", "[]"]),
        (lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 8), ["'x'", "real numbers"]),
        (lambda model: model.graph.output.append(model.graph.output[0]), ["one output", "2"]),
        (lambda model: model.graph.ClearField("output"), ["one output", "0"]),
        (lambda model: model.graph.ClearField("input"), ["one input"]),
        (lambda model: model.functions.append(onnx.FunctionProto(name="mine")), ["functions"]),
        (lambda model: setattr(model.graph.initializer[0], "data_type", 8), ["'w'"]),
        (lambda model: model.graph.initializer[0].dims.append(7), ["'w'"]),
        (lambda model: model.graph.initializer[0].dims.__setitem__(0, -4), ["'w'", "[-4, 2, 1, 1]"]),
        (lambda model: setattr(model.graph.initializer[0], "raw_data", b"1"), ["'w'"]),
        (lambda model: model.graph.initializer[0].ClearField("data_type"), ["'w'"]),
    ],
)
def test_graphs_of_another_kind_are_refused(change, words, tmp_path):
    model = model_of([node("Conv", "x w", "y")], {"w": draw(4, 2, 1, 1)}, (2, 3, 4))
    change(model)
    with refused(str(tmp_path / "net.onnx"), *words):
        Network.from_onnx(saved(model, tmp_path))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = model_of([node("Conv", "x w", "y")], {"w": np.full((4, 2, 1, 1), np.nan, np.float32)}, (2, 3, 4))
    with refused("finite", "conv1.weight"):
        Network.from_onnx(saved(model, tmp_path))


def test_branches_nested_without_end_are_refused(tmp_path):
    nodes = [node("Add", "x x", "v0")]
    for depth in range(1, 100):
        nodes.append(node("Tanh", f"v{depth - 1}", f"t{depth}"))
        nodes.append(node("Add", f"t{depth} x", f"v{depth}"))
    with refused("deep"):
        Network.from_onnx(saved(model_of(nodes, {}, (2, 3, 4)), tmp_path))


# Files


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
