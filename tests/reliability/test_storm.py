"""The short form of ``python -m tests.reliability.storm``: a trial of each kind, and old faults that turn it red.

``pytest -m slow tests/reliability/test_storm.py`` plants those that take longer.
"""

import time
from pathlib import Path

import pytest

from tests.reliability.storm.__main__ import KINDS, attempt
from tests.reliability.storm.faults import FAULTS
from tests.reliability.storm.trials import make_arena

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the storm needs Linux")

# The first trial, with seed 0, in which a fault shows.
FOUND = {
    "writes into another's folder": ("folders", 1),
    "hangs after a fork": ("forks", 0),
    "does not look at its history": ("records", 2),
    "parses any header": ("headers", 0),
    "ends full disks in tracebacks": ("disks", 0),
}
SLOW = {
    "takes any history": ("files", 1),
    "takes any best record": ("files", 0),
    "builds any dictionary": ("pickles", 0),
    "decodes without a bound": ("images", 0),
    "has no lock": ("crowds", 0),
    "forgets the plateau": ("signals", 0),
}


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    return make_arena(tmp_path_factory.mktemp("storm"), time.monotonic)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_of_each_kind_finds_nothing(arena, tmp_path, kind):
    assert attempt(arena, tmp_path, 0, 0, "", [kind]) == kind
    assert list(tmp_path.iterdir()) == []


def test_each_fault_has_a_trial_that_finds_it():
    assert FOUND.keys() | SLOW.keys() == FAULTS.keys()


@pytest.mark.parametrize("fault", [*FOUND, *(pytest.param(fault, marks=pytest.mark.slow) for fault in SLOW)])
def test_a_planted_fault_is_found_and_its_seed_kept(arena, tmp_path, fault):
    kind, number = {**FOUND, **SLOW}[fault]
    with pytest.raises(AssertionError, match=f"--seed 0 --trial {number} --kinds {kind}"):
        attempt(arena, tmp_path, 0, number, fault, [kind])
    assert (tmp_path / str(number) / "story.txt").exists()
