"""What programs change about their process."""

import dataclasses
import importlib.util
import subprocess
import sys
import types

import numpy as np
import pytest

from tests.helpers import refused
from xpnet import Network, kernels, runtime
from xpnet.backend import to_numpy
from xpnet.datasets import Dataset
from xpnet.kernels import onednn_kernels, sharing, table, unrolled
from xpnet.layers import Dense
from xpnet.runs.settings import make_run
from xpnet.runtime import Runtime
from xpnet.shapes import make_window
from xpnet.training import TrainConfig, Trainer


@pytest.fixture(autouse=True)
def leave_the_process_alone(monkeypatch):
    """The tests share one process."""
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.setenv("XLA_FLAGS", "")
    yield
    kernels.use("fastest")
    sharing.set_threads(1)


def test_threads_are_those_asked_for(monkeypatch):
    Runtime(threads=3).configure()
    assert sharing.threads() == 3
    monkeypatch.setattr(runtime, "cores", lambda: 5)
    Runtime().configure()
    assert sharing.threads() == 5


@pytest.mark.parametrize(("threads", "message"), [(0, "of at least 1, got 0."), (1025, "at most 1024, got 1025.")])
def test_a_number_of_threads_that_no_machine_has(threads, message):
    with refused("Runtime: expected threads ", message):
        Runtime(threads=threads)


@pytest.mark.parametrize(("flag", "tuned"), [(True, [1]), (False, [])])
def test_malloc_is_tuned_unless_told_otherwise(monkeypatch, flag, tuned):
    calls = []
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: calls.append(1))
    Runtime(threads=1, tune_malloc=flag).configure()
    assert calls == tuned


def test_pure_kernels_serve_numpy_where_asked_for(monkeypatch):
    Runtime(threads=1, kernels="pure").configure()
    monkeypatch.setattr(unrolled, "conv2d", lambda *arguments: "pure")
    x = np.zeros((1, 3, 3, 1), np.float32)
    assert kernels.conv2d(x, np.zeros((1, 1, 1, 1), np.float32), None, make_window("test", 1, 1, 0)) == "pure"


def test_blas_has_one_thread_once_convolutions_are_shared():
    """In a process of its own, since it stays so."""
    program = """
import numpy, threadpoolctl
from xpnet.kernels import numpy_kernels, sharing
from xpnet.shapes import make_window

def blas_threads():
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

threadpoolctl.threadpool_limits(2)
sharing.set_threads(2)
x, window = numpy.ones((64, 32, 32, 16), "f"), make_window("test", 5, 1, 2)
before = blas_threads()
numpy_kernels.conv2d(x[:1], numpy.ones((16, 5, 5, 16), "f"), None, window)
small = blas_threads()
numpy_kernels.conv2d(x, numpy.ones((16, 5, 5, 16), "f"), None, window)
assert before == small and set(blas_threads()) == {1}, (before, small, blas_threads())
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def run_alone(code):
    """What a process of its own prints; what is set here stays in a process."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_libraries_are_told_to_be_deterministic():
    code = (
        "import os; from xpnet import kernels; from xpnet.runtime import Runtime; "
        "os.environ['XLA_FLAGS'] = '--xla_dump_to=x'; "
        "Runtime(deterministic=True).configure(); "
        "print(kernels.is_deterministic(), os.environ['CUBLAS_WORKSPACE_CONFIG'], os.environ['XLA_FLAGS'])"
    )
    assert run_alone(code) == ["True", ":4096:8", "--xla_dump_to=x", "--xla_gpu_deterministic_ops=true"]


def test_pytorch_is_told_by_a_call_and_loaded_for_it_only_if_it_computes():
    pytest.importorskip("torch", exc_type=ImportError)
    code = (
        "import sys; from xpnet.runtime import Runtime; Runtime(deterministic=True).configure(); "
        "print('torch' in sys.modules);"
        " Runtime(deterministic=True, backend='torch').configure(); import torch; "
        "print(torch.are_deterministic_algorithms_enabled())"
    )
    assert run_alone(code) == ["False", "True"]


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_a_deterministic_run_on_the_cpu_is_the_run_it_always_was(library):
    pytest.importorskip(library, exc_type=ImportError)
    code = (
        "import hashlib; from xpnet.backend import to_numpy; from xpnet.runs.settings import make_run; "
        "run = make_run('mnist_starter', iterations=4, limit=64, validation=8, deterministic={}, backend='{}'); "
        "trainer = run.make_trainer(); trainer.run(); "
        "print(hashlib.sha256(to_numpy(trainer.network.theta).tobytes()).hexdigest())"
    )
    assert run_alone(code.format(True, library)) == run_alone(code.format(False, library))


