import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PRESENT
from tests.helpers import assert_same_bits, refused
from xpnet.backend import resolve, to_numpy
from xpnet.datasets.augment import Augmentation, Cutout, HorizontalFlip, RandomCrop, augment, check_fits
from xpnet.errors import InputError
from xpnet.kernels import table
from xpnet.random import fold_in, for_rows, make_key, random_bits

IMAGES = np.random.default_rng(0).integers(1, 256, (40, 6, 5, 3), dtype=np.uint8)  # no black pixels
ALL = [RandomCrop(2), HorizontalFlip(), Cutout(3)]


@dataclass(frozen=True)
class VerticalFlip(Augmentation):
    """The example in the class's docstring."""

    def sources(self, key, grid):
        flipped, last = grid.draw(key, 2), grid.size[0] - 1
        return grid._replace(rows=flipped * (last - grid.rows) + (1 - flipped) * grid.rows)


def crops(image, padding):
    """All crops of an image extended by black pixels."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    places = range(2 * padding + 1)
    return [padded[i : i + height, j : j + width] for i in places for j in places]


@given(st.integers(1, 4), st.integers(0, 1000))
def test_crops_are_crops_of_the_padded_image(padding, seed):
    changed = augment([RandomCrop(padding)], make_key(seed), IMAGES)
    assert changed.dtype == np.uint8
    for before, after in zip(IMAGES, changed, strict=True):
        assert any(np.array_equal(after, crop) for crop in crops(before, padding))


def test_every_place_is_cropped_at():
    image = IMAGES[:1]
    changed = augment([RandomCrop(1)], make_key(0), np.repeat(image, 400, axis=0))
    assert len(np.unique(changed, axis=0)) == 9


@pytest.mark.parametrize(("flip", "mirror"), [(HorizontalFlip(), np.s_[:, ::-1]), (VerticalFlip(), np.s_[::-1])])
def test_half_of_the_images_are_mirrored(flip, mirror):
    images = np.tile(IMAGES, (25, 1, 1, 1))
    changed = augment([flip], make_key(1), images)
    mirrored = [np.array_equal(after, before[mirror]) for before, after in zip(images, changed, strict=True)]
    same = [np.array_equal(after, before) for before, after in zip(images, changed, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 430 < sum(mirrored) < 570  # 1000 fair coins: 500 ± 4.4 standard deviations


@given(st.integers(1, 4), st.integers(0, 1000))
def test_cutout_blackens_a_square_and_nothing_else(size, seed):
    changed = augment([Cutout(size)], make_key(seed), IMAGES)
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
    changed = augment([Cutout(1)], make_key(0), np.ones((400, 5, 5, 1), np.uint8))
    assert not changed.all(axis=0).any()


def test_crop_mirroring_and_an_even_square_by_hand():
    key, choices = make_key(4), (6, 5, 2, 3, 3)
    draws = [random_bits(fold_in(key, number), (len(IMAGES),)) % count for number, count in enumerate(choices)]
    changed = augment([RandomCrop(1), HorizontalFlip(), Cutout(2)], key, IMAGES)
    for image, after, row, column, mirrored, down, right in zip(IMAGES, changed, *draws, strict=True):
        expected = crops(image, 1)[3 * down + right]
        expected = expected[:, ::-1] if mirrored else expected
        expected[max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1] = 0
        np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("order", list(itertools.permutations(ALL)), ids=lambda order: type(order[0]).__name__)
def test_augmentations_are_applied_in_order(order):
    """Each draws from a key of its own, so that one after the other gives what all together give."""
    key, expected = make_key(7), IMAGES
    for augmentation in order:
        expected = augment([augmentation], key, expected)
    np.testing.assert_array_equal(augment(order, key, IMAGES), expected)


def test_the_bits_of_a_seed_stay_the_same():
    """Sums and pixels recorded when crop, mirroring and cutout were one function."""
    changed = augment(ALL, make_key(11), IMAGES).astype(np.int64)
    weights = np.arange(changed.size).reshape(changed.shape) % 1009
    assert (int(changed.sum()), int((weights * changed).sum())) == (212_222, 94_475_563)


def test_augmentations_of_ones_own_draw_apart_from_others():
    images = np.tile(IMAGES[:1], (1000, 1, 1, 1))
    kinds = ([VerticalFlip(), HorizontalFlip()], [VerticalFlip(), VerticalFlip()], [HorizontalFlip(), HorizontalFlip()])
    for augmentations, outcomes in zip(kinds, (4, 2, 2), strict=True):
        found, counts = np.unique(augment(augmentations, make_key(3), images), axis=0, return_counts=True)
        assert len(found) == outcomes  # with one key for both, two mirrorings would undo each other
        assert counts.min() > 1000 / outcomes - 70
    crops_twice = augment([RandomCrop(1), RandomCrop(1)], make_key(0), images[:, 1:4, 1:4])
    assert len(np.unique(crops_twice, axis=0)) > 25  # distances from -2 to 2, not only -2, 0 and 2


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_every_backend_makes_the_same_images(library):
    pytest.importorskip(library, exc_type=ImportError)
    backend, augmentations = resolve("cpu", library), [*ALL, VerticalFlip()]
    key = make_key(5)
    expected = augment(augmentations, key, IMAGES)
    actual = augment(augmentations, backend.asarray(key), backend.asarray(IMAGES))
    np.testing.assert_array_equal(to_numpy(actual), expected)
    assert not np.array_equal(expected, IMAGES)


@pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16"])
@pytest.mark.parametrize("count", [1, 39])
def test_a_cuda_kernel_makes_the_same_images_in_one_launch(dtype, count):
    cuda, key, images = resolve("cuda"), make_key(7), IMAGES[:count].astype(dtype)
    orders = [*itertools.permutations(ALL), [], [RandomCrop(4)], [*ALL, *ALL], [HorizontalFlip()] * 3, [Cutout(2)] * 8]
    for augmentations in orders:
        serving = table.find("augment", cuda.asarray(images), augmentations, [], cuda.asarray(key))
        assert (serving is None) is (dtype == "float16")
        actual = augment(augmentations, cuda.asarray(key), cuda.asarray(images))
        assert_same_bits(to_numpy(actual), augment(augmentations, key, images))


@pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device")
@pytest.mark.parametrize("augmentations", [[*ALL, VerticalFlip()], [HorizontalFlip()] * 9], ids=["unknown", "many"])
def test_what_the_cuda_kernel_does_not_know_is_left_to_array_operations(augmentations):
    cuda, key = resolve("cuda"), make_key(7)
    assert table.find("augment", cuda.asarray(IMAGES), augmentations, [], cuda.asarray(key)) is None
    actual = augment(augmentations, cuda.asarray(key), cuda.asarray(IMAGES))
    np.testing.assert_array_equal(to_numpy(actual), augment(augmentations, key, IMAGES))


@pytest.mark.parametrize("library", PRESENT)
@pytest.mark.parametrize("augmentations", [ALL, [VerticalFlip(), RandomCrop(1)]])
def test_rows_of_a_batch_are_changed_as_in_the_whole(library, augmentations):
    if library == "array_api_strict":
        pytest.skip("resolve does not know it")
    backend = resolve("cuda" if library == "cupy" else "cpu", library)
    key, images = backend.asarray(make_key(3)), backend.asarray(IMAGES)
    parts = [
        to_numpy(augment(augmentations, for_rows(key, first, len(IMAGES)), images[first:end, ...]))
        for first, end in ((0, 13), (13, 29), (29, len(IMAGES)))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), to_numpy(augment(augmentations, key, images)))


def test_the_array_api_standard_is_enough():
    import array_api_strict as xp

    augmentations, device = [*ALL, VerticalFlip()], xp.Device("device1")
    key = make_key(5)
    with xp.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
        actual = augment(augmentations, xp.asarray(key, device=device), xp.asarray(IMAGES, device=device))
    assert actual.device == device
    expected = augment(augmentations, key, IMAGES)
    np.testing.assert_array_equal(np.asarray(actual.to_device(xp.Device("CPU_DEVICE"))), expected)


def test_no_augmentation_changes_nothing():
    np.testing.assert_array_equal(augment([], make_key(0), IMAGES), IMAGES)


@pytest.mark.parametrize("value", [0, -1, 2**20 + 1, 1.5, True, 2**33])
@pytest.mark.parametrize(("kind", "name"), [(RandomCrop, "padding"), (Cutout, "size")])
def test_sizes_out_of_range_are_refused(kind, name, value):
    with refused(f"{kind.__name__}", f"{name} to be an integer from 1 to 1048576", f"got {value!r}"):
        kind(value)


@pytest.mark.parametrize(("kind", "name"), [(RandomCrop, "padding"), (Cutout, "size")])
def test_sizes_that_can_leave_nothing_of_an_image_do_not_fit(kind, name):
    for shape in ((6, 5, 3), (5, 6, 3)):
        check_fits([HorizontalFlip(), kind(4)], shape)
        with refused(f"{kind.__name__}", f"{name} below 5, the smaller side of the images", "got 5"):
            check_fits([HorizontalFlip(), kind(5)], shape)


@pytest.mark.parametrize("augmentation", [RandomCrop(1), HorizontalFlip(), Cutout(1), VerticalFlip()])
def test_only_images_are_augmented(augmentation):
    check_fits([], (784,))
    with refused(f"{type(augmentation).__name__}", "images (H, W, C)", "got inputs of shape (784,)"):
        check_fits([augmentation], (784,))


@pytest.mark.parametrize("wrong", [HorizontalFlip, "flip", None])
def test_what_is_not_an_augmentation_is_refused(wrong):
    with pytest.raises(InputError, match="expected augmentations, such as"):
        check_fits([wrong], (6, 5, 3))


@pytest.mark.parametrize("augmentation", [RandomCrop(4), Cutout(4)])
def test_sizes_that_fit_leave_something_of_every_image(augmentation):
    changed = augment([augmentation], make_key(0), np.repeat(IMAGES, 50, axis=0))
    assert changed.any(axis=(1, 2, 3)).all()


def test_the_largest_sizes_blacken_everything():
    for largest in (RandomCrop(2**20), Cutout(2**20)):
        assert not np.any(augment([largest], make_key(0), IMAGES))
