"""Training on a folder of images is timed beside training on the same images in memory."""

import pytest

from xpnet.benchmark import folders
from xpnet.benchmark.folders import Case


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_both_are_timed(ending, monkeypatch):
    seen = []
    monkeypatch.setattr(folders, "_images_per_second", lambda trainer, case: seen.append(trainer.step()) or len(seen))
    assert folders.measure(Case("lenet5", 4, ending, 8, 32, 1), threads=1, rounds=3) == (5, 6)
    first, second = (float(metrics.loss) for metrics in seen[:2])
    assert first == second  # of the same images


def test_the_table(monkeypatch, capsys):
    monkeypatch.setattr(folders, "measure", lambda case, threads, rounds: (90.0, 100.0))
    folders.main(["--threads", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| `lenet5`, 128 | PNG, 32x32 | 90 | 100 | **0.90** |"
    assert len({line.count("|") for line in lines}) == 1
