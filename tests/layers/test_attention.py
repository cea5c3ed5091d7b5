import tracemalloc

import numpy as np
import pytest

from tests.helpers import assert_is_gradient, refused
from tests.layers.runs import start
from xpnet.backend import to_numpy
from xpnet.layers import Dense, Flatten, SelfAttention, Sequential, multi_head_self_attention, transformer_block
from xpnet.layers.examples import Example
from xpnet.layout import Layout
from xpnet.network import Network


def test_by_hand():
    """Two places; the second query is so like its own key that it looks nowhere else."""
    x = np.array([[[0.0, 5.0, 1.0], [1000.0, 7.0, 3.0]]])  # query, key, value
    y = SelfAttention().forward({}, {}, x).y
    assert y.tolist() == [[[2.0], [3.0]]]


def test_each_head_sees_its_own_channels():
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 2, 4))  # q, k, v; heads; their channels
    y = SelfAttention(heads=2).forward({}, {}, x.reshape(2, 5, 24)).y
    for head in range(2):
        alone = SelfAttention().forward({}, {}, x[:, :, :, head].reshape(2, 5, 12)).y
        np.testing.assert_allclose(y[:, :, 4 * head : 4 * head + 4], alone, rtol=1e-12)


def test_causal_attention_does_not_look_ahead(backend):
    run = start(Example(SelfAttention(heads=2, causal=True), (6, 12)), backend)
    before = to_numpy(run.forward().y)
    changed = to_numpy(run.x).copy()
    changed[:, 4:] += 1
    run.x = backend.asarray(changed)
    after = to_numpy(run.forward().y)
    np.testing.assert_array_equal(after[:, :4], before[:, :4])
    assert (after[:, 4:] != before[:, 4:]).any(axis=2).all()


def test_a_place_sees_what_its_row_of_the_mask_allows(backend):
    mask = np.array(
        [[True, True, False, False], [False, True, False, True], [True, True, True, True], [False] * 3 + [True]]
    )
    run = start(Example(SelfAttention(heads=2, mask=mask), (4, 12)), backend)
    before = to_numpy(run.forward().y)
    for key in range(4):
        changed = to_numpy(run.x).copy()
        changed[:, key, 4:] += 1  # its key and value
        again = start(run.example, backend)
        again.x = backend.asarray(changed)
        differs = (to_numpy(again.forward().y) != before).any(axis=(0, 2))
        np.testing.assert_array_equal(differs, mask[:, key])


def test_a_mask_of_all_earlier_places_is_causal(backend):
    mask = np.tri(5, dtype=bool).tolist()
    layers = SelfAttention(2, mask=mask), SelfAttention(2, causal=True)
    masked, causal = (start(Example(layer, (5, 12)), backend).forward().y for layer in layers)
    np.testing.assert_array_equal(to_numpy(masked), to_numpy(causal))


def test_a_mask_may_be_lists_of_numpys_booleans_or_of_arrays():
    mask = np.tri(4, dtype=bool)
    rows = SelfAttention(mask=mask).mask
    for given in ([[np.bool_(seen) for seen in row] for row in mask], list(mask), tuple(mask), mask.tolist()):
        assert SelfAttention(mask=given).mask == rows


def test_a_block_hands_its_mask_on():
    mask = np.tri(5, dtype=bool)
    (_, masked), (_, causal) = (
        list(transformer_block(12, 2, **given).leaves((5, 12)))[2][:2] for given in ({"mask": mask}, {"causal": True})
    )
    assert (masked, causal) == (SelfAttention(2, mask=mask), SelfAttention(2, causal=True))


ROWS = ("101", "110", "011")


def test_a_mask_is_saved_with_the_network(tmp_path):
    mask = np.array([[True, False, True], [True, True, False], [False, True, True]])
    net = Network([multi_head_self_attention(4, 2, mask=mask), Flatten(), Dense(2)], (3, 4))
    net.save(tmp_path / "net.safetensors")
    back, x = Network.load(tmp_path / "net.safetensors"), np.random.default_rng(0).normal(size=(2, 3, 4))
    assert back.layer == net.layer == Sequential([multi_head_self_attention(4, 2, mask=ROWS), Flatten(), Dense(2)])
    np.testing.assert_array_equal(back(x.astype(np.float32)), net(x.astype(np.float32)))


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ([[True, False], [True]], "got [[True, False], [True]]"),
        (np.ones((2, 3), bool), "got ndarray of shape (2, 3)"),
        (np.ones((2, 2)), "got ndarray of shape (2, 2)"),
        (np.ones((1, 2, 2), bool), "got ndarray of shape (1, 2, 2)"),
        ([np.ones(2), np.ones(2)], "got [array("),
        ([], "got []"),
        (True, "got True"),
        ("causal", "got 'causal'"),
        (["10", "1x"], "got ['10', '1x']"),
        (["10", "110"], "got ['10', '110']"),
    ],
)
def test_masks_that_are_not(mask, said):
    with refused("SelfAttention", "a mask of T x T booleans", said):
        SelfAttention(mask=mask)


