"""Graphs that layers cannot say, or that ask for too much, are refused by the node."""

import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, helper

from tests.helpers import refused
from tests.onnx.running import draw, model_of, node, saved
from xpnet.network import Network


def relu_of(name="x"):
    return node("Relu", name, "y")


def branch_of_x():
    """A graph inside a node, which takes a value of the graph around it."""
    return helper.make_graph([relu_of()], "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])


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
        ([node("Conv", "x w", "y", strides=[0, 1])], ["'the_y' (Conv)", "strides", "at least 1", "[0, 1]"]),
        ([node("MaxPool", "x", "y", kernel_shape=[1, 1], dilations=[1, 0])], ["'the_y' (MaxPool)", "dilations"]),
        ([node("Concat", "x w", "y", axis=1)], ["'the_y' (Concat)", "several inputs", "got one"]),
        (
            [node("Flatten", "x", "f"), node("Gemm", "f g", "p"), node("Add", "p f", "y")],
            ["'the_y' (Add)", "order", "before the Flatten"],
        ),
        (
            [node("If", "true", "y", **{f"{way}_branch": branch_of_x() for way in ("then", "else")})],
            ["'the_y' (If)", "Known are", "Conv"],
        ),
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
        "g": draw(24, 24),
        "true": np.asarray(True),
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
        (lambda model: model.graph.input[0].type.tensor_type.ClearField("shape"), ["'x'", "without a shape"]),
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


def test_constants_of_constants_are_bounded_before_they_are_made(tmp_path):
    """A file of some kilobytes, whose Concats or Gather would make 40 GB and 4 TB."""
    halves = [node("Concat", " ".join(["a"] * 1000), "b", axis=0), node("Concat", " ".join(["b"] * 1000), "c", axis=0)]
    last = [node("Conv", "x w", "q"), node("Add", "q c", "y")]
    tensors = {"w": draw(4, 2, 1, 1), "a": draw(10_000)}
    with refused("'the_c' (Concat)", "constants of at most"):
        Network.from_onnx(saved(model_of([*halves, *last], tensors, (2, 3, 4)), tmp_path))
    tensors = {**tensors, "a": draw(1, 1_000_000), "i": np.zeros(1_000_000, np.int64)}
    with refused("'the_c' (Gather)", "constants of at most"):
        Network.from_onnx(saved(model_of([node("Gather", "a i", "c"), *last], tensors, (2, 3, 4)), tmp_path))


def test_statistics_of_the_batch_are_refused(tmp_path):
    tensors = {name: np.abs(draw(2)) for name in "sbmv"}
    last = helper.make_node("BatchNormalization", ["x", *"sbmv"], ["y", "mean", "var"], name="the_y", training_mode=1)
    with refused("'the_y' (BatchNormalization)", "training_mode"):
        Network.from_onnx(saved(model_of([last], tensors, (2, 3, 4), opset=15), tmp_path))


_FAR = 2**40


@pytest.mark.parametrize(
    "last",
    [
        node("Conv", "q v", "y", pads=[_FAR] * 4),
        node("Conv", "q v", "y", pads=[_FAR] * 4, strides=[_FAR] * 2),
        node("Conv", "q v", "y", pads=[0, 0, _FAR, _FAR]),
        node("ConvTranspose", "q v", "y", strides=[_FAR] * 2),
        node("ConvTranspose", "q v", "y", strides=[_FAR] * 2, pads=[_FAR] * 4),
        node("ConvTranspose", "q v", "y", output_padding=[_FAR] * 2, strides=[_FAR + 1] * 2),
        node("MaxPool", "q", "y", kernel_shape=[1, 1], pads=[_FAR] * 4),
        node("AveragePool", "q", "y", kernel_shape=[_FAR] * 2, pads=[_FAR - 1] * 4, count_include_pad=1),
        helper.make_node("Resize", ["q", "", "far"], ["y"], name="the_y"),
        node("Pad", "q around", "y"),
        node("Concat", "q " * 2**11, "y", axis=1),
    ],
    ids=lambda last: last.op_type,
)
def test_a_layer_that_makes_too_much_of_an_example_is_refused_by_its_node(last, tmp_path, monkeypatch):
    monkeypatch.setattr("xpnet.onnx.parts.LARGEST_OUTPUT", 2**16)
    tensors = {
        "w": draw(4, 2, 1, 1),
        "v": draw(4, 4, 1, 1),
        "far": np.asarray([1, 1, _FAR, _FAR], np.float32),
        "around": np.asarray([0, 0, _FAR, 0, 0, 0, _FAR, 0]),
    }
    model = model_of([node("Conv", "x w", "q"), last], tensors, (2, 3, 4))
    with refused("'the_y'", last.op_type, "values of each example"):
        Network.from_onnx(saved(model, tmp_path))
