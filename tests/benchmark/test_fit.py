"""``fit`` beside the command: both train, and both give their speed."""

import pytest

from xpnet.benchmark import fit


@pytest.mark.parametrize("train", [fit.from_python, fit.from_command])
def test_a_run_gives_its_images_per_second(train):
    assert train(16, 3) > 0


def test_the_medians_of_the_turns_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(fit, "from_python", lambda *_: 90.0)
    monkeypatch.setattr(fit, "from_command", lambda *_: 100.0)
    fit.main(["--rounds", "1"])
    assert "| 128 | 90 | 100 | **0.90** |" in capsys.readouterr().out
