import re
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from xpnet.datasets import Dataset
from xpnet.errors import InputError


def arguments(**changes):
    return {
        "name": "toy",
        "train_inputs": np.zeros((6, 5, 4, 3), np.uint8),
        "train_targets": np.array([0, 1, 2, 0, 1, 2], np.int32),
        "test_inputs": np.zeros((2, 5, 4, 3), np.uint8),
        "test_targets": np.array([2, 0], np.int32),
        "class_names": ("a", "b", "c"),
    } | changes


def test_knows_its_image_shape_and_classes():
    dataset = Dataset(**arguments())
    assert dataset.input_shape == (5, 4, 3)
    assert dataset.classes == 3


def with_validation(**changes):
    return arguments(
        validation_inputs=np.zeros((2, 5, 4, 3), np.uint8), validation_targets=np.array([1, 0], np.int32), **changes
    )


def test_a_validation_part_is_optional():
    assert Dataset(**arguments()).validation_inputs is None
    assert Dataset(**with_validation()).validation_targets.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation_inputs": None}, "toy validation: expected both images and labels or none, got one of them."),
        ({"validation_targets": None}, "toy validation: expected both images and labels or none, got one of them."),
        (
            {"validation_targets": np.array([3, 0], np.int32)},
            "toy validation_targets: expected labels from 0 to 2, got",
        ),
        (
            {"validation_targets": np.zeros(3, np.int32)},
            "toy validation_targets: expected 2 labels, one for each image",
        ),
        (
            {"validation_inputs": np.zeros((2, 4, 4, 3), np.uint8)},
            "toy validation_inputs: expected images of shape (5, 4, 3) as in toy train_inputs, got (4, 4, 3).",
        ),
    ],
)
def test_names_what_is_wrong_with_the_validation_part(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Dataset(**with_validation() | changes)


def test_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Dataset(**arguments()).name = "other"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ()}, "toy class_names: expected at least one name, got none."),
        (
            {"train_inputs": np.zeros((6, 5, 4, 3), np.float32)},
            "toy train_inputs: expected a non-empty uint8 array (N, H, W, C), got float32 of shape (6, 5, 4",
        ),
        (
            {"test_inputs": np.zeros((2, 5, 4), np.uint8)},
            "toy test_inputs: expected a non-empty uint8 array (N, H",
        ),
        (
            {"test_inputs": np.zeros((0, 5, 4, 3), np.uint8)},
            "toy test_inputs: expected a non-empty uint8 array",
        ),
        (
            {"train_inputs": np.zeros((6, 0, 4, 3), np.uint8)},
            "toy train_inputs: expected a non-empty uint8 array",
        ),
        (
            {"train_targets": [0, 1, 2, 0, 1, 2]},
            "toy train_targets: expected a non-empty int32 array (N), got list.",
        ),
        (
            {"train_targets": np.zeros(6, np.int64)},
            "toy train_targets: expected a non-empty int32 array (N), got int64",
        ),
        (
            {"test_targets": np.zeros((2, 1), np.int32)},
            "toy test_targets: expected a non-empty int32 array (N), got",
        ),
        (
            {"test_targets": np.zeros(0, np.int32)},
            "toy test_targets: expected a non-empty int32 array (N), got",
        ),
        (
            {"train_targets": np.zeros(5, np.int32)},
            "toy train_targets: expected 6 labels, one for each image of toy train_inputs, got 5.",
        ),
        (
            {"test_targets": np.array([0, 3], np.int32)},
            "toy test_targets: expected labels from 0 to 2, got 3.",
        ),
        (
            {"test_targets": np.array([-1, 0], np.int32)},
            "toy test_targets: expected labels from 0 to 2, got -1.",
        ),
        (
            {"test_inputs": np.zeros((2, 4, 4, 3), np.uint8)},
            "toy test_inputs: expected images of shape (5, 4, 3) as in toy train_inputs, got (4, 4, 3).",
        ),
    ],
)
def test_names_the_part_that_breaks_an_invariant(changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Dataset(**arguments(**changes))
