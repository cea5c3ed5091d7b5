import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xpnet.cli.gradcheck import LOSSES, main
from xpnet.layers import Backward, ReLU
from xpnet.layers.examples import EXAMPLES

ROOT = Path(__file__).parents[2]


def test_program_prints_every_check(capsys):
    assert main(["--entries", "3"]) == 0
    output, errors = capsys.readouterr()
    assert not errors
    assert output.count("finite difference") == len(EXAMPLES) + len(LOSSES) + 1
    assert re.search(r"^index +finite difference +backward +relative difference$", output, re.MULTILINE)
    row = r"^conv1\.weight\[\d+,\d,\d,0\] +(-?\d\.\d{7}e[+-]\d\d|0) +(-?\d\.\d{7}e[+-]\d\d|0) +\d\.\de-\d\d$"
    assert re.search(row, output, re.MULTILINE)
    assert re.search(r"^outputs\[", output, re.MULTILINE)
    assert "Conv2D(filters=3, kernel_size=3, padding=2, dilation=2), input 6 x 7 x 2\n" in output
    assert re.fullmatch(r"Largest relative difference \d\.\de-\d\d, tolerance 1e-05: OK", output.splitlines()[-1])


def test_tables_fit_a_terminal_of_80_columns_and_are_not_cut_off_on_a_narrower_one(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    assert main([]) == 0
    output = capsys.readouterr().out
    assert max(len(line) for line in output.splitlines() if "[" in line) <= 80
    assert "…" not in output


def test_program_checks_as_many_entries_as_asked_for_and_others_for_another_seed(capsys):
    outputs = []
    for seed in ("0", "3"):
        assert main(["--entries", "2", "--seed", seed]) == 0
        outputs.append(capsys.readouterr().out)
        assert len(re.findall(r"^conv1\.weight", outputs[-1], re.MULTILINE)) == 2
    rows = [re.findall(r"^[\w.]+\[.*$", output, re.MULTILINE) for output in outputs]
    assert not set(rows[0]) & {row for row in rows[1] if row.split()[1] != "0"}


@pytest.mark.parametrize(("factor", "shown"), [(1.0, r"\d\.\de[+-]\d\d"), (np.nan, "nan")])
def test_program_fails_for_a_broken_backward(monkeypatch, capsys, factor, shown):
    def backward(self, params, cache, dy, *, need_dx=True):
        return Backward(dy * factor, {})

    monkeypatch.setattr(ReLU, "backward", backward)
    assert main([]) == 1
    output = capsys.readouterr().out
    assert "Wrong gradient: x in ReLU(), input 4 x 5 x 2\n" in output
    assert "Wrong gradient: x in Dense" not in output
    assert re.search(rf"\nLargest relative difference {shown}, tolerance 1e-05: FAILED\n$", output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cuda"], "--device cuda: CuPy is not installed."),
        (["--device", "gpu"], "--device gpu: expected one of cpu, cuda, cuda:N, mps, auto."),
        (["--entries", "0"], "expected --entries to be"),
        (["--seed", "-1"], "Seed: expected an integer of at least 0, got -1."),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capsys, arguments, message):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


def test_a_device_without_float64_is_refused(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert main(["--device", "mps", "--backend", "torch"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --device mps: expected dtype float32")
    assert error.endswith("Use --device cpu.\n")


def test_script():
    command = [sys.executable, ROOT / "scripts" / "gradcheck.py", "--entries", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("tolerance 1e-05: OK\n")
    assert "\x1b" not in result.stdout
