import sys

import numpy as np
import pytest

from xpnet import backend as backends
from xpnet.cli import benchmark, check_gpu
from xpnet.cli.check_gpu import Check, compare, main


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
    monkeypatch.setattr(check_gpu, "CONVOLUTIONS", (((2, 9, 9, 3), 4, 5, 1, 2), ((2, 8, 8, 3), 4, 3, 2, 1)))
    checks = list(compare(backends.resolve("cpu", library)))
    assert len(checks) == 2 * 3 + 3
    assert all(check.difference <= check.allowed for check in checks)


def test_wrong_convolutions_and_masks_are_found(monkeypatch):
    backend = backends.resolve("cpu")
    monkeypatch.setattr(check_gpu, "CONVOLUTIONS", (((2, 9, 9, 3), 4, 5, 1, 2),))
    right = check_gpu.kernels.conv2d
    monkeypatch.setattr(check_gpu.kernels, "conv2d", lambda x, *rest: right(x, *rest) * (1 + 1e-4 * (x.itemsize == 4)))
    monkeypatch.setattr(check_gpu, "fold_in", lambda key, step: key)
    wrong = [check.what for check in compare(backend) if check.difference > check.allowed]
    assert wrong == ["5x5 convolution of 2x9x9x3: y", "dropout, same mask in both steps"]


@pytest.mark.parametrize(
    ("difference", "kernels", "tests", "code"),
    [(0.0, 0.0, True, 0), (np.nan, 0.0, True, 1), (0.0, 1e-3, True, 1), (0.0, 0.0, False, 1)],
)
def test_all_parts_count(monkeypatch, capsys, difference, kernels, tests, code):
    monkeypatch.setattr(backends, "resolve", lambda device: backends._numpy("cpu", "cpu", ""))
    monkeypatch.setattr(check_gpu, "compare", lambda backend: iter([Check("y", difference, 1e-5)]))
    monkeypatch.setattr(check_gpu.check_kernels, "compare", lambda backend: iter([("pool", kernels, 1e-5)]))
    monkeypatch.setattr(check_gpu, "_run_tests", lambda console: tests)
    monkeypatch.setattr(benchmark, "main", lambda flags: 0)
    assert main([]) == code
    assert capsys.readouterr().out.splitlines()[-1] == ("Some checks FAILED." if code else "All checks passed.")
