import os
import re
import shutil
import zlib

import numpy as np
import pytest
from PIL import Image

from xpnet.datasets import image_folder as module
from xpnet.datasets import split_indices
from xpnet.datasets.image_files import ImageFiles
from xpnet.datasets.image_folder import load
from xpnet.errors import InputError


def pixels(*paths):
    return np.stack([np.asarray(Image.open(path)) for path in paths])


def test_reads_training_and_test_images_by_class(image_folder):
    dataset = load(image_folder)
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train_targets.tolist() == [0] * 6 + [1] * 6
    assert dataset.test_targets.tolist() == [0, 0, 1, 1]
    assert dataset.validation_inputs is None
    for images, part in ((dataset.train_inputs, "train"), (dataset.test_inputs, "test")):
        paths = [path for name in ("cat", "dog") for path in sorted((image_folder / part / name).iterdir())]
        np.testing.assert_array_equal(images, pixels(*paths), strict=True)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_reads_validation_images(image_folder, to_png, name):
    array = np.full((4, 5, 3), 9, np.uint8)
    to_png(image_folder / name / "dog", [array])
    dataset = load(str(image_folder))
    np.testing.assert_array_equal(dataset.validation_inputs, [array])
    assert dataset.validation_targets.tolist() == [1]


@pytest.fixture
def single_level(tmp_path, to_png):
    """Folders of two classes of 24 and 5 images; the first pixel of an image is its number."""
    images = np.repeat(np.arange(29, dtype=np.uint8), 12).reshape(29, 2, 2, 3)
    to_png(tmp_path / "flat" / "plane", images[:24])
    to_png(tmp_path / "flat" / "train", images[24:])
    return tmp_path / "flat"


def first_pixels(images):
    return images[:, 0, 0, 0].tolist()


def test_without_a_test_folder_a_tenth_is_for_testing_and_always_the_same(single_level):
    dataset = load(single_level)
    assert dataset.class_names == ("plane", "train")
    numbers = [first_pixels(dataset.train_inputs), first_pixels(dataset.test_inputs)]
    assert numbers == [sorted(part.tolist()) for part in split_indices(29, 2, seed=0)]
    labels = [*dataset.train_targets, *dataset.test_targets]
    assert labels == [int(number >= 24) for part in numbers for number in part]


def test_training_images_are_split_where_only_tests_are_missing(image_folder):
    shutil.rmtree(image_folder / "test")
    dataset = load(image_folder)
    assert (len(dataset.train_targets), len(dataset.test_targets)) == (11, 1)


def test_other_files_and_folders_are_passed_over(image_folder, tmp_path):
    before = load(image_folder)
    cats = image_folder / "train" / "cat"
    (cats / "notes.txt").write_text("no image")
    (cats / "folder.png").mkdir()
    (cats / "link.png").symlink_to(image_folder / "test" / "cat" / "000.png")
    os.mkfifo(cats / "pipe.png")
    (image_folder / "train" / ".hidden").mkdir()
    (image_folder / "train" / "list.csv").write_text("")
    (image_folder / "train" / "linked").symlink_to(image_folder / "train" / "dog")
    (image_folder / "other").mkdir()
    after = load(image_folder)
    assert after.class_names == before.class_names
    np.testing.assert_array_equal(after.train_inputs, before.train_inputs)


def test_names_in_capitals_and_jpeg_files_count(image_folder):
    cats = image_folder / "train" / "cat"
    (cats / "000.png").rename(cats / "A.PNG")
    Image.open(cats / "001.png").save(cats / "B.Jpg")
    Image.open(cats / "001.png").save(cats / "c.JPEG")
    assert load(image_folder).train_targets.tolist() == [0] * 8 + [1] * 6


@pytest.mark.parametrize(("height", "width"), [(8, 5), (4, 6)])
def test_images_of_one_size_keep_it_and_others_need_a_flag(image_folder, to_png, height, width):
    to_png(image_folder / "val" / "dog", [np.zeros((height, width, 3), np.uint8)])
    odd, first = image_folder / "val" / "dog" / "000.png", image_folder / "train" / "cat" / "000.png"
    sizes = f"4x5 (height x width) in {str(first)!r} and {height}x{width} in {str(odd)!r}"
    message = f"expected images of one size, got {sizes}. "
    with pytest.raises(InputError, match=re.escape(message) + ".*image_size"):
        load(image_folder)
    dataset = load(image_folder, [2, 3])
    assert dataset.train_inputs.shape == (12, 2, 3, 3)
    assert dataset.validation_inputs.shape == (1, 2, 3, 3)


def test_images_are_grey_only_if_all_are(image_folder, tmp_path, to_png):
    for name in "ab":
        to_png(tmp_path / "grey" / name, [np.full((4, 5), ord(name), np.uint8)] * 3)
    dataset = load(tmp_path / "grey")
    assert dataset.input_shape == (4, 5, 1)
    assert set(dataset.train_inputs.ravel()) == {ord("a"), ord("b")}
    to_png(image_folder / "val" / "cat", [np.full((4, 5), 7, np.uint8)])
    np.testing.assert_array_equal(load(image_folder).validation_inputs, np.full((1, 4, 5, 3), 7, np.uint8))


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_that_cannot_be_read_are_left_out_with_one_warning(image_folder, caplog, monkeypatch, in_memory):
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", (1 << 30) * in_memory)
    before = load(image_folder)
    for number in (2, 4):
        (image_folder / "train" / "dog" / f"{number:03}.png").write_bytes(b"no image")
    dataset = load(image_folder)
    np.testing.assert_array_equal(dataset.train_inputs[:], before.train_inputs[[0, 1, 2, 3, 4, 5, 6, 7, 9, 11]])
    assert dataset.train_targets.tolist() == [0] * 6 + [1] * 4
    (message,) = caplog.messages
    first = str(image_folder / "train" / "dog" / "002.png")
    assert message.startswith(
        f"Images left out because they cannot be read: 2. The first is {first!r}: cannot identify"
    )


