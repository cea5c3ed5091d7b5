import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.conftest import PRESENT
from xpnet import backend as backends
from xpnet import kernels
from xpnet.benchmark.cases import find_cases
from xpnet.cli import benchmark, check_gpu, common
from xpnet.cli.check_gpu import Part, main


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
    ("launches", "tests", "failed"), [(True, True, ""), (False, True, "launches"), (True, False, "tests")]
)
def test_all_parts_count(monkeypatch, tmp_path, capsys, launches, tests, failed):
    flags = []
    monkeypatch.setattr(check_gpu, "_find_gpu", lambda device: backends.resolve("cpu"))
    monkeypatch.setattr(check_gpu, "_print_launches", lambda console, backend: launches)
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
    benchmark.make_parser("benchmark.py").parse_args(flags)


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
    flags = benchmark.make_parser("benchmark.py").parse_args(check_gpu.BENCHMARK)
    cases = {(case.model, case.batch_size) for model in flags.models for case in find_cases(model)}
    for target in check_gpu.TARGETS:
        assert (target.model, target.batch_size) in cases
        assert target.peer in benchmark._peers(flags.peers, "cuda:0")


def test_calls_are_timed_with_and_without_waiting(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(check_gpu, "LAUNCHES", 3)
    monkeypatch.setattr(check_gpu, "_launches", lambda backend: {"call": lambda: calls.append("call")})
    device = SimpleNamespace(synchronize=lambda: calls.append("wait"))
    assert check_gpu._print_launches(check_gpu.common.make_console(), backends.Backend("cupy", None, device))
    assert calls == ["call", "wait", "call", "call", "call", "wait"]
    assert " on the host, " in capsys.readouterr().out


@pytest.mark.skipif("cupy" not in PRESENT, reason="needs a CUDA device")
def test_what_is_launched_can_be_called():
    gpu = backends.resolve("cuda")
    for call in check_gpu._launches(gpu).values():
        call()
    gpu.device.synchronize()
