"""Records as they are shown."""

import io
import re

import pytest
from rich.console import Console

from tests.training.runs import make_trainer
from xpnet.training import Record
from xpnet.training.progress import ProgressBar, record_text, short_text

RECORD = Record(
    iteration=100,
    loss=0.5,
    weight_decay_loss=0.0625,
    total_loss=0.5625,
    train_score=0.875,
    validation_loss=0.7,
    validation_score=0.75,
    seconds=9.0,
    learning_rate=0.1,
)


def numbers(text):
    return re.findall(r"\d+(?:\.\d+)?%?", text)


def test_a_record_shows_loss_decay_training_and_validation_in_this_order():
    text = record_text(RECORD)
    assert numbers(text) == ["0.5000", "0.0625", "87.50%", "75.00%"]
    assert re.search(r"loss.*training\D*87\.50%.*validation\D*75\.00%", text)


def test_what_was_not_validated_is_not_shown():
    alone = RECORD._replace(validation_loss=None, validation_score=None)
    assert numbers(record_text(alone)) == ["0.5000", "0.0625", "87.50%"]
    assert "val" not in short_text(alone)


def test_real_targets_have_r2():
    assert "R² 0.8750" in record_text(RECORD, "r2")
    assert "%" not in record_text(RECORD, "r2")


def test_short_text_fits_beside_a_bar_on_80_columns():
    text = short_text(Record(3000, 0.0991, 0.1077, 0.2068, 0.9685, 0.1, 0.973, 20.0, 0.1))
    assert text == "loss 0.099+0.108 L2 train 96.9% val 97.3%"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_on_a_terminal_and_a_line_for_each_record_elsewhere(digits, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    bar = ProgressBar(console)
    make_trainer(digits).run([bar])
    bar.close()
    printed = console.file.getvalue()
    assert "12/12" in printed if terminal else printed.count("iteration") == 3
    assert ("\x1b" in printed) == terminal
