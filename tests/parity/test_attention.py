"""Attention and transformer blocks against PyTorch with the same weights, in float64."""

import numpy as np
import pytest

from tests.parity.tensors import tensor, torch
from xpnet.layers import Embedding, multi_head_self_attention, transformer_block
from xpnet.layout import map_tree, walk

nn = torch.nn


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected.detach(), rtol=1e-10, atol=1e-12)


def started(layer, shape):
    rng = np.random.default_rng(0)
    params = map_tree(lambda a: a + rng.normal(0, 0.1, a.shape), layer.init(rng, shape).params)
    x, dy = rng.normal(size=(3, *shape)), rng.normal(size=(3, *layer.output_shape(shape)))
    state = layer.init(rng, shape).state
    y, cache, _ = layer.forward(params, state, x, train=True)
    return params, x, dy, y, *layer.backward(params, cache, dy)


def load(theirs, named, rename):
    for name, parameter in theirs.named_parameters():
        parameter.data = torch.tensor(np.ascontiguousarray(named[rename[name]]))


MHSA = {
    "in_proj_weight": "qkv.weight", "in_proj_bias": "qkv.bias",
    "out_proj.weight": "proj.weight", "out_proj.bias": "proj.bias",
}  # fmt: skip


NEIGHBOURS = np.abs(np.arange(5)[:, None] - np.arange(5)) <= 1


@pytest.mark.parametrize(
    ("settings", "seen"),
    [({}, np.ones((5, 5), bool)), ({"causal": True}, np.tri(5, dtype=bool)), ({"mask": NEIGHBOURS}, NEIGHBOURS)],
)
def test_multi_head_self_attention(settings, seen):
    params, x, dy, y, dx, grads = started(multi_head_self_attention(8, 2, **settings), (5, 8))
    theirs = nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    load(theirs, dict(walk(params)), MHSA)
    x = tensor(x)
    expected, _ = theirs(x, x, x, attn_mask=~torch.tensor(seen), need_weights=False)  # True where it does not attend
    expected.backward(torch.tensor(dy))
    assert_close(y, expected)
    assert_close(dx, x.grad)
    named = dict(walk(grads))
    for name, parameter in theirs.named_parameters():
        assert_close(named[MHSA[name]], parameter.grad)


def test_transformer_block():
    params, x, dy, y, dx, grads = started(transformer_block(8, 2, expansion=3), (5, 8))
    theirs = nn.TransformerEncoderLayer(
        8, 2, 24, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    first, second = "residual1.branch.", "residual2.branch."
    rename = {f"self_attn.{theirs}": f"{first}attn.{ours}" for theirs, ours in MHSA.items()}
    for kind in ("weight", "bias"):
        rename |= {
            f"norm1.{kind}": f"{first}norm1.{kind}", f"norm2.{kind}": f"{second}norm2.{kind}",
            f"linear1.{kind}": f"{second}mlp.fc1.{kind}", f"linear2.{kind}": f"{second}mlp.fc2.{kind}",
        }  # fmt: skip
    load(theirs, dict(walk(params)), rename)
    x = tensor(x)
    expected = theirs(x)
    expected.backward(torch.tensor(dy))
    assert_close(y, expected)
    assert_close(dx, x.grad)
    named = dict(walk(grads))
    for name, parameter in theirs.named_parameters():
        assert_close(named[rename[name]], parameter.grad)


def test_embedding():
    rng, layer = np.random.default_rng(0), Embedding(7, 3)
    params, x, dy = layer.init(rng, (4,)).params, rng.integers(0, 7, (5, 4)), rng.normal(size=(5, 4, 3))
    y, cache, _ = layer.forward(params, {}, x.astype(float), train=True)
    weight = tensor(params["weight"])
    expected = nn.functional.embedding(torch.tensor(x), weight)
    expected.backward(torch.tensor(dy))
    assert_close(y, expected)
    assert_close(layer.backward(params, cache, dy).grads["weight"], weight.grad)
