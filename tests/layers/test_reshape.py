import numpy as np

from xpnet.layers import Flatten


def test_flatten_goes_row_by_row_with_channels_innermost():
    x = np.arange(24.0).reshape(2, 2, 3, 2)
    y, cache, _ = Flatten().forward({}, {}, x, train=True)
    assert y.tolist() == [list(range(12)), list(range(12, 24))]
    np.testing.assert_array_equal(Flatten().backward({}, cache, y).dx, x)


def test_flatten_takes_vectors():
    assert Flatten().output_shape((5,)) == (5,)
