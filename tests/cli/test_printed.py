"""The printed figures stand where they belong."""

import io
import re

import numpy as np
from rich.console import Console

from xpnet.cli.tables import print_evaluation
from xpnet.training import Evaluation

CONFUSION = np.asarray([[5, 2, 1], [4, 7, 0], [3, 6, 12]])  # no count occurs twice, no row sum is a column sum


def numbers(text):
    """The numbers in a text, as they are written."""
    return re.findall(r"\d+(?:\.\d+)?%?", text)


def printed():
    """The lines that are printed for CONFUSION."""
    output = io.StringIO()
    evaluation = Evaluation(0.7531, CONFUSION, np.zeros((CONFUSION.sum(), 3)), np.zeros(CONFUSION.sum(), int))
    print_evaluation(Console(file=output, width=100), evaluation, ["a", "b", "c"])
    return output.getvalue().rstrip().splitlines()


def lines_of(name):
    """The numbers of each printed line that begins with a class name."""
    return [numbers(line) for line in printed() if re.findall(r"\w+", line)[:1] == [name] and numbers(line)]


def test_a_row_of_the_confusion_matrix_holds_the_counts_of_its_true_class_in_order():
    for name, counts in zip("abc", CONFUSION, strict=True):
        assert [str(count) for count in counts] in lines_of(name)


def test_columns_of_the_confusion_matrix_are_named_in_order():
    assert ["a", "b", "c"] in [re.findall(r"\w+", line) for line in printed()]


def test_precision_recall_and_number_of_images_of_each_class():
    expected = {
        "a": ["41.67%", "62.50%", "8"],  # 5 of 12 predictions, 5 of 8 images
        "b": ["46.67%", "63.64%", "11"],  # 7 of 15, 7 of 11
        "c": ["92.31%", "57.14%", "21"],  # 12 of 13, 12 of 21
    }
    for name, figures in expected.items():
        assert figures in lines_of(name)


def test_the_last_line_holds_accuracy_and_loss():
    last = printed()[-1]
    assert re.search(r"accuracy\D*60\.00%", last)  # 24 of 40
    assert re.search(r"loss\D*0\.7531", last)
    assert {"24", "40"} <= set(numbers(last))
