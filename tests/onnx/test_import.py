"""Files become networks that compute the same, and train."""

import numpy as np
import onnx
import pytest

from tests.onnx.running import around, inputs, shaken
from xpnet.layers.examples import EXAMPLES
from xpnet.network import Network
from xpnet.onnx.export import to_model


def round_trip(network, folder):
    path = folder / "net.onnx"
    path.write_bytes(to_model(network).SerializeToString())
    return Network.from_onnx(path)


NOT_BACK = {"SelfAttention", "RMSNorm", "multi_head_self_attention"}


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_every_layer_comes_back(example, tmp_path):
    network = around(*example)
    x = inputs(network)
    back = round_trip(network, tmp_path)
    assert back.input_shape == network.input_shape
    np.testing.assert_allclose(back(x).reshape(network(x).shape), network(x), rtol=1e-5, atol=1e-5)
