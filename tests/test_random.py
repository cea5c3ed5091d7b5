import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xpnet import random
from xpnet.backend import to_numpy
from xpnet.errors import InputError
from xpnet.random import Stream, fold_in, for_rows, generator, make_key, random_bits, random_mask


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_words(counter, key, expected):
    """Known answers for threefry2x32 with 20 rounds, from the reference implementation Random123."""
    x0, x1, key = (np.array(words, np.uint32).view(np.int32) for words in ([counter[0]], [counter[1]], key))
    words = [int(word.view(np.uint32)[0]) for word in random._threefry2x32(key, x0, x1)]
    assert words == list(expected)


def test_the_same_key_gives_the_same_bits_on_every_backend(backend):
    key = make_key(3)
    expected = random_bits(fold_in(fold_in(key, 7), 2**31 - 1), (3, 5))
    actual = random_bits(fold_in(fold_in(backend.asarray(key), 7), 2**31 - 1), (3, 5))
    assert actual.dtype == backend.xp.int32
    np.testing.assert_array_equal(to_numpy(actual), expected)


@pytest.mark.parametrize("size", [0, 1, 2, 999, 131_072, 131_073, 300_001])
def test_numpys_own_bits_are_those_of_array_operations(monkeypatch, size):
    key = fold_in(make_key(5), 3)
    drawn, folded = random_bits(key, (size,)), fold_in(key, np.int32(-7))
    monkeypatch.setattr(random, "_special", lambda key: None)
    np.testing.assert_array_equal(drawn, random_bits(key, (size,)))
    np.testing.assert_array_equal(folded, fold_in(key, np.int32(-7)))
    assert drawn.dtype == folded.dtype == np.int32


def test_bits_under_jit_are_those_without():
    jax = pytest.importorskip("jax", exc_type=ImportError)
    key = make_key(3)
    jitted = jax.jit(lambda key, step: random_bits(fold_in(key, step), (4,)))
    for step in (0, 1, 99):
        actual = jitted(jax.numpy.asarray(key), jax.numpy.asarray(step, dtype=jax.numpy.int32))
        np.testing.assert_array_equal(np.asarray(actual), random_bits(fold_in(key, step), (4,)))


def test_bits_are_uniform_and_independent():
    bits = random_bits(make_key(0), (100_000,))
    assert bits.min() >= 0
    assert bits.max() < 2**24
    counts = np.bincount(bits >> 18, minlength=64)
    assert np.sum((counts - 100_000 / 64) ** 2 / (100_000 / 64)) < 104  # chi-square, 63 degrees of freedom, p = 0.001
    halves = bits - bits.mean()
    assert abs(np.mean(halves[1:] * halves[:-1]) / bits.var()) < 0.01
    for place in range(24):
        assert abs(np.mean((bits >> place) & 1) - 0.5) < 0.008


def test_keys_and_shapes_give_different_bits():
    key = make_key(0)
    drawn = [random_bits(k, (6,)).tolist() for k in (key, make_key(1), fold_in(key, 0), fold_in(key, 1))]
    assert len({tuple(bits) for bits in drawn}) == 4
    assert random_bits(key, (5,)).shape == (5,)
    assert len(set(random_bits(key, (7, 9)).ravel().tolist())) == 63


def test_streams_of_a_seed_are_independent_and_repeatable():
    first = generator(5, Stream.EPOCH, 1).random(4).tolist()
    assert first == generator(5, Stream.EPOCH, 1).random(4).tolist()
    others = [generator(5, Stream.EPOCH, 2), generator(5, Stream.SPLIT), generator(6, Stream.EPOCH, 1)]
    assert all(first != other.random(4).tolist() for other in others)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0"])
def test_a_seed_is_an_integer(seed):
    with pytest.raises(InputError, match="Seed: expected an integer of at least 0"):
        generator(seed, Stream.SPLIT)


@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 3)),
    ranks=st.integers(1, 4),
    number=st.integers(0, 2**31 - 1),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
def test_rows_draw_what_the_whole_batch_draws_for_them(backend, shape, ranks, number):
    key = backend.asarray(fold_in(make_key(3), number))
    parts, masks = [], []
    for rank in range(ranks):
        first, end = shape[0] * rank // ranks, shape[0] * (rank + 1) // ranks
        rows = fold_in(for_rows(key, first, shape[0]), 5)
        parts.append(to_numpy(random_bits(rows, (end - first, *shape[1:]))))
        masks.append(to_numpy(random_mask(rows, (end - first, *shape[1:]), 0.25, backend.xp.float32)))
    whole = fold_in(key, 5)
    np.testing.assert_array_equal(np.concatenate(parts), to_numpy(random_bits(whole, shape)))
    np.testing.assert_array_equal(np.concatenate(masks), to_numpy(random_mask(whole, shape, 0.25, backend.xp.float32)))
