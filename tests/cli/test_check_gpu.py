import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import backend as backends
from xpnet import kernels
from xpnet.cli import benchmark, check_gpu
from xpnet.cli.check_gpu import Check, Part, compare, compare_cudnn, main
from xpnet.layers import Conv2D

SMALL = (((2, 9, 9, 3), Conv2D(4, 5, padding=2)), ((2, 8, 8, 3), Conv2D(4, 3, stride=2, padding=1)))


@pytest.fixture
def cudnn(monkeypatch):
    """Stands for an installed cuDNN, which arrays of other libraries than CuPy have no use for."""
    monkeypatch.setitem(sys.modules, "cudnn", SimpleNamespace(backend_version=lambda: 92800))
    monkeypatch.setattr(check_gpu, "CONVOLUTIONS", SMALL)


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main([]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: --device cuda: CuPy is not installed.")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_libraries_agree_with_numpy(monkeypatch, library):
    if library != "numpy":
        pytest.importorskip(library)
    monkeypatch.setattr(check_gpu, "CONVOLUTIONS", SMALL)
    checks = list(compare(backends.resolve("cpu", library)))
    assert len(checks) == 2 * 3 + 3
    assert all(check.difference <= check.allowed for check in checks)


def test_wrong_convolutions_and_masks_are_found(monkeypatch):
    backend = backends.resolve("cpu")
    monkeypatch.setattr(check_gpu, "CONVOLUTIONS", SMALL[:1])
    right = check_gpu.kernels.conv2d
    monkeypatch.setattr(check_gpu.kernels, "conv2d", lambda x, *rest: right(x, *rest) * (1 + 1e-4 * (x.itemsize == 4)))
    monkeypatch.setattr(check_gpu, "fold_in", lambda key, step: key)
    wrong = [check.what for check in compare(backend) if check.difference > check.allowed]
    assert wrong == ["5x5 convolution of 2x9x9x3: y", "dropout, same mask in both steps"]


def test_cudnn_is_compared_in_each_precision(monkeypatch, cudnn):
    chosen = []
    right = kernels.use
    monkeypatch.setattr(kernels, "use", lambda *choice: chosen.append(choice) or right(*choice))
    checks = list(compare_cudnn(backends.resolve("cpu")))
    assert chosen == [("cudnn", "float32"), ("cudnn", "tf32")]
    assert [check.allowed for check in checks] == [1e-5] * 7 + [1e-2] * 7
    assert all(check.difference <= check.allowed for check in checks)
    assert checks[0].what == "float32, 5x5 convolution of 2x9x9x3: y"
    assert checks[-1].what == "tf32, matrix product"


def test_an_error_and_a_fallback_fail_without_hiding_the_rest(monkeypatch, cudnn):
    right = kernels.conv2d_backward

    def backward(x, *rest):
        if x.dtype == np.float32:
            if x.shape[1] == 9:
                raise ValueError("misaligned")
            try:
                raise LookupError("no engine")
            except LookupError:
                warnings.warn("cuDNN has no plan", RuntimeWarning, stacklevel=1)
        return right(x, *rest)

    monkeypatch.setattr(kernels, "conv2d_backward", backward)
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in the program
        checks = [check for check in compare_cudnn(backends.resolve("cpu")) if not check.difference <= check.allowed]
    errors = ["ValueError: misaligned", "RuntimeWarning: no engine"]
    assert [check.what.partition(": ")[2] for check in checks] == errors * 2


def test_a_part_that_fails_is_shown_and_does_not_stop_the_next(monkeypatch, capsys):
    def broken(console, backend):
        kernels.use("pure")
        raise ValueError("wrong")

    parts = {
        "a": Part("First", broken),
        "b": Part("Second", lambda console, backend: kernels.in_use()["kernels"] == "fastest"),
        "c": Part("Third", lambda console, backend: False),
    }
    monkeypatch.setattr(backends, "resolve", lambda device: backends._numpy("cpu", "cpu", ""))
    monkeypatch.setattr(check_gpu, "_parts", lambda json: parts)
    assert main([]) == 1
    printed = capsys.readouterr().out
    assert "ValueError: wrong" in printed
    assert printed.splitlines()[-1] == "Some checks FAILED: a, c."
    assert main(["--parts", "b"]) == 0
    assert main(["--parts", "d"]) == 2
    assert "expected one of a, b, c, got 'd'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("difference", "in_kernels", "tests", "failed"),
    [
        (0.0, 0.0, True, ""),
        (np.nan, 0.0, True, "results"),
        (0.0, 1e-3, True, "kernels"),
        (0.0, 0.0, False, "tests"),
    ],
)
def test_all_parts_count(monkeypatch, capsys, cudnn, difference, in_kernels, tests, failed):
    flags = []
    monkeypatch.setattr(backends, "resolve", lambda device: backends._numpy("cpu", "cpu", ""))
    monkeypatch.setattr(check_gpu, "compare", lambda backend: iter([Check("y", difference, 1e-5)]))
    monkeypatch.setattr(check_gpu, "compare_cudnn", lambda backend: iter([]))
    monkeypatch.setattr(check_gpu.check_kernels, "compare", lambda backend: iter([("pool", in_kernels, 1e-5)]))
    monkeypatch.setattr(check_gpu, "_print_launches", lambda console, backend: True)
    monkeypatch.setattr(check_gpu, "_run_tests", lambda console: tests)
    monkeypatch.setattr(benchmark, "main", lambda given: flags.extend(given) or 0)
    assert main(["--json", "rows.json"]) == (1 if failed else 0)
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"Some checks FAILED: {failed}." if failed else "All checks passed."
    )
    assert flags[-2:] == ["--json", "rows.json"]
    benchmark._parser().parse_args(flags)


def test_a_missing_cudnn_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cudnn", None)
    monkeypatch.setattr(backends, "resolve", lambda device: backends._numpy("cpu", "cpu", ""))
    assert main(["--parts", "cudnn"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.strip().partition(":")[0] for line in lines[2:]] == ["Kernels cudnn", "Some checks FAILED"]


def test_calls_are_timed_with_and_without_waiting(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(check_gpu, "LAUNCHES", 3)
    monkeypatch.setattr(check_gpu, "_launches", lambda backend: {"call": lambda: calls.append("call")})
    device = SimpleNamespace(synchronize=lambda: calls.append("wait"))
    assert check_gpu._print_launches(check_gpu.common.make_console(), backends.Backend("cupy", None, device))
    assert calls == ["call", "wait", "call", "call", "call", "wait"]
    assert " on the host, " in capsys.readouterr().out


def test_what_is_launched_can_be_called(monkeypatch, cudnn):
    """With what stands for CuPy: that CuPy takes these kernels is seen on a GPU only."""
    made = []
    stand_in = SimpleNamespace(
        RawKernel=lambda *source: made.append(source) or (lambda grid, block, arguments: None),
        ElementwiseKernel=lambda *source: made.append(source) or (lambda x: x + x),
        add=np.add,
        _core=SimpleNamespace(
            set_compute_type=lambda *choice: None, _routines_linalg=SimpleNamespace(COMPUTE_TYPE_TBD=0)
        ),
    )
    stand_in.ndarray = type("ndarray", (), {})
    monkeypatch.setitem(sys.modules, "cupy", stand_in)
    for call in check_gpu._launches(backends.resolve("cpu")).values():
        call()
    assert len(made) == 2