def test_pooling_on_a_gpu_is_pytorchs_own_unless_it_must_be_deterministic():
    """The device meta stands for a GPU."""
    torch = pytest.importorskip("torch", exc_type=ImportError)
    window, x = make_window("Test", 2, 2, 0), torch.zeros((1, 4, 4, 1), device="meta")

    def server(x):
        return table.name_of(table.find("max_pool2d", x, window))

    Runtime().configure()
    assert server(x) == "torch_kernels"
    Runtime(deterministic=True).configure()
    assert server(x) == "pooling"
    assert server(torch.zeros((1, 4, 4, 1))) == "torch_kernels"


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"dtype": "float16"}, ("dtype", "float32, float64", "'float16'")),
        ({"kernels": "fast"}, ("kernels", "pure", "'fast'")),
        ({"precision": "float8"}, ("precision", "bfloat16", "'float8'")),
        ({"precision": "float16", "dtype": "float64"}, ("dtype='float32'", "float64")),
        ({"precision": "tf32", "dtype": "float64"}, ("dtype='float32'", "float64")),
        ({"threads": 1.5}, ("threads", "1.5")),
        ({"device": "gpu"}, ("device 'gpu'", "cuda")),
        ({"backend": "tf"}, ("backend 'tf'", "torch")),
        ({"graph": "yes"}, ("graph", "True or False", "'yes'")),
        ({"tune_malloc": "no"}, ("tune_malloc", "True or False")),
    ],
)
def test_settings_that_are_not_there_are_refused(settings, parts):
    with refused(*parts):
        Runtime(**settings)


# Traps: what a runtime says is done, or refused; from Python as from the command line


def fit(placed=None, **settings):
    rng = np.random.default_rng(0)
    network = Network([Dense(2)], (3,), device=placed)
    network.fit(rng.normal(size=(8, 3)), np.arange(8) % 2, progress=False, runtime=Runtime(**settings))
    return network


def test_threads_and_kernels_and_malloc_are_set_by_fit_as_by_the_command_line(monkeypatch):
    calls = []
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: calls.append(1))
    fit(threads=3, kernels="pure")
    assert (sharing.threads(), kernels.in_use()["kernels"], calls) == (3, "pure", [1])
    fit(tune_malloc=False)
    assert (sharing.threads(), kernels.in_use()["kernels"], calls) == (runtime.cores(), "fastest", [1])


def test_determinism_is_set_by_fit():
    fit(deterministic=True)
    assert kernels.is_deterministic()
    fit()
    assert not kernels.is_deterministic()


def test_pytorch_is_deterministic_where_it_is_the_networks():
    pytest.importorskip("torch", exc_type=ImportError)
    code = (
        "import torch; from xpnet import Network; from xpnet.layers import Dense; from xpnet.runtime import Runtime; "
        "net = Network([Dense(2)], (3,)); runtime = Runtime(deterministic=True); "
        "net.fit(torch.rand(4, 3), torch.arange(4) % 2, progress=False, runtime=runtime); "
        "print(torch.are_deterministic_algorithms_enabled())"
    )
    assert run_alone(code) == ["True"]


def test_fit_without_a_runtime_uses_all_cores_and_tunes_malloc(monkeypatch):
    calls = []
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: calls.append(1))
    monkeypatch.setattr(runtime, "_is_configured", False)
    monkeypatch.setattr(runtime, "cores", lambda: 5)
    sharing.set_threads(1)
    plain_fit()
    assert (sharing.threads(), calls) == (5, [1])


def plain_fit():
    Network([Dense(2)], (3,)).fit(np.ones((4, 3)), np.arange(4) % 2, progress=False)


def test_fit_without_a_runtime_leaves_what_was_configured():
    Runtime(threads=1, tune_malloc=False).configure()
    with kernels.using("pure"):
        plain_fit()
        assert kernels.in_use()["kernels"] == "pure"
    assert sharing.threads() == 1


@pytest.mark.parametrize(
    "use", [Network.predict, Network.predict_proba, lambda network, x: network.evaluate(x, [0, 1])]
)
def test_a_first_prediction_uses_all_cores_and_tunes_malloc_once(monkeypatch, use):
    calls = []
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: calls.append(1))
    monkeypatch.setattr(runtime, "_is_configured", False)
    monkeypatch.setattr(runtime, "cores", lambda: 5)
    sharing.set_threads(1)
    network = Network([Dense(2)], (3,))
    for _ in range(2):
        use(network, np.ones((2, 3)))
    assert (sharing.threads(), calls) == (5, [1])


def test_a_prediction_leaves_what_was_configured():
    Runtime(threads=3, tune_malloc=False).configure()
    Network([Dense(2)], (3,)).predict(np.ones((2, 3)))
    assert sharing.threads() == 3


def test_a_precision_that_float64_does_not_have_is_refused():
    for precision in ("float16", "tf32"):
        with refused("expected dtype='float32'", precision):
            Network([Dense(2)], (3,), dtype="float64").fit(
                np.ones((4, 3)), np.arange(4) % 2, progress=False, runtime=Runtime(precision=precision)
            )


def test_a_network_that_nobody_placed_goes_where_the_runtime_says():
    pytest.importorskip("torch", exc_type=ImportError)
    assert fit(device="cpu", backend="torch").backend.name == "torch"


