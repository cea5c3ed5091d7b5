import numpy as np

from tests.helpers import refused
from xpnet.layers import AdaptiveAvgPool2D, AvgPool2D, GlobalAvgPool1D, GlobalAvgPool2D, GlobalMaxPool2D


def test_parts_overlap_where_they_do_not_divide_the_image():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0]).reshape(1, 1, 5, 1)
    y, cache, _ = AdaptiveAvgPool2D((1, 2)).forward({}, {}, x, train=True)
    assert y.ravel().tolist() == [2, 4]
    dx = AdaptiveAvgPool2D((1, 2)).backward({}, cache, np.array([3.0, 30.0]).reshape(1, 1, 2, 1)).dx
    assert dx.ravel().tolist() == [1, 1, 11, 10, 10]


def test_cases_that_other_pools_compute():
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3))
    whole, halves = (AdaptiveAvgPool2D(size).forward({}, {}, x).y for size in (1, 2))
    np.testing.assert_allclose(whole[:, 0, 0], GlobalAvgPool2D().forward({}, {}, x).y, rtol=1e-12)
    np.testing.assert_allclose(halves, AvgPool2D((3, 2)).forward({}, {}, x).y, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(AdaptiveAvgPool2D((6, 4)).forward({}, {}, x).y, x)


def test_the_first_of_equals_takes_the_gradient():
    x = np.array([[0.0, 7.0], [7.0, 1.0]]).reshape(1, 2, 2, 1)
    y, cache, _ = GlobalMaxPool2D().forward({}, {}, x, train=True)
    assert y.tolist() == [[7.0]]
    assert GlobalMaxPool2D().backward({}, cache, np.array([[5.0]])).dx.ravel().tolist() == [0, 5, 0, 0]


def test_what_does_not_fit():
    with refused("AdaptiveAvgPool2D", "output_size to be an integer of at least 1 or a pair of them", "got 0"):
        AdaptiveAvgPool2D(0)
    for layer in (AdaptiveAvgPool2D(2), GlobalMaxPool2D()):
        with refused(f"{type(layer).__name__}", "images (N, H, W, C)", "got shape (N, 7)"):
            layer.output_shape((7,))
    with refused("GlobalAvgPool1D", "sequences (N, T, C)", "got shape (N, 7, 7, 2)"):
        GlobalAvgPool1D().output_shape((7, 7, 2))
