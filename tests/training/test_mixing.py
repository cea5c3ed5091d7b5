"""Mixup and CutMix: what is drawn, blended and learned."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import assert_close, assert_is_gradient, assert_same_bits, refused
from tests.training.runs import make_trainer, timeless
from xpnet.backend import to_numpy
from xpnet.datasets import BatchSampler, split_indices
from xpnet.errors import TrainingDivergedError
from xpnet.layers import Conv2D, Dense, Embedding, Flatten
from xpnet.losses import BinaryCrossEntropy, Focal, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.network import Network
from xpnet.training import CutMix, Mixup
from xpnet.training.mixing import check_mixing, mixed_score, with_mixed_targets
from xpnet.training.scores import accuracy

BACKENDS = ["torch", "jax"]
NETWORK = Network([Flatten(), Dense(3)], (7, 5, 2), dtype="float64")
RNG = np.random.default_rng(2)
Z, Y, WEIGHTS = RNG.normal(size=(5, 3)), np.array([0, 2, 1, 1, 0]), np.array([1.0, 2.0, 0.5, 0.0, 3.0])


def loss_at(share, loss):
    return with_mixed_targets(SimpleNamespace(loss=loss), np.array([share])).loss


def constant_images(count):
    """Image n has the value n everywhere."""
    return np.broadcast_to(np.arange(count, dtype=np.float64)[:, None, None, None], (count, 7, 5, 2))


def test_mixup_by_hand(backend):
    x = RNG.normal(size=(5, 4, 3))
    mixed = Mixup(1.0).blend(backend.asarray(x, "float64"), backend.asarray(np.array([0.7]), "float64"))
    assert_close(mixed, backend.asarray(0.7 * x + 0.3 * x[::-1], "float64"), atol=1e-14)
    assert_same_bits(mixed[2, ...], backend.asarray(x[2], "float64"))  # the middle one is its own partner


def test_cutmix_by_hand(backend):
    x = RNG.normal(size=(4, 7, 5, 2))
    expected = x.copy()
    expected[:, 2:6, 1:3] = x[::-1, 2:6, 1:3]
    numbers = backend.asarray(np.array([27 / 35, 2, 6, 1, 3]), "float64")
    assert_close(CutMix(1.0).blend(backend.asarray(x, "float64"), numbers), backend.asarray(expected, "float64"))


@given(st.floats(0.1, 5), st.integers(0, 1000))
def test_the_share_of_cutmix_is_that_of_the_pixels_that_stay(alpha, step):
    numbers = CutMix(alpha).draw(0, step, NETWORK)
    mixed = CutMix(alpha).blend(constant_images(2), numbers)
    is_own = mixed[0] == 0
    assert is_own.mean() == pytest.approx(numbers[0], abs=1e-12)
    np.testing.assert_array_equal(mixed[1] == 1, is_own)
    rows, columns = np.nonzero(~is_own[..., 0])
    if rows.size:
        assert rows.size == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_boxes_have_every_size_and_place():
    drawn = np.array([CutMix(1.0).draw(3, step, NETWORK) for step in range(1500)])
    for start, end, length in ((1, 2, 7), (3, 4, 5)):
        assert set(drawn[:, end] - drawn[:, start]) == set(range(length + 1))
        assert set(drawn[:, start]) == set(range(length))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha):
    """Mean 1/2 and variance 1/(8α + 4), each within four standard errors of 3000 draws."""
    shares = np.array([Mixup(alpha).draw(1, step, NETWORK)[0] for step in range(3000)])
    variance = 1 / (8 * alpha + 4)
    assert shares.mean() == pytest.approx(0.5, abs=4 * np.sqrt(variance / 3000))
    squares = (shares - 0.5) ** 2
    assert squares.mean() == pytest.approx(variance, abs=4 * squares.std() / np.sqrt(3000))


def test_numbers_depend_on_seed_and_step_alone():
    numbers = CutMix(1.0).draw(7, 5, NETWORK)
    np.testing.assert_array_equal(CutMix(1.0).draw(7, 5, NETWORK), numbers)
    for seed, step in ((8, 5), (7, 6)):
        assert not np.array_equal(CutMix(1.0).draw(seed, step, NETWORK), numbers)


def test_cross_entropy_is_that_of_blended_targets():
    t = 0.3 * np.eye(3)[Y] + 0.7 * np.eye(3)[Y[::-1]]
    log_p = Z - np.log(np.exp(Z).sum(axis=1, keepdims=True))
    loss = loss_at(0.3, SoftmaxCrossEntropy())
    value, cache = loss.forward(Z, Y)
    assert value == pytest.approx(-np.mean(np.sum(t * log_p, axis=1)), rel=1e-14)
    np.testing.assert_allclose(loss.backward(cache), (np.exp(log_p) - t) / 5, atol=1e-15)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_pytorchs_of_blended_targets(smoothing):
    torch = pytest.importorskip("torch", exc_type=ImportError)
    z = torch.tensor(Z, requires_grad=True)
    t = torch.tensor(0.3 * np.eye(3)[Y] + 0.7 * np.eye(3)[Y[::-1]])
    expected = torch.nn.functional.cross_entropy(z, t, label_smoothing=smoothing)
    expected.backward()
    loss = loss_at(0.3, SoftmaxCrossEntropy(smoothing))
    value, cache = loss.forward(Z, Y)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(loss.backward(cache), z.grad.numpy(), atol=1e-14)


def test_squared_error_has_the_gradient_of_blended_targets():
    t, loss = RNG.normal(size=(5, 3)), loss_at(0.3, MeanSquaredError())
    plain = MeanSquaredError()
    expected = plain.backward(plain.forward(Z, 0.3 * t + 0.7 * t[::-1]).cache)
    np.testing.assert_allclose(loss.backward(loss.forward(Z, t).cache), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("inner", "targets"),
    [
        (SoftmaxCrossEntropy(0.1, (0.5, 2.0, 1.0)), Y),
        (Focal(2.0, (0.5, 2.0, 1.0)), Y),
        (BinaryCrossEntropy(), RNG.integers(2, size=(5, 3))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gradients_with_weights(inner, targets):
    loss = loss_at(0.3, inner)
    gradient = loss.backward(loss.forward(Z, targets, WEIGHTS).cache)
    assert_is_gradient(lambda z: float(loss.forward(z, targets, WEIGHTS).loss), {"z": Z}, {"z": gradient})
    own, partners = inner.forward(Z, targets, WEIGHTS), inner.forward(Z, targets[::-1], WEIGHTS[::-1])
    assert loss.forward(Z, targets, WEIGHTS).loss == pytest.approx(0.3 * own.loss + 0.7 * partners.loss, rel=1e-14)


@pytest.mark.parametrize(("name", "kind"), [("mixup", Mixup), ("cutmix", CutMix)])
def test_figures_equal_a_loop_written_out(digits, name, kind):
    """Plain gradient descent on the blended batches, with both targets in turn."""
    trainer = make_trainer(
        digits, dtype="float64", iterations=6, report_every=6, optimizer="sgd", weight_decay=0.0, **{name: 0.8}
    )
    network, losses, hits = trainer.network, [], []
    theta, (train, _) = network.theta.copy(), split_indices(300, 30, 0)
    for step in range(6):
        chosen = train[BatchSampler(270, 16, 0).batch(step)]
        x, y = digits.train_inputs[chosen].astype(np.float64), digits.train_targets[chosen]
        numbers = kind(0.8).draw(0, step, network)
        share, x = numbers[0], kind(0.8).blend(x, numbers)
        own, other = (network.loss_and_gradient(theta, network.state, x, t) for t in (y, y[::-1].copy()))
        losses.append(share * own.loss + (1 - share) * other.loss)
        predicted = own.outputs.argmax(axis=1)
        hits.append(share * np.mean(predicted == y) + (1 - share) * np.mean(predicted == y[::-1]))
        theta = theta - 0.1 * (share * own.gradient + (1 - share) * other.gradient)
    record = trainer.run()[-1]
    np.testing.assert_allclose(network.theta, theta, rtol=1e-9, atol=1e-12)
    assert record.loss == pytest.approx(np.mean(losses), rel=1e-9)
    assert record.train_score == pytest.approx(np.mean(hits), rel=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_backends_learn_the_same(digits, backend, name):
    pytest.importorskip(backend, exc_type=ImportError)
    settings = {name: 1.0, "crop_padding": 2, "iterations": 6}
    records = [make_trainer(digits, backend=b, **settings).run()[-1] for b in ("numpy", backend)]
    assert records[0][1:5] == pytest.approx(records[1][1:5], abs=1e-4)


def test_nothing_is_compiled_again(digits):
    pytest.importorskip("jax", exc_type=ImportError)
    trainer = make_trainer(digits, backend="jax", cutmix=1.0)
    trainer.run()
    assert trainer._step._cache_size() == 1


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_float16_learns_what_float32_learns(digits, name):
    settings = {"model": "mlp", "model_options": {"hidden": (16,)}, "batch_size": 32, name: 1.0}
    half, full = (make_trainer(digits, precision=p, **settings).run()[-1] for p in ("float16", "float32"))
    assert half.loss != full.loss
    assert half.loss == pytest.approx(full.loss, rel=0.01)


def test_a_step_that_goes_wrong_is_repeated_as_it_was(digits):
    settings = {"mixup": 1.0, "precision": "float16", "model": "mlp", "model_options": {"hidden": (8,)}}
    plain, watched = (make_trainer(digits, **settings) for _ in range(2))
    assert timeless(watched.run(detect_nonfinite=True)) == timeless(plain.run())
    trainer = make_trainer(digits, mixup=1.0, learning_rate=1e30)
    with pytest.raises(TrainingDivergedError, match=r"in iteration \d, '?\w+"):
        trainer.run(detect_nonfinite=True)


def test_the_score_is_that_of_both_targets(backend):
    outputs, targets = backend.asarray(np.eye(3)[[0, 1, 2, 0]], "float64"), backend.asarray(np.array([0, 1, 2, 2]))
    score = mixed_score(accuracy, backend.asarray(np.array([0.75]), "float64"))
    value = float(to_numpy(score(outputs, targets, backend.dtype("float64"))))
    assert value == pytest.approx(0.75 * 3 / 4 + 0.25 * 1 / 4)


def test_what_cannot_be_blended_is_refused():
    vectors = Network([Dense(3)], (4,))
    words = Network([Embedding(10, 4), Flatten(), Dense(3)], (6,))
    pixels = Network([Conv2D(3, 1)], (7, 5, 2))
    classes, of_pixels = np.zeros(8, np.int32), np.zeros((8, 7, 5), np.int32)
    for mixing, network, targets in ((Mixup(1.0), vectors, classes), (Mixup(1.0), pixels, of_pixels), (None, words, Y)):
        check_mixing(mixing, network, targets, 1)
    with refused("CutMix", "images (H, W, C)", "got inputs of shape (4,)"):
        check_mixing(CutMix(1.0), vectors, classes, 1)
    with refused("CutMix", "one target for each image", "got one for each pixel"):
        check_mixing(CutMix(1.0), pixels, of_pixels, 1)
    with refused("Mixup: expected inputs that can be blended, got indices."):
        check_mixing(Mixup(1.0), words, classes, 1)
    with refused("Mixup: expected whole batches, got 3 parts"):
        check_mixing(Mixup(1.0), NETWORK, classes, 3)


def test_a_trainer_refuses_what_cannot_be_blended(digits):
    with refused("CutMix: expected images"):
        Network([Dense(3)], (2,)).fit(np.ones((6, 2)), np.arange(6) % 3, mixing=CutMix(1.0), progress=False)


@pytest.mark.parametrize("alpha", [0, -1.0, np.nan, np.inf, "1", True])
@pytest.mark.parametrize("kind", [Mixup, CutMix])
def test_an_alpha_out_of_range_is_refused(kind, alpha):
    with refused(f"{kind.__name__}: expected a finite alpha above 0"):
        kind(alpha)