def test_precision_is_that_of_the_steps():
    assert not np.array_equal(fit(precision="float16").theta, fit().theta)
    np.testing.assert_allclose(fit(precision="float16").theta, fit().theta, atol=1e-2)


def test_a_runtime_for_another_place_or_dtype_than_the_networks_is_refused():
    """It would be accepted and ignored otherwise."""
    with refused("numpy on cpu", "torch on cpu", "net.to("):
        fit("cpu", backend="torch")
    with refused("numpy on cpu", "numpy on cuda", "net.to("):
        fit("cpu", device="cuda")
    with refused("dtype float32", "got float64", "Network"):
        fit(dtype="float64")
    assert fit(device="cpu", backend="numpy").is_untrained is False
    assert fit(device="auto").is_untrained is False


def test_the_command_line_and_python_make_the_same_runtime():
    from xpnet.cli.train_flags import make_parser, settings_of

    flags = ["--threads", "3", "--kernels", "pure", "--deterministic", "--no-malloc-tuning", "--device", "cpu"]
    run = make_run("mlp", **settings_of(make_parser("train").parse_args(flags)))
    said = {"device": "cpu", "threads": 3, "kernels": "pure", "deterministic": True, "tune_malloc": False}
    assert run.runtime == Runtime(dtype="float32", **said)


# Every field, on arrays of every library: applied, or refused


def one_step(library, monkeypatch, **settings):
    """What fields change, where they are seen: after one step of a network on the library's arrays."""
    tuned = []
    monkeypatch.setattr(runtime, "keep_freed_memory", lambda: tuned.append(1))
    rng = np.random.default_rng(0)
    network = Network([Dense(2)], (3,), device="cpu", backend=library)
    data = Dataset.from_arrays(rng.normal(size=(8, 3)), np.arange(8) % 2)
    trainer = Trainer(network, data, TrainConfig(iterations=1), Runtime(**settings))
    trainer.run()
    return {
        "threads": runtime.threads_in_use(network.backend),
        "kernels": kernels.in_use()["kernels"],
        "precision": to_numpy(network.theta).tobytes(),
        "deterministic": kernels.is_deterministic(),
        "tune_malloc": bool(tuned),
    }


# A value that is not the default, and the libraries whose arrays on the CPU take notice of it. All others refuse it.
EVERY = ("numpy", "torch", "jax")
FIELDS = [
    ("device", "cuda", ()),
    ("backend", "cupy", ()),
    ("dtype", "float64", ()),
    ("threads", runtime.cores() + 1, ("numpy", "torch")),
    ("kernels", "pure", EVERY),
    ("kernels", "onednn", ("numpy",)),
    ("kernels", "cudnn", ()),
    ("precision", "tf32", ()),
    ("precision", "float16", EVERY),
    ("precision", "bfloat16", ("torch", "jax")),
    ("graph", True, ()),
    ("deterministic", True, EVERY),
    ("tune_malloc", False, EVERY),
    ("allreduce_dtype", "float16", ()),
]


def test_no_field_is_left_out():
    """Of ``parallel``, also with ``allreduce_dtype``, tests/parallel shows what it does."""
    assert {field.name for field in dataclasses.fields(Runtime)} == {name for name, *_ in FIELDS} | {"parallel"}


@pytest.fixture
def pytorch_as_it_was():
    torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
    threads = torch.get_num_threads() if torch else None
    yield
    if torch:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("library", EVERY)
@pytest.mark.parametrize(("name", "value", "where"), FIELDS)
def test_a_field_is_applied_or_refused(name, value, where, library, monkeypatch, pytorch_as_it_was):
    if library != "numpy":
        pytest.importorskip(library, exc_type=ImportError)
    if value == "onednn" and not onednn_kernels.is_available():
        pytest.skip("oneDNN is not installed")
    if library in where:
        plain = one_step(library, monkeypatch)
        assert one_step(library, monkeypatch, **{name: value})[name] != plain[name]
        return
    with refused("expected "):
        one_step(library, monkeypatch, **{name: value})


def test_pytorchs_threads_are_those_asked_for_and_otherwise_its_own(monkeypatch, pytorch_as_it_was):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    torch.set_num_threads(2)
    one_step("torch", monkeypatch)
    assert torch.get_num_threads() == 2
    one_step("torch", monkeypatch, threads=3)
    assert torch.get_num_threads() == 3


def test_jax_on_a_gpu_that_has_begun_is_not_told_in_vain_to_be_deterministic(monkeypatch):
    """A stand-in for the device."""
    gpu = types.SimpleNamespace(name="jax", describe=lambda: "jax 1 on cuda:0", device_name=lambda: "cuda:0")
    with refused("expected deterministic before JAX", "XLA_FLAGS=--xla_gpu_deterministic_ops=true"):
        Runtime(deterministic=True).check_applies(gpu, "float32")
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_deterministic_ops=true")
    Runtime(deterministic=True).check_applies(gpu, "float32")
