import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.helpers import assert_lives_on, refused
from xpnet import backend as backends
from xpnet.backend import on_accelerator, resolve, to_numpy

INSTALL_CUPY = (
    'CuPy is not installed. Install it with: pip install "xpnet[cuda13]" (CUDA 13) or "xpnet[cuda12]"; '
    "or run with device='cpu'."
)


@pytest.fixture
def without(monkeypatch):
    """Let the import of a library fail as if it were not installed."""
    return lambda library: monkeypatch.setitem(sys.modules, library, None)


# What the flags choose


def test_cpu_is_numpy():
    for chosen in (resolve(), resolve("cpu"), resolve("cpu", "numpy"), resolve("auto", "numpy")):
        assert (chosen.name, chosen.device, chosen.device_name()) == ("numpy", "cpu", "cpu")


def test_auto_is_numpy_without_cupy(without):
    without("cupy")
    assert resolve("auto").name == "numpy"


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_torch(monkeypatch, device):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    chosen = resolve(device, "torch")
    assert (chosen.name, chosen.device, chosen.device_name()) == ("torch", torch.device("cpu"), "cpu")
    assert chosen.describe() == f"torch {torch.__version__} on cpu"


@pytest.mark.parametrize(
    ("device", "expected"), [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("mps", "mps")]
)
def test_torch_on_a_gpu(monkeypatch, device, expected):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    chosen = resolve(device, "torch")
    assert (chosen.device, chosen.device_name()) == (torch.device(expected), expected)


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_jax(device):
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "cpu":
        pytest.skip("JAX sees a GPU")
    chosen = resolve(device, "jax")
    assert (chosen.name, chosen.device, chosen.device_name()) == ("jax", jax.devices("cpu")[0], "cpu")


