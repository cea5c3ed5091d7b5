import json
import logging
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import backend as backends
from xpnet import kernels
from xpnet.benchmark.cases import find_cases
from xpnet.cli import benchmark, check_gpu, common
from xpnet.cli.check_gpu import Check, Part, compare, compare_cudnn, compare_products, main
from xpnet.cuda_graph import GraphedStep
from xpnet.kernels.precision import precision_in_use
from xpnet.layers import Conv2D
from xpnet.runs.settings import make_run
from xpnet.training import Trainer

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


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_cpu_is_refused_before_anything_runs(monkeypatch, capsys, device):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["--device", device]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == (
        f"error: --device {device}: expected an NVIDIA GPU to check, got the CPU. Use --device cuda or cuda:N.\n"
    )


@pytest.mark.parametrize(("path", "words"), [(".", "got a folder"), ("nowhere/rows.json", "Make the folder first.")])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(monkeypatch, capsys, path, words):
    monkeypatch.setattr(check_gpu, "_find_gpu", lambda device: backends.resolve("cpu"))
    assert main(["--parts", "benchmark", "--json", path]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: --json {path}: expected a file")
    assert words in output.err


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


def test_products_for_graphs_are_compared_in_each_precision_however_matrices_lie(cudnn):
    checks = list(compare_products(backends.resolve("cpu")))
    names = [name for name in ("float16", "float32", "tf32", "float64") for _ in ("rows", "columns")]
    assert [check.what.partition(",")[0] for check in checks] == names
    assert [check.allowed for check in checks] == [5e-3] * 2 + [1e-5] * 2 + [1e-2] * 2 + [1e-12] * 2
    assert all(check.difference <= check.allowed for check in checks)


def test_wrong_products_for_graphs_are_found(monkeypatch, cudnn):
    monkeypatch.setattr(kernels, "matmul", lambda a, b: a @ b * 1.02)
    assert all(check.difference > check.allowed for check in compare_products(backends.resolve("cpu")))


def test_products_in_tf32_are_those_that_may_be_rounded_more(monkeypatch, cudnn):
    def matmul(a, b):
        assert kernels._recordable
        return a @ b * (1.001 if precision_in_use() == "tf32" else 1)

    monkeypatch.setattr(kernels, "matmul", matmul)
    for check in compare_products(backends.resolve("cpu")):
        assert check.difference <= check.allowed
        assert (check.difference > 5e-4) == check.what.startswith("tf32")


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
    monkeypatch.setattr(check_gpu, "_find_gpu", lambda device: backends.resolve("cpu"))
    monkeypatch.setattr(check_gpu, "_parts", lambda path: parts)
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
def test_all_parts_count(monkeypatch, tmp_path, capsys, cudnn, difference, in_kernels, tests, failed):
    flags = []
    monkeypatch.setattr(check_gpu, "_find_gpu", lambda device: backends.resolve("cpu"))
    monkeypatch.setattr(check_gpu, "compare", lambda backend: iter([Check("y", difference, 1e-5)]))
    monkeypatch.setattr(check_gpu, "compare_cudnn", lambda backend: iter([]))
    monkeypatch.setattr(check_gpu.check_kernels, "compare", lambda backend: iter([("pool", in_kernels, 1e-5)]))
    monkeypatch.setattr(check_gpu, "compare_products", lambda backend: iter([]))
    for part in ("check_graph", "check_deterministic", "check_float16", "_print_launches"):
        monkeypatch.setattr(check_gpu, part, lambda console, backend: True)
    monkeypatch.setattr(check_gpu, "_run_tests", lambda console: tests)

    def measure(given):
        flags.extend(given)
        Path(given[-1]).write_text('{"environment": {"gpu": null}, "rows": []}')
        return 0

    monkeypatch.setattr(benchmark, "main", measure)
    monkeypatch.setattr(check_gpu, "TARGETS", ())
    monkeypatch.chdir(tmp_path)
    assert main(["--json", "rows.json"]) == (1 if failed else 0)
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"Some checks FAILED: {failed}." if failed else "All checks passed."
    )
    assert flags[-2:] == ["--json", "rows.json"]
    benchmark._parser().parse_args(flags)


