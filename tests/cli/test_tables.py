import io

import numpy as np
import pytest
from rich.console import Console

from xpnet.cli import tables
from xpnet.training import Evaluation

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize("names", [CLASSES, tuple("0123456789")])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_count_is_cut_off_on_any_terminal(names, width):
    confusion = np.random.default_rng(0).integers(100, 1000, (10, 10))
    console = Console(file=io.StringIO(), width=width, markup=False)
    tables.print_evaluation(console, Evaluation(0.5, confusion, np.zeros((1, 10)), np.zeros(1, int)), names)
    lines = console.file.getvalue().splitlines()
    for name, row in zip(names, confusion, strict=True):
        assert any(line.split()[-10:] == [str(count) for count in row] and name in line for line in lines)
    assert "…" not in console.file.getvalue()
    assert console.width == width