def test_masks_that_do_not_fit():
    mask = np.eye(4, dtype=bool)
    with refused("SelfAttention 'residual1.branch.attn.attention'", "mask of shape (5, 5)", "got (4, 4)"):
        transformer_block(8, 2, mask=mask).output_shape((5, 8))
    with refused("SelfAttention", "each query to attend to a key", "none in row 1"):
        SelfAttention(mask=[[True, True], [False, False]])
    with refused("SelfAttention", "a mask or causal, got both"):
        SelfAttention(causal=True, mask=mask)


@pytest.mark.parametrize(
    "settings", [{}, {"causal": True}, {"mask": np.tri(256, dtype=bool)}], ids=["all", "causal", "mask"]
)
def test_memory_is_as_documented(settings):
    """Beside P, twice as much in each pass; the queries, keys and values are small here."""
    layer, x = SelfAttention(4, **settings), np.ones((1, 256, 3 * 16), np.float32)
    layer.forward({}, {}, x, train=True)
    tracemalloc.start()
    _, cache, _ = layer.forward({}, {}, x, train=True)
    forward = tracemalloc.get_traced_memory()[1] / cache["p"].nbytes
    tracemalloc.reset_peak()
    layer.backward({}, cache, x[..., :16])
    backward = tracemalloc.get_traced_memory()[1] / cache["p"].nbytes
    tracemalloc.stop()
    assert 2.9 < forward < 3.2
    assert 2.9 < backward < 3.4


def test_scores_may_be_huge():
    x = np.array([[[1e15, 1e15, 1.0], [1e15, 2e15, 3.0]]], np.float32)
    y, cache, _ = SelfAttention().forward({}, {}, x, train=True)
    assert y.tolist() == [[[3], [3]]]
    assert np.isfinite(SelfAttention().backward({}, cache, np.ones_like(y)).dx).all()


@pytest.mark.parametrize("layer", [SelfAttention(2), multi_head_self_attention(4, 2), transformer_block(12, 2)])
def test_places_can_be_exchanged(layer):
    rng = np.random.default_rng(0)
    params, state, output_shape = layer.init(rng, (5, 12))
    x, order = rng.normal(size=(2, 5, 12)), [3, 1, 4, 0, 2]
    y = layer.forward(params, state, x).y
    assert y.shape == (2, *output_shape)
    np.testing.assert_allclose(layer.forward(params, state, x[:, order]).y, y[:, order], rtol=1e-10, atol=1e-12)


def test_what_does_not_fit():
    with refused("SelfAttention", "channels to be a multiple of 3 * 4 heads", "got 32"):
        SelfAttention(4).output_shape((5, 32))
    with refused("SelfAttention", "sequences (N, T, C)", "got shape (N, 4, 4, 12)"):
        SelfAttention(4).output_shape((4, 4, 12))
    with refused("SelfAttention", "heads to be an integer of at least 1", "got 0"):
        SelfAttention(0)
    with refused("multi_head_self_attention", "units to be a multiple of 3 heads", "got 8"):
        multi_head_self_attention(8, 3)
    with refused("transformer_block", "expansion to be an integer of at least 1", "got 0"):
        transformer_block(8, 2, expansion=0)
    with refused("Residual 'residual1': the branch gives (5, 8) but the shortcut gives (5, 7)."):
        transformer_block(8, 2).output_shape((5, 7))


def test_backward_of_a_whole_block_is_the_derivative_of_forward(backend):
    run = start(Example(transformer_block(4, 2, p=0.2, causal=True), (5, 4)), backend)
    layout, batch, dy = Layout.of(run.params), to_numpy(run.x), to_numpy(run.dy)

    def loss(x=batch, theta=None):
        params = run.params if theta is None else layout.unflatten(backend.asarray(theta))
        y = run.example.layer.forward(params, run.state, backend.asarray(x), train=True, key=run.key).y
        return float(np.sum(to_numpy(y) * dy))

    dx, grads = run.backward(run.forward().cache)
    values = {"x": batch, "theta": to_numpy(layout.flatten(run.params))}
    assert_is_gradient(loss, values, {"x": dx, "theta": layout.flatten(grads)})