def targets_printed(monkeypatch, capsys, times, code=0, gpu="NVIDIA H200, 580.65"):
    """What a benchmark that measured these training steps makes of the check, and the lines it prints."""

    def main(flags):
        rows = [
            {"model": model, "batch_size": batch, "mode": mode, "implementation": name, "median_ms": median}
            for (model, batch, name), median in times.items()
            for mode, median in (("train", median), ("predict", 1.0))
        ]
        if code < 2:
            Path(flags[-1]).write_text(json.dumps({"environment": {"gpu": gpu}, "rows": rows}))
        return code

    monkeypatch.setattr(benchmark, "main", main)
    passes = check_gpu._run_benchmark(common.make_console(), backends.resolve("cpu"), None)
    return passes, capsys.readouterr().out.splitlines()


MEASURED = {
    ("mnist_starter", 16, "xpnet-cupy-cudnn"): 2.0,
    ("mnist_starter", 16, "xpnet-cupy-cudnn-graph"): 0.6,
    ("mnist_starter", 16, "torch"): 1.0,
    ("mnist_starter", 16, "torch-graphs"): 0.75,
    ("mnist_starter", 512, "xpnet-cupy-cudnn"): 0.7,
    ("mnist_starter", 512, "xpnet-cupy-cudnn-graph"): 0.8,
    ("mnist_starter", 512, "torch"): 1.0,
}


def test_targets_are_stated_beside_what_was_measured(monkeypatch, capsys):
    assert targets_printed(monkeypatch, capsys, MEASURED) == (
        False,
        [
            "  mnist_starter, batches of 16, by torch: at most 0.5, measured 0.60 (xpnet-cupy-cudnn-graph 0.600 ms, "
            "of which the floor of an H200 is 8 %): not met",
            "  mnist_starter, batches of 16, by torch-graphs: at most 1, measured 0.80 (xpnet-cupy-cudnn-graph "
            "0.600 ms, of which the floor of an H200 is 8 %): met",
            "  mnist_starter, batches of 512, by torch: at most 0.7, measured 0.70 (xpnet-cupy-cudnn 0.700 ms, "
            "of which the floor of an H200 is 7 %): met",
            "  resnet50, batches of 64, by torch-channels-last: at most 1.15, not measured",
        ],
    )


@pytest.mark.parametrize(
    ("gpu", "said"), [("NVIDIA GH200 480GB, 580.65", "NVIDIA GH200 480GB, 580.65"), (None, "not known")]
)
def test_beside_a_floor_of_another_gpu_stands_which_one_was_measured(monkeypatch, capsys, gpu, said):
    lines = targets_printed(monkeypatch, capsys, MEASURED, gpu=gpu)[1]
    assert f"0.700 ms, of which the floor of an H200 is 7 %; this GPU: {said}): met" in lines[2]


def test_floors_are_what_binds_a_step():
    floors = [check_gpu.floor_ms(check_gpu.WORK[target.model, target.batch_size]) for target in check_gpu.TARGETS]
    np.testing.assert_allclose(floors, [0.05, 0.05, 0.05, 8.23], rtol=1e-3)
    assert check_gpu.floor_ms(check_gpu.Work(flop=495e12, bytes=0)) == 1000.0


def test_a_target_that_is_missed_fails_nothing(monkeypatch, capsys):
    resnet = {("resnet50", 64, "xpnet-cupy-cudnn"): 40.0, ("resnet50", 64, "torch-channels-last"): 20.0}
    passes, lines = targets_printed(monkeypatch, capsys, MEASURED | resnet)
    assert passes
    assert lines[-1].endswith("not met")


def test_what_could_not_be_measured_fails_the_benchmark(monkeypatch, capsys):
    without_torch = {key: time for key, time in MEASURED.items() if "torch" not in key[2]}
    assert not targets_printed(monkeypatch, capsys, without_torch)[0]
    passes, lines = targets_printed(monkeypatch, capsys, {}, code=1)
    assert not passes
    assert [line.endswith("not measured") for line in lines] == [True] * 4
    assert targets_printed(monkeypatch, capsys, {}, code=2) == (False, [])


def test_every_target_is_measured():
    flags = benchmark._parser().parse_args(check_gpu.BENCHMARK)
    cases = {(case.model, case.batch_size) for model in flags.models for case in find_cases(model)}
    for target in check_gpu.TARGETS:
        assert (target.model, target.batch_size) in cases
        assert target.peer in benchmark._peers(flags.peers, "cuda:0")


def test_a_missing_cudnn_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cudnn", None)
    monkeypatch.setattr(check_gpu, "_find_gpu", lambda device: backends.resolve("cpu"))
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


