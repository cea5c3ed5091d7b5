"""The models that onnx ships, whose weights are constants: with these, and with random ones against onnxruntime."""

from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx import numpy_helper
from onnx.backend.test.runner import Runner

from tests.onnx.running import by_onnxruntime
from xpnet.network import Network
from xpnet.onnx import backend

FOLDER = Path(onnx.backend.test.__file__).parent / "data" / "light"
PARAMETERS = {
    "bvlc_alexnet": 60_965_224,
    "densenet121": 7_978_856,
    "inception_v1": 6_998_552,
    "inception_v2": 11_194_984,
    "resnet50": 25_557_032,
    "shufflenet": 1_393_320,
    "squeezenet": 1_235_496,
    "vgg19": 143_667_240,
    "zfnet512": 87_250_536,
}
every_model = pytest.mark.parametrize("name", PARAMETERS)


def test_all_of_them_are_here():
    assert {path.stem.removeprefix("light_") for path in FOLDER.glob("*.onnx")} == set(PARAMETERS)


def reference(name):
    """ONNX's own input and output."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    known = {tensor.name for tensor in model.graph.initializer}
    (first,) = [value for value in model.graph.input if value.name not in known]
    x = Runner.generate_dummy_data(first, seed=0, name=name, random=False)
    output = onnx.TensorProto.FromString((FOLDER / f"light_{name}_output_0.pb").read_bytes())
    return x, numpy_helper.to_array(output)


def outputs(network, x, name):
    """What the file's output is: probabilities, but for DenseNet."""
    images = np.moveaxis(x, 1, -1)
    return network(images) if name == "densenet121" else network.predict_proba(images)


@every_model
def test_the_reference_output(name):
    network = Network.from_onnx(FOLDER / f"light_{name}.onnx")
    assert network.parameter_count == PARAMETERS[name]
    assert (network.input_shape, network.output_shape) == ((224, 224, 3), (1000,))
    x, expected = reference(name)
    np.testing.assert_allclose(outputs(network, x, name), expected.reshape(1, 1000), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v2"])
def test_the_reference_output_node_by_node(name):
    x, expected = reference(name)
    (actual,) = backend.run_model(onnx.load(FOLDER / f"light_{name}.onnx"), [x])
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-7)


def with_random_weights(name):
    """The model with its constants drawn: as wide as keeps the signal's size, variances above 0."""
    model, rng = onnx.load(FOLDER / f"light_{name}.onnx"), np.random.default_rng(3)
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    variances = {node.input[4] for node in model.graph.node if node.op_type == "BatchNormalization"}
    constant = [node for node in model.graph.node if node.op_type == "ConstantOfShape"]
    for node in constant:
        shape = shapes[node.input[0]]
        values = rng.standard_normal(shape, dtype=np.float32)
        if len(shape) > 1:
            values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        elif node.output[0] in variances:
            values = np.abs(values) + np.float32(0.5)
        model.graph.node.remove(node)
        model.graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
    return model, rng.standard_normal((1, 3, 224, 224), dtype=np.float32)


@every_model
def test_random_weights_as_in_onnxruntime(name, tmp_path):
    model, x = with_random_weights(name)
    content = model.SerializeToString()
    expected = by_onnxruntime(content, x).reshape(1, 1000)
    assert expected.std() > 0
    (tmp_path / "model.onnx").write_bytes(content)
    network = Network.from_onnx(tmp_path / "model.onnx")
    np.testing.assert_allclose(outputs(network, x, name), expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
