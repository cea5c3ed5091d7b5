import numpy as np
import pytest

from tests.helpers import refused
from xpnet.layers import AvgPool2D, Upsample2D


def enlarged(layer, rows):
    return layer.forward({}, {}, np.array(rows)[None, :, :, None]).y[0, :, :, 0].tolist()


def test_by_hand():
    assert enlarged(Upsample2D((1, 2)), [[1.0, 5.0]]) == [[1, 1, 5, 5]]
    assert enlarged(Upsample2D((1, 2), "bilinear"), [[1.0, 5.0]]) == [[1, 2, 4, 5]]
    assert enlarged(Upsample2D((3, 1), "bilinear"), [[0.0], [3.0]]) == [[0], [0], [1], [2], [3], [3]]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_a_mean_over_each_square_undoes_nearest_and_keeps_the_total_of_both(mode):
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 2))
    y = AvgPool2D((3, 2)).forward({}, {}, Upsample2D((3, 2), mode).forward({}, {}, x).y).y
    if mode == "nearest":
        np.testing.assert_allclose(y, x, rtol=1e-14)
    np.testing.assert_allclose(y.sum(), x.sum(), rtol=1e-12)


def test_settings_out_of_range():
    with refused("Upsample2D", "scale to be an integer of at least 1 or a pair of them", "got 0.5"):
        Upsample2D(0.5)
    with refused("Upsample2D, mode", "one of nearest, bilinear", "got 'cubic'"):
        Upsample2D(2, "cubic")
    with refused("Upsample2D: expected images (N, H, W, C), got shape (N, 7)."):
        Upsample2D().output_shape((7,))
