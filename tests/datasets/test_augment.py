import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import refused
from xpnet.backend import resolve
from xpnet.datasets.augment import Augmentation
from xpnet.errors import InputError
from xpnet.random import fold_in, make_key, random_bits

IMAGES = np.random.default_rng(0).integers(1, 256, (40, 6, 5, 3), dtype=np.uint8)  # no black pixels


def crops(image, padding):
    """All crops of an image extended by black pixels."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = range(2 * padding + 1)
    return [padded[i : i + height, j : j + width] for i in places for j in places]


@given(st.integers(1, 4), st.integers(0, 1000))
def test_crops_are_crops_of_the_padded_image(padding, seed):
    changed = Augmentation(crop_padding=padding)(make_key(seed), IMAGES)
    assert changed.dtype == np.uint8
    for before, after in zip(IMAGES, changed, strict=True):
        assert any(np.array_equal(after, crop) for crop in crops(before, padding))


def test_every_place_is_cropped_at():
    image = IMAGES[:1]
    changed = Augmentation(crop_padding=1)(make_key(0), np.repeat(image, 400, axis=0))
    assert len(np.unique(changed, axis=0)) == 9


def test_half_of_the_images_are_mirrored():
    images = np.tile(IMAGES, (25, 1, 1, 1))
    changed = Augmentation(flip=True)(make_key(1), images)
    mirrored = [np.array_equal(after, before[:, ::-1]) for before, after in zip(images, changed, strict=True)]
    same = [np.array_equal(after, before) for before, after in zip(images, changed, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 430 < sum(mirrored) < 570  # 1000 fair coins: 500 ± 4.4 standard deviations


@given(st.integers(1, 4), st.integers(0, 1000))
def test_cutout_blackens_a_square_and_nothing_else(size, seed):
    changed = Augmentation(cutout=size)(make_key(seed), IMAGES)
    for before, after in zip(IMAGES, changed, strict=True):
        black = (after == 0).all(axis=-1)
        np.testing.assert_array_equal(after[~black], before[~black])
        rows, columns = np.flatnonzero(black.any(axis=1)), np.flatnonzero(black.any(axis=0))
        assert black.sum() == len(rows) * len(columns)
        assert 1 <= len(rows) <= size
        assert 1 <= len(columns) <= size
        assert len(rows) == size or 0 in rows or 5 in rows
        assert len(columns) == size or 0 in columns or 4 in columns


def test_every_pixel_is_a_centre():
    changed = Augmentation(cutout=1)(make_key(0), np.ones((400, 5, 5, 1), np.uint8))
    assert not changed.all(axis=0).any()


def test_crop_mirroring_and_an_even_square_by_hand():
    key, choices = make_key(4), (6, 5, 2, 3, 3)
    draws = [random_bits(fold_in(key, number), (len(IMAGES),)) % count for number, count in enumerate(choices)]
    changed = Augmentation(crop_padding=1, flip=True, cutout=2)(key, IMAGES)
    for image, after, row, column, mirrored, down, right in zip(IMAGES, changed, *draws, strict=True):
        expected = crops(image, 1)[3 * down + right]
        expected = expected[:, ::-1] if mirrored else expected
        expected[max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1] = 0
        np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_backend_makes_the_same_images(library):
    pytest.importorskip(library, exc_type=ImportError)
    backend, augmentation = resolve("cpu", library), Augmentation(crop_padding=2, flip=True, cutout=3)
    key = make_key(5)
    expected = augmentation(key, IMAGES)
    actual = augmentation(backend.asarray(key), backend.asarray(IMAGES))
    np.testing.assert_array_equal(np.asarray(actual), expected)
    assert not np.array_equal(expected, IMAGES)


def test_the_array_api_standard_is_enough():
    import array_api_strict as xp

    augmentation, device = Augmentation(crop_padding=2, flip=True, cutout=3), xp.Device("device1")
    key = make_key(5)
    with xp.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
        actual = augmentation(xp.asarray(key, device=device), xp.asarray(IMAGES, device=device))
    assert actual.device == device
    np.testing.assert_array_equal(np.asarray(actual.to_device(xp.Device("CPU_DEVICE"))), augmentation(key, IMAGES))


def test_nothing_asked_for_changes_nothing():
    assert not Augmentation()
    np.testing.assert_array_equal(Augmentation()(make_key(0), IMAGES), IMAGES)
    assert all(Augmentation(**{name: 1}) for name in ("crop_padding", "flip", "cutout"))


@pytest.mark.parametrize(
    "settings",
    [{"crop_padding": -1}, {"crop_padding": 2**20 + 1}, {"cutout": 1.5}, {"cutout": True}, {"cutout": 2**33}],
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InputError, match=f"expected {next(iter(settings))} to be a whole number from 0 to"):
        Augmentation(**settings)


@pytest.mark.parametrize("name", ["crop_padding", "cutout"])
def test_settings_that_can_leave_nothing_of_an_image_do_not_fit(name):
    for shape in ((6, 5, 3), (5, 6, 3)):
        Augmentation(**{name: 4}).check_fits(shape)
        with refused(f"Augmentation: expected {name} below 5, the smaller side of the images, got 5."):
            Augmentation(**{name: 5}).check_fits(shape)


@pytest.mark.parametrize("settings", [{"crop_padding": 4}, {"cutout": 4}])
def test_settings_that_fit_leave_something_of_every_image(settings):
    changed = Augmentation(**settings)(make_key(0), np.repeat(IMAGES, 50, axis=0))
    assert changed.any(axis=(1, 2, 3)).all()


def test_the_largest_settings_blacken_everything():
    for largest in (Augmentation(crop_padding=2**20), Augmentation(cutout=2**20)):
        assert not np.any(largest(make_key(0), IMAGES))
