import numpy as np

from tests.helpers import refused
from xpnet.layers import ChannelShuffle, Flatten, ImageToSequence, PadChannels, ZeroPad2D


def test_flatten_goes_row_by_row_with_channels_innermost():
    x = np.arange(24.0).reshape(2, 2, 3, 2)
    y, cache, _ = Flatten().forward({}, {}, x, train=True)
    assert y.tolist() == [list(range(12)), list(range(12, 24))]
    np.testing.assert_array_equal(Flatten().backward({}, cache, y).dx, x)


def test_flatten_takes_vectors():
    assert Flatten().output_shape((5,)) == (5,)


def test_the_pixels_of_an_image_row_by_row():
    x = np.arange(24.0).reshape(2, 3, 2, 2)
    y, cache, _ = ImageToSequence().forward({}, {}, x, train=True)
    assert y[1, :, 0].tolist() == [12, 14, 16, 18, 20, 22]
    np.testing.assert_array_equal(ImageToSequence().backward({}, cache, y).dx, x)
    with refused("ImageToSequence", "images (N, H, W, C)", "got shape (N, 3, 2)"):
        ImageToSequence().output_shape((3, 2))


def test_channels_of_zeros():
    y = PadChannels(1, 2).forward({}, {}, np.array([[5.0, 6.0]])).y
    assert y.tolist() == [[0, 5, 6, 0, 0]]
    assert PadChannels(1, 2).backward({}, {}, y + 1).dx.tolist() == [[6, 7]]
    with refused("PadChannels", "after to be an integer of at least 0", "got -1"):
        PadChannels(0, -1)


def test_zeros_around_an_image():
    x = np.array([[[[1.0], [2.0]]]])
    layer = ZeroPad2D(((1, 0), (2, 1)))
    y, cache, _ = layer.forward({}, {}, x, train=True)
    assert y[0, :, :, 0].tolist() == [[0, 0, 0, 0, 0], [0, 0, 1, 2, 0]]
    assert layer.backward({}, cache, y + 3).dx[0, 0, :, 0].tolist() == [4, 5]
    for padding in (1, (1, 2), ((1, -1), (0, 0)), ((1, 1), (0, 0), (0, 0)), None):
        with refused("ZeroPad2D", "padding"):
            ZeroPad2D(padding)  # pyright: ignore


def test_channels_dealt_out_to_all_groups():
    x = np.arange(6.0)[None, :]
    assert ChannelShuffle(2).forward({}, {}, x).y.tolist() == [[0, 3, 1, 4, 2, 5]]
    assert ChannelShuffle(3).forward({}, {}, x).y.tolist() == [[0, 2, 4, 1, 3, 5]]
    with refused("ChannelShuffle", "groups"):
        ChannelShuffle(0)
    with refused("ChannelShuffle", "multiple of 4"):
        ChannelShuffle(4).output_shape((6,))
