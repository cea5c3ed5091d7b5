import numpy as np
import pytest

from tests.helpers import refused
from xpnet.layers import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm


def normalized(layer, x):
    params, state, _ = layer.init(np.random.default_rng(0), x.shape[1:])
    return layer.forward(params, state, x).y


def test_each_norm_does_what_its_name_says():
    x = np.random.default_rng(0).normal(3.0, [1.0, 50.0, 7.0, 2.0], (4, 5, 6, 4))
    y = normalized(LayerNorm(eps=1e-12), x)
    np.testing.assert_allclose([y.mean(axis=-1), y.var(axis=-1) - 1], 0, atol=1e-9)
    y = normalized(GroupNorm(groups=2, eps=1e-12), x).reshape(4, 30, 2, 2)
    np.testing.assert_allclose([y.mean(axis=(1, 3)), y.var(axis=(1, 3)) - 1], 0, atol=1e-9)
    np.testing.assert_allclose((normalized(RMSNorm(eps=1e-12), x) ** 2).mean(axis=-1), 1, rtol=1e-9)


@pytest.mark.parametrize("layer", [LayerNorm(), GroupNorm(groups=2), RMSNorm(), LocalResponseNorm()])
def test_an_example_does_not_depend_on_the_others(layer):
    x = np.random.default_rng(1).normal(size=(3, 4, 2, 6))
    np.testing.assert_allclose(normalized(layer, x[1:2]), normalized(layer, x)[1:2], rtol=1e-14)


def test_alexnets_local_response_by_hand():
    layer = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
    x = np.array([[100.0, 200.0, 0.0, 0.0]])
    expected = [100 / 7**0.75, 200 / 7**0.75, 0, 0]  # 2 + 1e-4 * (100² + 200²) = 7
    np.testing.assert_allclose(normalized(layer, x), [expected], rtol=1e-14)


def test_settings_out_of_range():
    with refused("LayerNorm: expected a finite eps above 0, got 0. Try 1e-5."):
        LayerNorm(eps=0)
    with refused("GroupNorm", "groups to be an integer of at least 1", "got 0"):
        GroupNorm(groups=0)
    assert GroupNorm(4) == GroupNorm(groups=4, eps=1e-5)
    with refused("GroupNorm", "channels to be a multiple of 4 groups", "got 6"):
        GroupNorm(groups=4).output_shape((5, 5, 6))
    with refused("LocalResponseNorm: expected an odd size, got 4. Add 1."):
        LocalResponseNorm(4)
    with refused("LocalResponseNorm: expected a finite k above 0, got 0."):
        LocalResponseNorm(k=0)
    params = LayerNorm().init(np.random.default_rng(0), (3,)).params
    with refused("LayerNorm: expected 3 features, got 2."):
        LayerNorm().forward(params, {}, np.zeros((4, 2)))
