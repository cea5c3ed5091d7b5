"""Several processes on one machine's GPUs."""

from pathlib import Path

import pytest

from tests.emulated_cuda.records import IS_EMULATED
from tests.parallel.launching import command, needs_mpi, run

pytestmark = [pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device"), needs_mpi]


def errors(ranks: int, folder: Path) -> tuple[int, list[str]]:
    """Exit code and error output of a short training by so many ranks on two devices."""
    short = ("--model", "mlp", "--limit", "200", "--iterations", "4", "--no-plots")
    words = command(ranks, "train", "--device", "cuda", *short, "--out", str(folder), module="xpnet")
    done = run(words, EMULATED_CUDA="devices=2")
    return done.returncode, done.stderr.splitlines()


def test_each_rank_has_a_gpu_and_without_nccl_one_warning_says_how_they_add(tmp_path):
    code, lines = errors(2, tmp_path / "run")
    assert code == 0
    (line,) = lines
    assert line.startswith("warning: NCCL")
    assert "MPI" in line


def test_more_ranks_than_gpus_are_refused_in_one_line(tmp_path):
    code, lines = errors(3, tmp_path / "run")
    assert code == 2
    (line,) = lines
    assert line.startswith("error: Rank 2: --device cuda:2")
    assert "fewer ranks" in line
    assert not (tmp_path / "run").exists()
