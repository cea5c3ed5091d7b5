"""Parts of batches, and what stands for a group of one process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import assert_close
from xpnet.datasets import BatchSampler
from xpnet.errors import InputError
from xpnet.layers import BatchNorm
from xpnet.layers.normalization import SynchronizedBatchNorm
from xpnet.parallel import ALONE, Group, connect
from xpnet.parallel.compression import pack, unpack
from xpnet.parallel.cores import share
from xpnet.parallel.launch import Launch, launched
from xpnet.parallel.watch import Watch, time_limit
from xpnet.training.rows import RowSampler, check_enough, weights_of_examples


class Rank(Group):
    """A rank that never talks."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@given(count=st.integers(1, 40), batch=st.integers(1, 40), size=st.integers(1, 4), step=st.integers(0, 20))
def test_the_parts_of_a_batch_are_the_batch(count, batch, size, step):
    whole = BatchSampler(count, min(batch, count), seed=1)
    weights = np.random.default_rng(0).random(count)
    parts = [RowSampler(whole, Rank(rank, size), weights) for rank in range(size)]
    batches, rows = [part.batch(step) for part in parts], [row for part in parts for row in part.rows(step)]
    sizes = [len(indices) for indices in batches]
    if len(whole.batch(step)) < size:
        batches, sizes = batches[:1], [0] * size
        assert all(np.array_equal(part.batch(step), whole.batch(step)) for part in parts)
    np.testing.assert_array_equal(np.concatenate(batches), whole.batch(step))
    assert [row.first for row in rows] == [sum(sizes[:rank]) for rank in range(size)]
    assert max(sizes) - min(sizes) <= 1
    assert sum(row.examples for row in rows) == pytest.approx(1)
    assert sum(row.weight for row in rows) == pytest.approx(1)


@given(count=st.integers(2, 40), batch=st.integers(2, 40), size=st.integers(1, 2), parts=st.integers(1, 9))
def test_a_rank_computes_its_rows_part_by_part(count, batch, size, parts):
    whole = BatchSampler(count, min(batch, count), seed=1)
    rows = [RowSampler(whole, Rank(rank, size), None, parts).rows(0) for rank in range(size)]
    assert len({len(own) for own in rows}) == 1  # or ranks would wait for each other
    places = [place for own in rows for row in own for place in range(row.first, row.stop)]
    assert places == list(range(len(whole.batch(0))))
    for own in rows:
        counts = [row.stop - row.first for row in own]
        assert 1 <= len(own) <= parts
        assert max(counts) - min(counts) <= 1
    assert sum(row.weight for own in rows for row in own) == pytest.approx(1)


def test_weights_are_those_of_examples_and_classes():
    weights = weights_of_examples(np.array([0, 1, 1]), np.array([1, 2, 3]), (0.5, 2.0))
    np.testing.assert_array_equal(weights, [0.5, 4, 6])
    assert weights_of_examples(np.array([0]), None, None) is None
    of_pixels = weights_of_examples(np.array([[0, 1], [1, 1]]), np.array([1, 3]), (0.5, 2.0))
    np.testing.assert_array_equal(of_pixels, [[0.5, 2], [6, 6]])
    sampler = RowSampler(BatchSampler(3, 3, 0, shuffle=False), Rank(1, 2), weights)
    assert sampler.rows(0)[0].weight == pytest.approx(10 / 10.5)
    empty = RowSampler(BatchSampler(3, 3, 0), Rank(1, 2), np.zeros(3))
    assert empty.rows(0)[0].weight == 0


def test_a_batch_needs_an_example_for_each_rank():
    check_enough(Rank(0, 3), 3)
    with pytest.raises(InputError, match=r"at least 4 examples.*got 3"):
        check_enough(Rank(0, 4), 3)


def test_a_group_of_one_leaves_everything_as_it_is():
    array = np.ones(3)
    assert connect(None) is ALONE
    assert ALONE.all_reduce(array) is array
    assert ALONE.broadcast(array) is array
    assert (ALONE.rank, ALONE.size, ALONE.largest(3), ALONE.rows(7)) == (0, 1, 3, slice(0, 7))
    assert connect(None).threads is None
    with pytest.raises(InputError, match="mpi"):
        connect("telepathy")


