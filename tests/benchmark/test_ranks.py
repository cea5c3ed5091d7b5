"""How ranks are timed, and the model of their efficiency."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tests.parallel.launching import command, needs_mpi, run
from xpnet.benchmark import efficiency
from xpnet.benchmark.efficiency import Cluster, fit_reductions, reduction_time

PLAIN = Cluster(step=0.1, bandwidth=(1e9, 1e8), latency=(1e-6, 1e-3), synchronised=False)


def test_a_reduction_by_hand():
    """Four ranks of a machine, then 16 of two: 2(n-1)/n · B/w + 2·log2(n)·a."""
    assert PLAIN.reduction(1, 1e9) == 0
    assert PLAIN.reduction(4, 1e9) == pytest.approx(1.5 + 4e-6)
    assert PLAIN.reduction(16, 1e8) == pytest.approx(2 * 15 / 16 + 8e-3)


@pytest.mark.parametrize("ranks", [2, 8])
def test_latency_and_bandwidth_are_found_in_what_they_give(ranks):
    sizes = 4.0 ** np.arange(4, 14)
    seconds = np.array([reduction_time(ranks, size, 3e9, 1e-5) for size in sizes])
    fit = fit_reductions(ranks, sizes, seconds)
    np.testing.assert_allclose(fit, [3e9, 1e-5, 0, 0], rtol=1e-9, atol=1e-12)


def test_the_error_of_a_fit_is_a_share_of_what_was_measured():
    """Of times 2 and 4, nothing is nearer in relative terms than 2.4: 0.2 too much, 0.4 too little."""
    fit = fit_reductions(2, np.zeros(2) + 1e6, np.array([2.0, 4.0]))
    assert fit.error == pytest.approx(np.sqrt((0.2**2 + 0.4**2) / 2))
    assert fit.largest_error == pytest.approx(0.4)


def test_efficiency_falls_with_ranks_and_with_less_that_hides_it():
    for cluster in efficiency.CURVES.values():
        values = [cluster.efficiency(n) for n in (1, 2, 4, 8, 16, 1024)]
        assert values[0] == 1
        assert all(np.diff(values) <= 0)
    assert PLAIN.efficiency(16) < replace(PLAIN, hidden=0.5).efficiency(16)
    assert PLAIN.efficiency(16) > replace(PLAIN, synchronised=True).efficiency(16)


def test_predictions_are_printed_and_drawn(tmp_path, capsys):
    assert efficiency.main([str(tmp_path / "scaling.png")]) == 0
    assert "| 1,024 |" in capsys.readouterr().out
    assert (tmp_path / "scaling.png").stat().st_size > 10_000


def test_one_process_is_timed():
    words = [sys.executable, "-m", "xpnet.benchmark.ranks", "--worker", "none", "--seconds", "0.01", "mnist_starter:4"]
    line = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    assert line["rate"] == pytest.approx(4 / line["step"])
    assert line["fastest"] <= line["step"]
    assert line["reduction"] == 0


@needs_mpi
def test_ranks_are_timed_with_their_reduction():
    words = ("--worker", "mpi", "--seconds", "0.01", "--reductions", "mnist_starter:4")
    done = run(command(2, *words, module="xpnet.benchmark.ranks"))
    assert done.returncode == 0, done.stderr
    assert "GB/s; error" in done.stdout
    assert json.loads(done.stdout.splitlines()[-1])["reduction"] > 0


@needs_mpi
def test_an_overlap_is_timed():
    words = ("--values", "1000", "--products", "50", "--size", "8", "--rounds", "2")
    done = run(command(2, *words, module="xpnet.benchmark.overlap"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert lines[1] == "| at the end | 1.00 |"