@pytest.fixture
def graph_case(monkeypatch, graphs):
    """A short run whose step is recorded."""
    case = check_gpu.GraphCase("short", "fastest", {"model": "mlp", "model_options": {"hidden": (4,), "dropout": 0.5}})
    monkeypatch.setattr(check_gpu, "GRAPH_CASES", (case, case))
    monkeypatch.setattr(check_gpu, "ITERATIONS", 5)
    return graphs


def printed(check, capsys, device="cpu"):
    """Whether a check passes, and what it prints."""
    passes = check(common.make_console(), backends.resolve(device))
    return passes, capsys.readouterr().out.splitlines()


def test_a_graph_is_compared_with_the_steps_it_replays(graph_case, capsys):
    passes, lines = printed(check_gpu.check_graph, capsys, "cuda")
    assert passes
    assert [line.split(": ")[-1] for line in lines] == ["OK", "OK"]
    assert graph_case["replays"] == 8


def test_a_graph_that_cannot_be_recorded_fails_the_check(graph_case, monkeypatch, capsys):
    def refuse(stream):
        raise RuntimeError("no capture")

    monkeypatch.setattr(importlib.import_module("cupy").cuda.Stream, "begin_capture", refuse)
    passes, lines = printed(check_gpu.check_graph, capsys, "cuda")
    assert not passes
    assert all("FAILED; CUDA graph: training goes on without one" in line for line in lines)
    assert logging.getLogger("xpnet").handlers == []


def test_a_graph_with_other_bits_and_an_error_fail_the_check(graph_case, monkeypatch, capsys):
    right = check_gpu._trained

    def trained(backend, **settings):
        trainer = right(backend, **settings)
        if settings.get("graph"):
            state = trainer._now.state
            other = state._replace(theta=np.nextafter(state.theta, np.float32(9)))
            trainer._now = trainer._now._replace(state=other)
        return trainer

    monkeypatch.setattr(check_gpu, "_trained", trained)
    passes, lines = printed(check_gpu.check_graph, capsys, "cuda")
    assert not passes
    assert [line.split(": ")[-1] for line in lines] == ["FAILED; other bits"] * 2
    broken = check_gpu.GraphCase("broken", "pure", {"model": "none"})
    monkeypatch.setattr(check_gpu, "GRAPH_CASES", (broken, check_gpu.GRAPH_CASES[0]))
    passes, lines = printed(check_gpu.check_graph, capsys, "cuda")
    assert not passes
    assert lines[0].startswith("  broken: InputError: ")
    assert len(lines) == 2


def test_two_runs_are_compared(monkeypatch, capsys, cudnn):
    monkeypatch.setattr(check_gpu, "ITERATIONS", 2)
    passes, lines = printed(check_gpu.check_deterministic, capsys)
    assert (passes, lines) == (True, ["  mnist_starter: OK"])
    right, seeds = check_gpu._trained, iter([1, 2])
    monkeypatch.setattr(check_gpu, "_trained", lambda *args, **settings: right(*args, **settings, seed=next(seeds)))
    assert printed(check_gpu.check_deterministic, capsys) == (False, ["  mnist_starter: FAILED"])


def test_float16_is_compared_with_float32(monkeypatch, capsys, cudnn):
    monkeypatch.setattr(check_gpu, "ITERATIONS", 2)
    right = check_gpu._trained
    small = {"model": "mlp", "model_options": {"hidden": (4,)}, "batch_size": 16}
    monkeypatch.setattr(check_gpu, "_trained", lambda backend, model, **settings: right(backend, **small, **settings))
    assert printed(check_gpu.check_float16, capsys)[0]
    monkeypatch.setattr(check_gpu, "_last_loss", lambda trainer: 1.0 + (trainer.runtime.precision == "float16"))
    assert not printed(check_gpu.check_float16, capsys)[0]


@pytest.mark.parametrize("case", check_gpu.GRAPH_CASES, ids=lambda case: case.name)
def test_what_is_recorded_on_a_gpu_can_be_trained(case, monkeypatch):
    monkeypatch.setattr(check_gpu, "ITERATIONS", 1)
    assert make_run(**{"iterations": 1, **case.settings}).model == case.settings["model"]
    monkeypatch.setattr(Trainer, "run", lambda trainer: trainer.step())
    assert check_gpu._trained(backends.resolve("cpu"), **{**case.settings, "batch_size": 2}).iteration == 1