@pytest.mark.parametrize(("device", "expected"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")])
def test_jax_on_a_gpu(monkeypatch, device, expected):
    jax = pytest.importorskip("jax")
    gpus = [SimpleNamespace(platform="gpu", id=number) for number in range(2)]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", {"gpu": gpus}.get)
    assert resolve(device, "jax").device_name() == expected


# What the flags cannot have


@pytest.mark.parametrize(
    "device", ["gpu", "", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:", "cpu:0", "auto:1", "mps:0"]
)
def test_unknown_device(device):
    with refused(f"device {device!r}", "one of cpu, cuda, cuda:N, mps, auto."):
        resolve(device)


def test_unknown_backend():
    with refused("backend 'tensorflow'", "one of numpy, cupy, torch, jax."):
        resolve("cpu", "tensorflow")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_numpy_is_on_the_cpu_only(device):
    with refused(f"device {device!r}: NumPy computes on the CPU. Use device='cpu'"):
        resolve(device, "numpy")


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_cupy_is_on_cuda_only(device):
    with refused(f"device {device!r}: CuPy computes on CUDA GPUs. Use device='cuda'"):
        resolve(device, "cupy")


def test_mps_needs_torch():
    with refused("device 'mps': NumPy and CuPy have no such device. Add backend='torch', or use device='cpu'."):
        resolve("mps")


@pytest.mark.parametrize(("device", "backend"), [("cuda", None), ("cuda:1", None), ("cuda", "cupy"), ("auto", "cupy")])
def test_cupy_is_not_installed(without, device, backend):
    without("cupy")
    with refused(f"device {device!r}: {INSTALL_CUPY}"):
        resolve(device, backend)


@pytest.mark.parametrize(("library", "name"), [("torch", "PyTorch"), ("jax", "JAX")])
def test_library_is_not_installed(without, library, name):
    without(library)
    with refused(
        f"backend {library!r}: {name} is not installed. "
        f'Install it with: pip install "xpnet[{library}]"; or leave backend out.'
    ):
        resolve("cpu", library)


@pytest.mark.parametrize(
    ("count", "device", "expected"),
    [
        (0, "cuda", "with PyTorch, no CUDA devices found. Use device='cpu'."),
        (2, "cuda:5", "with PyTorch, 2 CUDA devices found. Use device='cuda:0' to cuda:1."),
    ],
)
def test_torch_has_no_such_device(monkeypatch, count, device, expected):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with refused(f"device {device!r}: {expected}"):
        resolve(device, "torch")


def test_torch_finds_no_apple_gpu(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with refused("device 'mps': PyTorch finds no Apple GPU here. Use device='cpu'."):
        resolve("mps", "torch")


def test_jax_has_no_such_device(monkeypatch):
    jax = pytest.importorskip("jax")

    def no_gpu(platform):
        raise RuntimeError(f"Unknown backend {platform}")

    monkeypatch.setattr(jax, "devices", no_gpu)
    with refused("device 'cuda': with JAX, no CUDA devices found. Use device='cpu'."):
        resolve("cuda", "jax")
    with refused("device 'mps': JAX is supported on cpu and cuda. Use backend='torch', or device='cpu'."):
        resolve("mps", "jax")


# Arrays from one library to another


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64", "bool"])
def test_arrays_move_between_any_two_libraries(backend, other_backend, dtype):
    values = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    moved = backend.asarray(other_backend.asarray(values))
    assert_lives_on(moved, backend, dtype)
    assert type(to_numpy(moved)) is np.ndarray
    np.testing.assert_array_equal(to_numpy(moved), values, strict=True)


def test_arrays_move_as_another_dtype(backend, other_backend):
    moved = backend.asarray(other_backend.asarray(np.array([7, 255], np.uint8)), "float32")
    assert_lives_on(moved, backend, "float32")
    assert to_numpy(moved).tolist() == [7.0, 255.0]


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize("backend", ["array_api_strict", "jax"], indirect=True)
def test_arrays_move_between_devices_of_one_library(backend, dtype):
    on_default_device = backend.xp.asarray([1.0, 2.0], dtype=backend.xp.float64)
    assert on_default_device.device != backend.device
    moved = backend.asarray(on_default_device, dtype)
    assert_lives_on(moved, backend, dtype or "float64")
    assert to_numpy(moved).tolist() == [1.0, 2.0]


def test_arrays_that_cannot_be_written_to_move_too(backend):
    moved = backend.asarray(np.broadcast_to(np.float64(0.5), (3,)), "float32")
    assert_lives_on(moved, backend, "float32")
    assert to_numpy(moved).tolist() == [0.5, 0.5, 0.5]


def test_arrays_in_another_memory_order_move_too(backend):
    reversed_view = np.arange(6.0).reshape(2, 3).T[::-1]
    np.testing.assert_array_equal(to_numpy(backend.asarray(reversed_view)), reversed_view)


def test_of_finds_the_backend_an_array_lives_on(backend):
    found = backends.backend_of(backend.asarray(np.zeros(2)))
    assert (found.name, found.device) == (backend.name, backend.device)
    assert_lives_on(found.asarray(np.ones(2)), backend, "float64")


def test_torch_arrays_that_record_gradients_come_to_the_host():
    torch = pytest.importorskip("torch")
    assert to_numpy(torch.ones(2, requires_grad=True)).tolist() == [1.0, 1.0]


def test_numpy_keeps_its_name_when_a_gradient_of_integers_by_jax_is_the_first_array():
    jax = pytest.importorskip("jax")
    spec = importlib.util.find_spec("xpnet.backend")
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    gradient = np.zeros(2, dtype=jax.dtypes.float0)
    assert fresh.array_namespace(gradient) is fresh.array_namespace(np.ones(2)) is backends.array_namespace(np.ones(2))
    assert fresh.namespace_name(gradient) == fresh.namespace_name(np.ones(2)) == "numpy"


@pytest.mark.parametrize("value", [[1, 2], 3.0, "image.png", None])
def test_what_is_no_array(value):
    with refused("Array", "an array of NumPy, CuPy, PyTorch or JAX", f"got {type(value).__name__}"):
        resolve("cpu").asarray(value)


def test_jax_that_would_compute_in_float32():
    jax = pytest.importorskip("jax")
    chosen = resolve("cpu", "jax")
    jax.config.update("jax_enable_x64", False)
    try:
        with refused("dtype float64: JAX computes in float32 by default.", "JAX_ENABLE_X64=1"):
            chosen.dtype("float64")
        assert chosen.dtype("float32") == np.float32
    finally:
        jax.config.update("jax_enable_x64", True)


# Devices


def test_what_counts_as_an_accelerator(backend):
    assert on_accelerator(backend.asarray(np.zeros(1))) is (backend.name == "cupy")


def test_a_torch_array_off_the_cpu_is_on_an_accelerator():
    torch = pytest.importorskip("torch")
    assert on_accelerator(torch.zeros(1, device="meta"))


def test_a_traced_jax_array_is_on_the_default_device(monkeypatch):
    jax = pytest.importorskip("jax")
    answers = []

    def trace(x):
        answers.append(on_accelerator(x))
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        answers.append(on_accelerator(x))
        return x

    jax.make_jaxpr(trace)(jax.numpy.zeros(1))
    assert answers[1] is True
    assert answers[0] is (jax.devices()[0].platform != "cpu")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'nvidia'", name="nvidia"), "cupy: is installed but lacks nvidia."),
        (ImportError("libcudart.so.13: cannot open"), "cupy: is installed but cannot be loaded (libcudart.so.13"),
    ],
)
def test_a_library_that_is_there_but_fails_says_so(broken, error, message):
    broken("cupy", error)
    with refused(message):
        resolve("cuda")
