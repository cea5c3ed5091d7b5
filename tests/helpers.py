"""What several test files need."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xpnet import backend as backends
from xpnet import datasets
from xpnet.backend import Array, Backend
from xpnet.errors import InputError
from xpnet.layout import walk
from xpnet.network import Network
from xpnet.torch_weights import torch_name


def assert_close(actual: Array, expected: Array, *, rtol: float = 0.0, atol: float = 0.0) -> None:
    """Check that two arrays agree in library, dtype, shape and device, and in value (exactly unless told otherwise)."""
    here, there = backends.backend_of(actual), backends.backend_of(expected)
    assert here.name == there.name
    assert actual.dtype == expected.dtype
    assert tuple(actual.shape) == tuple(expected.shape)
    assert here.device == there.device
    np.testing.assert_allclose(backends.to_numpy(actual), backends.to_numpy(expected), rtol=rtol, atol=atol)


def assert_lives_on(array: Array, backend: Backend, dtype: str) -> None:
    """Check an array's library, device and dtype."""
    home = backends.backend_of(array)
    assert (home.name, home.device) == (backend.name, backend.device)
    assert array.dtype == backend.dtype(dtype)


def leaves(tree: Any) -> Iterator[Any]:
    """What a tree of mappings (by name, since JAX sorts them) and sequences holds."""
    if isinstance(tree, Mapping):
        tree = [tree[name] for name in sorted(tree)]
    if isinstance(tree, list | tuple):
        for node in tree:
            yield from leaves(node)
    else:
        yield tree


def host_copies(tree: Any) -> list[np.ndarray]:
    """Copies of a tree's arrays that later writes to them cannot reach."""
    return [np.array(backends.to_numpy(array)) for array in leaves(tree)]


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Check that two trees of arrays are the same in dtypes and in every bit of their values."""
    for ours, theirs in zip(host_copies(actual), host_copies(expected), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def off_kinks(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values from -2 to 2 in random order, evenly apart and none of them 0: far from where ReLU or a maximum bends."""
    size = int(np.prod(shape))
    values = (np.arange(size) + 0.5 - size // 2) * (4 / size)
    return rng.permutation(values).reshape(shape)


def assert_is_gradient(
    function: Callable[..., float], values: Mapping[str, np.ndarray], gradients: Mapping[str, Array]
) -> None:
    """Check gradients against central differences along a random direction of each value in turn, in float64."""
    rng, step = np.random.default_rng(11), 1e-5
    for name, value in values.items():
        direction = rng.normal(size=value.shape)
        up, down = (function(**{**values, name: value + sign * step * direction}) for sign in (1, -1))
        expected = (up - down) / (2 * step)
        actual = float(np.sum(backends.to_numpy(gradients[name]) * direction))
        assert abs(expected) > 1e-4, f"{name}: the slope is too small to tell right from wrong"
        error = abs(actual - expected) / max(abs(actual), abs(expected))
        assert error <= 1e-6, f"{name}: slope {actual} from backward, {expected} from finite differences"


def write_digits(folder: Path) -> None:
    """400 training and 100 test images of MNIST, in MNIST's files."""
    mnist = datasets.load("mnist")
    for name, array in {
        "train-images-idx3-ubyte": mnist.train_inputs[:400, :, :, 0],
        "train-labels-idx1-ubyte": mnist.train_targets[:400],
        "t10k-images-idx3-ubyte": mnist.test_inputs[:100, :, :, 0],
        "t10k-labels-idx1-ubyte": mnist.test_targets[:100],
    }.items():
        sizes = np.array(array.shape, ">i4").tobytes()
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A disk that is full as soon as a file has so many bytes: there the system refuses to write."""
    resource = pytest.importorskip("resource")  # Windows has none
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def refused(*parts: str) -> Iterator[None]:
    """Check for an InputError of one line, ``<Where>: <what is wrong>. <What to do>.``, that holds these words."""
    with pytest.raises(InputError) as caught:
        yield
    message = str(caught.value)
    assert re.fullmatch(r".+: .+\. .+[.?]", message), message
    for part in parts:
        assert part in message


def torch_named(network: Network, torch_name: Callable[[str], str] = torch_name) -> dict[str, np.ndarray]:
    """A network's tensors by torchvision's names and in its layout, but for dense layers behind a Flatten of images."""
    named = {**network.parameters(), **dict(walk(network.state))}
    return {
        torch_name(name): np.ascontiguousarray(np.moveaxis(tensor, -1, 1) if tensor.ndim == 4 else tensor)
        for name, tensor in named.items()
        if not name.startswith("normalize")
    }


def blocks_of(text: str, language: str = "python") -> list[str]:
    """The blocks of code of a Markdown page that are in a language."""
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
