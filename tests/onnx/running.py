"""Networks with values that show every mistake, and what onnxruntime makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from xpnet import models
from xpnet.layers import BatchNorm, Dense, Dropout, Identity, Layer, Sequential
from xpnet.layers.containers import map_leaves
from xpnet.models import registry
from xpnet.network import Network


def shaken(network: Network) -> Network:
    """The network with no parameter or statistic at its first value."""
    rng = np.random.default_rng(7)
    changed = {}
    for name, tensor in network.tensors().items():
        values = tensor + 0.3 * rng.normal(size=tensor.shape)
        changed[name] = (np.abs(values) + 0.5 if name.endswith(("running_var", "scale")) else values).astype("float32")
    network.set_tensors(changed)
    return network


def around(layer: Layer, input_shape: tuple[int, ...], *behind: Layer) -> Network:
    """A network of a layer, with a BatchNorm in front of one that takes real numbers, for it must have parameters."""
    before = [] if layer.index_count else [("before", BatchNorm())]
    return shaken(Network(Sequential([*before, ("tested", layer), *behind]), input_shape))


# Of the networks for images of 224x224, sizes that keep the tests quick.
_SIDES = {
    **dict.fromkeys(("alexnet", "densenet121", "googlenet", "mobilenet_v2", "squeezenet1_0", "squeezenet1_1"), 67),
    **dict.fromkeys((name for name in models.names() if name.startswith("vgg")), 33),
    **dict.fromkeys((f"resnet{depth}" for depth in ("18", "34", "50", "101", "152", "50v2", "101v2")), 33),
    **dict.fromkeys(("vit_tiny", "vit_small", "unet", "unet_small"), 32),
}


def small(name: str, seed: int = 0, *, dropout: bool = True) -> Network:
    """A network of the registry for small images and seven classes, with dense layers of 16 in place of 4096 units."""
    model = registry.find(name)
    shape = (_SIDES[name], _SIDES[name], 3) if name in _SIDES else model.input_shape

    def changed(name: str, layer: Layer) -> Layer:
        if isinstance(layer, Dense) and layer.units == 4096:
            return Dense(16)
        return Identity() if isinstance(layer, Dropout) and not dropout else layer

    network = Network(map_leaves(changed, model.build(shape, 7)), shape, seed=seed)
    network.set_normalization(0.3, 2.0)
    return network


def inputs(network: Network, count: int = 3) -> np.ndarray:
    """Real numbers, or indices."""
    rng, shape = np.random.default_rng(5), (count, *network.input_shape)
    if network.layer.index_count:
        return rng.integers(0, network.layer.index_count, shape).astype("float32")
    return rng.normal(size=shape).astype("float32")


def by_onnxruntime(model: Any, x: np.ndarray) -> np.ndarray:
    """The first output of a model, without onnxruntime's fusions, which round otherwise."""
    onnxruntime = pytest.importorskip("onnxruntime")

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (first, *_) = session.get_inputs()
    return session.run(None, {first.name: x})[0]


def saved(model: Any, folder: Path) -> Path:
    """The path of a file with a model."""
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def model_of(nodes: Any, tensors: Any, shape: Any, *, output: Any = ("n", "m"), opset: int = 13) -> Any:
    """A model of nodes from an input 'x' to the output of the last."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, output)],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def draw(*shape: int) -> np.ndarray:
    """The same numbers each time."""
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def node(operator: str, inputs: str, output: str, **attributes: Any) -> Any:
    """A node that is called after its output."""
    return helper.make_node(operator, inputs.split(), [output], name=f"the_{output}", **attributes)
