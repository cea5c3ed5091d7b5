import re

import pytest

from xpnet import datasets
from xpnet.errors import InputError


def test_every_name_has_a_loader_that_reads_a_folder(mnist_folder, cifar_folder):
    folders = {"mnist": mnist_folder, "cifar10": cifar_folder}
    assert set(datasets.names()) == set(folders)
    for name, folder in folders.items():
        assert datasets.load(name, folder).name == name


@pytest.mark.parametrize(
    ("name", "advice"),
    [("minst", "Did you mean 'mnist'?"), ("cifar", "Did you mean 'cifar10'?"), ("x", "Choose one")],
)
def test_unknown_name_lists_the_names_and_the_nearest(name, advice):
    with pytest.raises(InputError, match=re.escape(f"expected one of mnist, cifar10, got {name!r}. {advice}")):
        datasets.load(name)
