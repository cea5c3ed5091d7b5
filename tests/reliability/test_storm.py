"""The short form of ``python -m tests.reliability.storm``: a trial of each kind, and old faults that turn it red."""

import time
from pathlib import Path

import pytest

from tests.reliability.storm.__main__ import KINDS, attempt
from tests.reliability.storm.trials import make_arena

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the storm needs Linux")

# The first trial, with seed 0, in which a fault shows.
FOUND = {
    "writes into another's folder": ("folders", 1),
    "hangs after a fork": ("forks", 0),
    "does not look at its history": ("records", 2),
    "parses any header": ("bombs", 0),
    "ends full disks in tracebacks": ("disks", 0),
}


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    return make_arena(tmp_path_factory.mktemp("storm"), time.monotonic)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_of_each_kind_finds_nothing(arena, tmp_path, kind):
    assert attempt(arena, tmp_path, 0, 0, "", [kind]) == kind
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", FOUND)
def test_a_planted_fault_is_found_and_its_seed_kept(arena, tmp_path, fault):
    kind, number = FOUND[fault]
    with pytest.raises(AssertionError, match=f"--seed 0 --trial {number} --kinds {kind}"):
        attempt(arena, tmp_path, 0, number, fault, [kind])
    assert (tmp_path / str(number) / "story.txt").exists()
