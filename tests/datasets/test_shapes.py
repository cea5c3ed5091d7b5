"""Drawn shapes: what a pixel's class means, and that the drawing is the same in every process."""

import math

import numpy as np
import pytest

from tests.helpers import refused
from xpnet import datasets
from xpnet.datasets.shapes import CLASS_NAMES, draw, shape_mask

AREAS = {1: math.pi, 2: 2.0, 3: 3 * math.sqrt(3) / 4}  # of radius 1


@pytest.mark.parametrize("kind", AREAS)
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0])
def test_a_shape_has_its_area_and_lies_in_its_circle(kind, angle):
    centre, radius = np.array([30.0, 35.0]), 16.0
    mask = shape_mask(kind, centre, radius, angle)
    assert mask.sum() == pytest.approx(AREAS[kind] * radius**2, rel=0.05)
    rows, columns = np.nonzero(mask)
    distances = np.hypot(rows - centre[0], columns - centre[1])
    assert radius - 1.5 < distances.max() <= radius
    np.testing.assert_allclose([rows.mean(), columns.mean()], centre, atol=0.6)


def test_a_square_and_a_triangle_turn_back_on_themselves():
    centre = np.array([32.0, 32.0])
    for kind, corners in ((2, 4), (3, 3)):
        mask = shape_mask(kind, centre, 12.3, 0.3)
        assert (mask != shape_mask(kind, centre, 12.3, 0.3 + 2 * math.pi / corners)).sum() <= 2  # rounding
        assert (mask != shape_mask(kind, centre, 12.3, 0.3 + math.pi / corners)).sum() > 20


def test_pixels_of_one_class_have_one_colour_but_for_noise():
    image, classes = draw(np.random.default_rng(2))
    assert (image.dtype, image.shape, classes.shape) == (np.uint8, (64, 64, 3), (64, 64))
    assert set(np.unique(classes)) > {0}
    background = image[classes == 0].astype(float)
    assert background.std(axis=0).max() < 20
    assert np.abs(image[classes > 0].astype(float).mean(axis=0) - background.mean(axis=0)).max() > 20


def test_the_data_set(monkeypatch):
    from xpnet.datasets import shapes

    monkeypatch.setattr(shapes, "_TRAIN", 30)
    monkeypatch.setattr(shapes, "_TEST", 10)
    first, again = datasets.load("shapes"), datasets.load("shapes")
    assert first.class_names == CLASS_NAMES
    assert (first.task, first.target_shape, first.test_inputs.shape) == ("classes", (64, 64), (10, 64, 64, 3))
    assert np.array_equal(first.train_inputs, again.train_inputs)
    assert np.array_equal(first.test_targets, again.test_targets)
    assert set(np.unique(first.train_targets)) == {0, 1, 2, 3}
    with refused("dataset: expected no data folder for shapes"):
        datasets.load("shapes", ".")
