"""The array libraries that the tests run on: the one place that lists them.

Where a library has a second device the tests use that one, so that an array created without ``device=`` shows.
"""

import importlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

import hypothesis
import pytest

# Before JAX is first used: float64 for the gradient checks, and a second device.
os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_NUM_CPU_DEVICES"] = "2"
# Before NumPy is imported: the processes of pytest -n share the cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["SCIPY_ARRAY_API"] = "1"  # before SciPy is imported: without it scikit-learn takes NumPy arrays only

from xpnet import backend as backends
from xpnet import cuda_graph, kernels
from xpnet.errors import InputError

# The same examples in every run: a red test stays red until it is mended.
hypothesis.settings.register_profile("xpnet", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("xpnet")


def _gpu_answers() -> bool:
    try:
        return backends.resolve("cuda").name == "cupy"
    except InputError:
        return False


LIBRARIES = {
    "numpy": True,
    "array_api_strict": True,
    "torch": find_spec("torch") is not None,
    "jax": find_spec("jax") is not None,
    "cupy": _gpu_answers(),
}
PRESENT = [library for library, present in LIBRARIES.items() if present]


def pytest_report_header() -> str:
    """Say which libraries the run covers; one that is absent would otherwise be missed by nobody."""
    absent = [library for library in LIBRARIES if library not in PRESENT]
    return f"array libraries: {', '.join(PRESENT)}; not here: {', '.join(absent) or 'none'}"


@pytest.fixture(params=PRESENT)
def backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Each array library in turn, with a device of it."""
    with _running(request.param) as backend:
        yield backend


@pytest.fixture(params=PRESENT)
def other_backend(request: pytest.FixtureRequest) -> Iterator[backends.Backend]:
    """Each library once more, for what goes from one to another."""
    with _running(request.param) as backend:
        yield backend


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception], None]:
    """Let a library be there whose import fails."""

    def install(library: str, error: Exception) -> None:
        def import_module(name: str, package: str | None = None) -> ModuleType:
            if name == library:
                raise error
            return real(name, package)

        real = importlib.import_module
        monkeypatch.setattr(importlib, "import_module", import_module)

    return install


@contextmanager
def _running(library: str) -> Iterator[backends.Backend]:
    if not LIBRARIES[library]:
        pytest.skip(f"{library} is not here")
    if library == "numpy":
        yield backends.resolve("cpu")
    elif library == "array_api_strict":
        import array_api_strict as xp

        # What a compiler or a GPU makes slow or impossible is switched off.
        with xp.ArrayAPIStrictFlags(boolean_indexing=False, data_dependent_shapes=False):
            yield backends.Backend("array_api_strict", xp, xp.Device("device1"))
    elif library == "torch":
        import torch

        with torch.device("meta"):  # the default, on which nothing can be computed
            yield backends.resolve("cpu", "torch")
    elif library == "jax":
        import jax

        yield backends.Backend("jax", backends.resolve("cpu", "jax").xp, jax.devices("cpu")[1])
    else:
        yield backends.resolve("cuda")


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Kernels that a CUDA graph can hold; and how many graphs were recorded, and how often one was replayed."""
    if not LIBRARIES["cupy"]:
        pytest.skip("needs a CUDA device")
    counts: Counter[str] = Counter()

    class Recording(cuda_graph._Recording):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            counts["recordings"] += 1

        def replay(self, *arguments):
            counts["replays"] += 1
            return super().replay(*arguments)

    monkeypatch.setattr(cuda_graph, "_Recording", Recording)
    kernels.use("fastest", recordable=True)
    yield counts
    kernels.use("fastest")
