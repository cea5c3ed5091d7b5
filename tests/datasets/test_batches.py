import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpnet.datasets import BatchSampler, split_indices
from xpnet.errors import InputError

seeds = st.integers(0, 2**64)


@st.composite
def samplers(draw):
    count = draw(st.integers(1, 60))
    return BatchSampler(count, draw(st.integers(1, count)), draw(seeds))


@given(samplers(), st.integers(0, 5))
def test_each_epoch_covers_every_index_exactly_once(sampler, epoch):
    first = epoch * sampler.batches_per_epoch
    batches = [sampler.batch(first + i) for i in range(sampler.batches_per_epoch)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(sampler.count))
    assert all(len(batch) == sampler.batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= sampler.batch_size
    assert all(batch.dtype == np.int64 for batch in batches)


@given(samplers(), st.lists(st.integers(0, 300), min_size=1, max_size=12))
def test_batch_depends_on_seed_and_step_alone(sampler, steps):
    in_this_order = [sampler.batch(step).tolist() for step in steps]
    resumed = BatchSampler(sampler.count, sampler.batch_size, sampler.seed)
    assert [resumed.batch(step).tolist() for step in reversed(steps)] == in_this_order[::-1]


@given(seeds, st.integers(0, 100))
def test_epochs_differ(seed, epoch):
    sampler = BatchSampler(50, 50, seed)
    assert sampler.batch(epoch).tolist() != sampler.batch(epoch + 1).tolist()


@given(st.integers(0, 2**32 - 2))
def test_seeds_differ(seed):
    assert BatchSampler(50, 50, seed).batch(0).tolist() != BatchSampler(50, 50, seed + 1).batch(0).tolist()


def test_a_caller_cannot_change_later_batches():
    batch = BatchSampler(10, 4, seed=0).batch(0)
    with pytest.raises(ValueError, match="read-only"):
        batch[0] = 7


def test_an_epoch_is_shuffled_once(monkeypatch):
    drawn = []
    monkeypatch.setattr(np.random, "default_rng", lambda s, rng=np.random.default_rng: drawn.append(s) or rng(s))
    sampler = BatchSampler(1001, 10, seed=123456)
    for step in range(2 * sampler.batches_per_epoch):
        sampler.batch(step + 4)  # batches are decoded ahead, over the edge of an epoch too
        sampler.batch(step)
    assert [(stream.entropy, stream.spawn_key) for stream in drawn] == [(123456, (2, epoch)) for epoch in range(3)]


def test_sampler_is_a_value():
    sampler = BatchSampler(10, 3, seed=1)
    sampler.batch(0)
    assert sampler == BatchSampler(10, 3, seed=1)
    assert hash(sampler) == hash(BatchSampler(10, 3, seed=1))
    assert pickle.loads(pickle.dumps(sampler)) == sampler
    assert sampler.batches_per_epoch == 4


@pytest.mark.parametrize("batch_size", [0, -1, 11])
def test_batch_size_outside_the_data_is_refused(batch_size):
    with pytest.raises(InputError, match=rf"Batch size: expected 1 to 10 .*, got {batch_size}\."):
        BatchSampler(10, batch_size, seed=0)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1))), seeds)
def test_split_sets_validation_indices_apart(sizes, seed):
    count, validation = sizes
    train, held_out = split_indices(count, validation, seed)
    assert (len(train), len(held_out)) == (count - validation, validation)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(count))
    assert train.dtype == held_out.dtype == np.int64


def test_split_repeats_with_the_seed_and_differs_between_seeds():
    first, again, other = (split_indices(100, 20, seed)[1].tolist() for seed in (3, 3, 4))
    assert first == again != other


def test_a_seed_keeps_its_split():
    order = np.random.default_rng(np.random.SeedSequence(3, spawn_key=(1,))).permutation(100)
    assert [part.tolist() for part in split_indices(100, 20, seed=3)] == [order[:80].tolist(), order[80:].tolist()]


def test_split_is_not_the_order_of_the_first_epoch():
    train, _ = split_indices(100, 0, seed=5)
    assert train.tolist() != BatchSampler(100, 100, seed=5).batch(0).tolist()


@pytest.mark.parametrize("validation", [-1, 10, 11])
def test_split_must_leave_training_images(validation):
    with pytest.raises(InputError, match=f"validation .* 10 training examples, got {validation}"):
        split_indices(10, validation, seed=0)


@pytest.mark.parametrize("use", [lambda: split_indices(10, 2, seed=-1), lambda: BatchSampler(10, 2, seed=-1)])
def test_negative_seed_is_refused(use):
    with pytest.raises(InputError, match="Seed: expected an integer of at least 0, got -1"):
        use()
