import re

import pytest

from xpnet import datasets
from xpnet.errors import InputError


def test_every_name_has_a_loader_that_reads_a_folder(mnist_folder, cifar_folder, fer_folder, image_folder):
    folders = {
        "mnist": mnist_folder,
        "fashion_mnist": mnist_folder,
        "cifar10": cifar_folder,
        "fer2013": fer_folder,
        "folder": image_folder,
    }
    assert set(datasets.names()) == {*folders, "shapes"}
    for name, folder in folders.items():
        assert datasets.load(name, folder).name == name


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("minst", "Did you mean 'mnist'?"),
        ("cifar", "Did you mean 'cifar10'?"),
        ("x", "Choose one"),
        (None, "Choose one"),
    ],
)
def test_unknown_name_lists_the_names_and_the_nearest(name, advice):
    names = "mnist, fashion_mnist, cifar10, fer2013, shapes, folder"
    with pytest.raises(InputError, match=re.escape(f"expected one of {names}, got {name!r}. {advice}")):
        datasets.load(name)


def test_an_image_size_is_for_folders(mnist_folder, image_folder):
    assert datasets.load("folder", image_folder, (3, 2)).input_shape == (3, 2, 3)
    with pytest.raises(InputError, match="expected no image size for mnist, whose images have their own, got one"):
        datasets.load("mnist", mnist_folder, (28, 28))
