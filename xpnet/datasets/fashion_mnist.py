"""Fashion-MNIST: 28x28 grey images of clothes, 60,000 for training and 10,000 for testing."""

import os
from pathlib import Path

from xpnet.datasets.base import Dataset
from xpnet.datasets.download import RemoteFile, fetch
from xpnet.datasets.idx import read_dataset

_CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_URL = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/"
_FILES = (
    RemoteFile(_URL + "train-images-idx3-ubyte.gz", "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    RemoteFile(_URL + "train-labels-idx1-ubyte.gz", "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    RemoteFile(_URL + "t10k-images-idx3-ubyte.gz", "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    RemoteFile(_URL + "t10k-labels-idx1-ubyte.gz", "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
_HOW_TO_GET_IT = (
    f"Download the four files from {_URL} (on Debian, install the package dataset-fashion-mnist) "
    "and give their folder as data_dir."
)


def load(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Read Fashion-MNIST from the folder of its four files; without one, from Debian's package or a download.

    Shapes: images uint8 (N, 28, 28, 1), labels int32 (N,).

    Raises InputError naming the file that is missing, damaged, or at odds with another, or cannot be downloaded.
    Source: Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    arXiv:1708.07747, 2017.
    """
    folder = _default_folder() if data_dir is None else data_dir
    return read_dataset("fashion_mnist", folder, _CLASS_NAMES, _HOW_TO_GET_IT)


def _default_folder() -> Path:
    if _DEBIAN_FOLDER.is_dir():
        return _DEBIAN_FOLDER
    paths = [fetch("fashion_mnist", file, _HOW_TO_GET_IT) for file in _FILES]
    return paths[0].parent
