"""Networks with values that show every mistake, and what onnxruntime makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xpnet.layers import BatchNorm, Layer, Sequential
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
