"""Networks that give a class to each pixel."""

import numpy as np
import pytest

from tests.helpers import refused
from xpnet import Network
from xpnet.datasets import Dataset
from xpnet.datasets.augment import HorizontalFlip
from xpnet.layers import Conv2D, ReLU
from xpnet.losses import Focal
from xpnet.optimizers import Adam

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (40, 6, 5, 1)).astype(np.uint8)
Y = (X[..., 0] > 100).astype(int) + (X[..., 0] > 180)


def network(classes=3, **settings):
    return Network([Conv2D(8, 1), ReLU(), Conv2D(classes, 1)], (6, 5, 1), **settings)


@pytest.mark.parametrize("loss", [None, Focal()])
def test_a_class_for_each_pixel_is_learned(loss):
    net = network()
    history = net.fit(X, Y, epochs=40, batch_size=8, optimizer=Adam(0.03), loss=loss, validation=0.2, progress=False)
    evaluation = net.evaluate(X, Y)
    assert history[-1].validation_score > 0.9
    assert evaluation.confusion.sum() == Y.size
    predictions = net.predict(X)
    assert predictions.shape == Y.shape
    assert evaluation.accuracy == np.mean(predictions == Y) > 0.9
    both, either = (predictions == 1) & (Y == 1), (predictions == 1) | (Y == 1)
    assert evaluation.iou[1] == pytest.approx(both.sum() / either.sum())
    np.testing.assert_allclose(net.predict_proba(X).sum(axis=-1), 1, rtol=1e-5)


def test_batches_from_an_iterable():
    net = network()
    net.fit([(X[:20], Y[:20]), (X[20:], Y[20:])], epochs=60, optimizer=Adam(0.03), normalize=1 / 64, progress=False)
    assert net.evaluate(X, Y).accuracy > 0.9


def test_weights_of_images_and_classes():
    wrong = np.where(np.arange(40)[:, None, None] < 20, 2, Y)
    net = network()
    weights = np.repeat([0.0, 1.0], 20)
    net.fit(X, wrong, epochs=60, optimizer=Adam(0.03), sample_weight=weights, class_weight="balanced", progress=False)
    assert np.mean(net.predict(X) == Y) > 0.85


def test_what_does_not_fit_is_refused():
    with refused("expected outputs of shape (6, 5, 4) for the 4 classes", "got outputs of shape (6, 5, 3)", "Conv2D(4"):
        network().fit(Dataset("toy", X, Y, class_names=("a", "b", "c", "d")), progress=False)
    with refused("expected labels from 0 to 2, got 3"):
        Dataset("toy", X, Y + 1, class_names=("a", "b", "c"))
    with refused("no augmentation with a class for each pixel", "got HorizontalFlip()"):
        network().fit(X, Y, augmentation=[HorizontalFlip()], progress=False)
    with refused("expected outputs of shape (6, 5, 3)", "got outputs of shape (7, 5, 3)"):
        Network([Conv2D(3, 1, padding=(0, 0))], (7, 5, 1)).fit(np.zeros((40, 7, 5, 1)), Y, progress=False)
