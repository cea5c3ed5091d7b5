"""Optimizers on one part of the vectors after the other."""

import numpy as np
import pytest

from tests.helpers import assert_same_bits, host_copies
from tests.test_optimizers import ALL
from xpnet import kernels
from xpnet.kernels import blockwise, sharing
from xpnet.optimizers import SGD, optimizer_update

SIZE = 11
SERVED = ["numpy", "torch"]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Parts of two or three elements."""
    for name in ("_BLOCK", "_TORCH_BLOCK"):
        monkeypatch.setattr(blockwise, name, 3)


@pytest.fixture(params=[1, 2])
def threads(request, monkeypatch):
    """So many threads for NumPy, which share already."""
    monkeypatch.setattr(blockwise, "blas_has_one_thread", lambda: True)
    sharing.set_threads(request.param)
    yield request.param
    sharing.set_threads(1)


@pytest.mark.parametrize("backend", SERVED, indirect=True)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("as_arrays", [False, True])
@pytest.mark.parametrize("optimizer", ALL, ids=str)
def test_parts_give_the_bits_of_the_whole(monkeypatch, threads, backend, dtype, as_arrays, optimizer):
    rng = np.random.default_rng(0)
    theta = expected = backend.asarray(rng.normal(size=SIZE), dtype)
    state = expected_state = optimizer.init(theta)
    factors = {"lr_scale": 0.5, "decay_mask": 1.0}
    if as_arrays:
        free = rng.integers(0, 2, SIZE)
        factors = {"lr_scale": backend.asarray(np.array(0.5), dtype), "decay_mask": backend.asarray(free, dtype)}
    lengths = []
    monkeypatch.setattr(type(optimizer), "update", _recorded(type(optimizer).update, lengths))
    for _ in range(3):
        gradient = backend.asarray(rng.normal(size=SIZE), dtype)
        before = host_copies((theta, gradient, state))
        after, after_state = optimizer_update(optimizer, theta, gradient, state, **factors)
        assert sorted(lengths) == [2, 3, 3, 3]
        assert_same_bits((theta, gradient, state), before)
        expected, expected_state = optimizer.update(expected, gradient, expected_state, **factors)
        theta, state = after, after_state
        lengths.clear()
        assert_same_bits((theta, state), (expected, expected_state))


def test_what_others_keep_in_the_state_is_left_out_as_by_the_optimizer():
    theta, optimizer = np.ones(SIZE), ALL[-1]
    state = {**optimizer.init(theta), "loss_scale": np.ones(1)}
    _, after = optimizer_update(optimizer, theta, theta, state, lr_scale=1.0, decay_mask=1.0)
    assert after.keys() == optimizer.init(theta).keys()


def test_only_long_vectors_of_numpy_and_pytorch_are_cut(backend):
    assert blockwise.serves("optimizer_update", backend.asarray(np.ones(4)), ALL[0]) is (
        backend.name in SERVED and not _on_gpu(backend)
    )
    assert not blockwise.serves("optimizer_update", backend.asarray(np.ones(3)), ALL[0])


def test_an_optimizer_of_the_users_sees_whole_vectors():
    """Its step may depend on all of the gradient, as this one's does on its length."""

    class Normalized(SGD):
        def update(self, theta, gradient, state, **factors):
            return super().update(theta, gradient / np.linalg.norm(gradient), state, **factors)

    theta, gradient = np.zeros(SIZE), np.ones(SIZE)
    after, _ = optimizer_update(Normalized(1.0), theta, gradient, {}, lr_scale=1.0, decay_mask=1.0)
    np.testing.assert_allclose(np.linalg.norm(after), 1.0)


@pytest.mark.parametrize("backend", SERVED, indirect=True)
def test_an_accelerator_takes_vectors_whole(monkeypatch, backend):
    monkeypatch.setattr(blockwise, "on_accelerator", lambda array: True)
    assert not blockwise.serves("optimizer_update", backend.asarray(np.ones(4)), ALL[0])


@pytest.mark.parametrize(
    ("backend", "begun", "shares"),
    [("numpy", True, True), ("numpy", False, False), ("torch", True, False)],
    indirect=["backend"],
)
def test_threads_that_share_already_share_the_parts_of_numpys_vectors(monkeypatch, backend, begun, shares):
    """None are begun for this: BLAS would have one thread from then on."""
    seen = []
    monkeypatch.setattr(blockwise, "blas_has_one_thread", lambda: begun)
    monkeypatch.setattr(blockwise, "parallel_map", lambda function, items, work: seen.append(work > 2**23))
    theta = backend.asarray(np.ones(SIZE))
    optimizer_update(ALL[0], theta, theta, {}, lr_scale=1.0, decay_mask=1.0)
    assert seen == [shares]


@pytest.mark.parametrize("backend", SERVED, indirect=True)
def test_pure_kernels_cut_nothing(monkeypatch, backend):
    lengths = []
    monkeypatch.setattr(type(ALL[0]), "update", _recorded(type(ALL[0]).update, lengths))
    theta = backend.asarray(np.ones(SIZE))
    with kernels.using("pure"):
        optimizer_update(ALL[0], theta, theta, {}, lr_scale=1.0, decay_mask=1.0)
    assert lengths == [SIZE]


def _recorded(update, lengths):
    def recorded(self, theta, *arguments, **factors):
        lengths.append(theta.shape[0])
        return update(self, theta, *arguments, **factors)

    return recorded


def _on_gpu(backend):
    return backend.name == "torch" and "cuda" in str(backend.device)