def test_images_found_damaged_when_decoded_are_left_out_too(image_folder, caplog):
    before = load(image_folder)
    for name in ("cat/001.png", "dog/005.png"):
        path = image_folder / "train" / name
        path.write_bytes(path.read_bytes()[:60])
    dataset = load(image_folder)
    np.testing.assert_array_equal(dataset.train_inputs, before.train_inputs[[0, *range(2, 11)]])
    assert dataset.train_targets.tolist() == [0] * 5 + [1] * 5
    (message,) = caplog.messages
    assert message.startswith("Images left out because they cannot be read: 2. ")


def test_images_that_do_not_fit_in_memory_stay_in_their_files(image_folder, to_png, monkeypatch):
    to_png(image_folder / "val" / "dog", [np.full((4, 5, 3), 9, np.uint8)])
    expected = load(image_folder)
    assert isinstance(expected.train_inputs, np.ndarray)
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 17 * 60)
    assert isinstance(load(image_folder).train_inputs, np.ndarray)
    monkeypatch.setattr(module, "IN_MEMORY_BYTES", 17 * 60 - 1)
    dataset = load(image_folder)
    assert dataset.input_shape == expected.input_shape
    for part in ("train", "test", "validation"):
        images = getattr(dataset, f"{part}_inputs")
        assert isinstance(images, ImageFiles)
        np.testing.assert_array_equal(images[:], getattr(expected, f"{part}_inputs"))
        np.testing.assert_array_equal(getattr(dataset, f"{part}_targets"), getattr(expected, f"{part}_targets"))


def validate_twice(folder):
    shutil.copytree(folder / "test", folder / "val")
    shutil.copytree(folder / "test", folder / "validation")


def empty(folder):
    for path in (folder / "test" / "dog").iterdir():
        path.unlink()


def spoil(folder):
    for path in (folder / "train" / "cat").iterdir():
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: shutil.rmtree(folder),
            "FOLDER: expected a readable folder, got: No such file or directory. Put",
        ),
        (validate_twice, "FOLDER: expected one folder of validation images, got val and validation. Remove one."),
        (empty, "FOLDER/test/dog: expected readable PNG or JPEG images, got none. Add images"),
        (spoil, "FOLDER/train/cat: expected readable PNG or JPEG images, got 6 unreadable ones. Add images"),
        (
            lambda folder: (folder / "test" / "cow").mkdir(),
            "FOLDER/test: expected the classes of the training images, got 'cow'. Remove this folder, or add training",
        ),
        (
            lambda folder: (folder / "train" / "a\nb").mkdir(),
            r"FOLDER/train: expected class names that can be printed, got 'a\nb'. Rename this folder.",
        ),
        (
            lambda folder: shutil.rmtree(folder / "train" / "cat"),
            "FOLDER/train: expected folders of 2 classes or more, got 1. Put the images into train/<class>/ and test/",
        ),
    ],
)
def test_a_wrong_folder_is_named(image_folder, change, message):
    change(image_folder)
    with pytest.raises(InputError, match=re.escape(message.replace("FOLDER", str(image_folder)))) as error:
        load(image_folder)
    assert "\n" not in str(error.value)


def test_no_folder_or_a_file(image_folder):
    with pytest.raises(InputError, match=r"folder: expected a folder of images, got no data_dir"):
        load(None)
    path = image_folder / "train" / "cat" / "000.png"
    with pytest.raises(InputError, match=f"{path}: expected a readable folder, got: Not a directory"):
        load(path)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((0, 5), "the image height to be an integer of at least 1, got 0"),
        ((5, -1), "the image width to be an integer of at least 1, got -1"),
        ((5, 2.5), "the image width to be an integer"),
        ((60_000, 60_000), "at most 67108864 pixels in an image, got 60000x60000"),
        ((5,), "an image size of height and width, got (5,)"),
        ("55", "the image height to be an integer"),
        (5, "an image size of height and width, got 5"),
    ],
)
def test_a_wrong_image_size_is_refused(image_folder, size, message):
    with pytest.raises(InputError, match=re.escape(f"folder: expected {message}")):
        load(image_folder, size)


def test_the_largest_image_size_is_admitted(image_folder):
    assert load(image_folder, (8192, 8192)).input_shape == (8192, 8192, 3)  # left in files


def test_one_image_of_60000_by_60000_is_left_out(image_folder, caplog):
    path = image_folder / "train" / "cat" / "bomb.png"
    content = bytearray((image_folder / "train" / "cat" / "000.png").read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    assert len(load(image_folder).train_targets) == 12
    assert "decompression bomb" in caplog.text
