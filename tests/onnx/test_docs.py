"""What the page on ONNX shows is run as it stands, and its table is that of the cases here."""

import re
from pathlib import Path

import onnx
import pytest

from tests.helpers import blocks_of
from xpnet.onnx import cases

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_examples_run_one_after_another(tmp_path, monkeypatch, capsys):
    for library in ("torch", "jax"):
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks_of(TEXT):
        exec(compile(block, str(PAGE), "exec"), names)
    assert "tensor([0.3333, 0.3333])" in capsys.readouterr().out


def test_the_table_lists_every_operator_with_its_cases():
    if f"onnx {onnx.__version__}," not in TEXT:
        pytest.skip("the table is of another version of onnx")
    listed = {name: int(count) for name, count in re.findall(r"^\| ([A-Z]\w+(?:, expanded)?) \| (\d+) \|", TEXT, re.M)}
    counted = {}
    for operator, _ in cases.claimed():
        counted[operator] = counted.get(operator, 0) + 1
    assert listed == counted