def test_launchers_are_known_by_their_environment():
    assert launched({}) == Launch(1, 0, None)
    assert launched({"PMI_SIZE": "4", "PMI_RANK": "3"}) == Launch(4, 3, "mpi")
    assert launched({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"}) == Launch(2, 1, "mpi")
    assert launched({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "7"}) == Launch(8, 7, "mpi")
    # A batch script of Slurm, which srun has not started, is one process whatever the job's tasks.
    assert launched({"SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) == Launch()
    assert launched({"WORLD_SIZE": "2", "RANK": "1", "TORCHELASTIC_RUN_ID": "a"}) == Launch(2, 1, "torch")
    assert launched({"WORLD_SIZE": "2", "RANK": "1"}) == Launch()


@pytest.mark.parametrize("text", ["", "x", "0", "nan", "inf"])
def test_a_time_limit_is_a_number_of_seconds(monkeypatch, text):
    assert time_limit() is None
    monkeypatch.setenv("XPNET_RANK_TIMEOUT", text)
    with pytest.raises(InputError, match="XPNET_RANK_TIMEOUT"):
        time_limit()


def test_a_watch_calls_where_a_wait_is_too_long(monkeypatch):
    monkeypatch.setenv("XPNET_RANK_TIMEOUT", "0.05")
    late = threading.Event()
    watch = Watch(late.set)
    with watch:
        assert late.wait(10)


def test_a_watch_is_patient_until_ranks_answer_soon(monkeypatch):
    """Then a wait may be ten times as long as the longest before."""
    monkeypatch.setattr("xpnet.parallel.watch.PATIENT", 60.0)
    monkeypatch.setattr("xpnet.parallel.watch._LEAST", 0.2)
    late = threading.Event()
    watch = Watch(late.set)
    with watch:
        assert not late.wait(0.5)
    assert watch.limit == 60
    watch.is_patient = False
    end = time.monotonic() + 10
    while watch.limit < 2 and time.monotonic() < end:
        time.sleep(0.01)  # until the watch has looked
    assert 2 <= watch.limit < 60
    with watch:
        assert not late.wait(1)
        assert late.wait(60)


@pytest.mark.parametrize("fast", ["", "fast"])
def test_a_watch_without_long_waits(monkeypatch, fast):
    monkeypatch.setattr("xpnet.parallel.watch._LEAST", 0.2)
    late = threading.Event()
    watch = Watch(late.set)
    watch.is_patient = not fast
    with watch:
        assert late.wait(10 if fast else 1) == bool(fast)


def test_cores_are_shared():
    assert [share([2, 3, 5], rank, 2) for rank in range(2)] == [[2], [3, 5]]
    assert [share([2, 3], rank, 3) for rank in range(3)] == [[2], [3], [2]]
    assert share([4, 7], 0, 1) == [4, 7]


@given(value=st.floats(width=32))
@pytest.mark.parametrize(("dtype", "digits", "least"), [("float16", 11, 2**-14), ("bfloat16", 8, 2**-126)])
def test_numbers_in_16_bits(dtype, digits, least, value):
    with np.errstate(over="ignore"):
        (other,) = unpack(pack(np.array([value], np.float32), dtype), dtype)
    if not np.isfinite(value) or (dtype == "float16" and abs(value) > 65504):
        assert np.isnan(other) == np.isnan(value)
        assert np.isnan(value) or np.sign(other) == np.sign(value)
    elif abs(value) >= least and np.isfinite(other):
        assert abs(float(other) - value) <= 2.0**-digits * abs(value)


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_of_two_numbers_in_16_bits_as_near_the_even_one(dtype, step):
    halves = np.array([1 + step / 2, 1 + step * 3 / 2, -1 - step / 2], np.float32)
    np.testing.assert_array_equal(unpack(pack(halves, dtype), dtype), [1, 1 + 2 * step, -1])


def test_synchronised_statistics_of_one_process_are_its_own(backend):
    xp, rng = backend.xp, np.random.default_rng(3)
    plain, synchronized = BatchNorm(), SynchronizedBatchNorm()
    params, state, _ = plain.init(rng, (4, 3))
    params = {name: backend.asarray(rng.normal(size=3), "float64") for name in params}
    state = {name: backend.asarray(rng.random(3), "float64") for name in state}
    x, dy = (backend.asarray(rng.normal(size=(5, 4, 3)), "float64") for _ in range(2))
    one, other = (layer.forward(params, state, x, train=True) for layer in (plain, synchronized))
    assert_close(other.y, one.y, atol=1e-12)
    for name in state:
        assert_close(other.state[name], one.state[name], atol=1e-12)
    back = plain.backward(params, one.cache, dy), synchronized.backward(params, other.cache, dy)
    assert_close(back[1].dx, back[0].dx, atol=1e-12)
    for name in params:
        assert_close(back[1].grads[name], back[0].grads[name], atol=1e-12)
    assert synchronized.backward(params, other.cache, dy, need_dx=False).dx is None
    assert xp.all(xp.isfinite(other.y))


def test_one_process_never_imports_mpi4py():
    code = (
        "import sys, numpy as np; from xpnet import Network; from xpnet.layers import Dense;"
        "Network([Dense(2)], (3,)).fit(np.ones((8, 3)), np.arange(8) % 2, progress=False);"
        "import xpnet.cli.train; assert not [name for name in sys.modules if 'mpi' in name.split('.')[0]]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
