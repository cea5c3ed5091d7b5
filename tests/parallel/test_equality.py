"""What several ranks learn is what one process learns."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.conftest import PRESENT
from tests.parallel.launching import command, needs_mpi, run, torchrun
from tests.parallel.worker import CASES, STEPS, make_trainer, outcome

pytestmark = needs_mpi


@cache
def alone(case: str, backend: str = "numpy", dtype: str = "float64") -> dict[str, Any]:
    """What one process learns."""
    trainer = make_trainer(case, None, backend, dtype, STEPS)
    trainer.run()
    return outcome(trainer)


def shared(ranks: int, case: str, backend: str = "numpy", dtype: str = "float64", **changes: Any) -> dict[str, Any]:
    """What several ranks learn."""
    done = run(command(ranks, case, "mpi", backend, dtype, str(STEPS), json.dumps(changes)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_equal(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    """Losses, scores and parameters alike."""
    for name in ("iteration", "loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        np.testing.assert_allclose(other[name], one[name], rtol=0, atol=tolerance, err_msg=name)
    for name, tensor in one["tensors"].items():
        np.testing.assert_allclose(other["tensors"][name], tensor, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_learn_what_one_process_learns(case, ranks):
    """75 examples in batches of 16: neither 16 nor the last batch's 11 divide by 3."""
    assert_equal(alone(case), shared(ranks, case), 1e-10)


def test_four_ranks_on_fewer_cores_learn_the_same():
    assert_equal(alone("random"), shared(4, "random"), 1e-10)


def test_float32_differs_in_rounding_only():
    assert_equal(alone("random", dtype="float32"), shared(2, "random", dtype="float32"), 2e-5)


@pytest.mark.parametrize("library", [name for name in PRESENT if name in ("cupy", "torch", "jax")])
def test_ranks_of_other_libraries_learn_the_same(library):
    assert_equal(alone("random"), shared(2, "random", library), 1e-10)


@pytest.mark.parametrize("case", ["plain", "weighted"])
def test_ranks_compute_their_rows_in_parts(case):
    assert_equal(alone(case), shared(2, case, accumulate=3), 1e-10)


def test_statistics_of_each_rank_are_another_training():
    synchronized, own = alone("random"), shared(2, "random", sync_batch_norm=False)
    assert np.isfinite(own["loss"]).all()
    assert abs(own["loss"][-1] - synchronized["loss"][-1]) > 1e-4


def test_rows_of_an_iterable_are_shared_too():
    arguments = "numpy", "float64", "10", json.dumps({"stream": True})
    done = [run(command(n, "plain", engine, *arguments)) for n, engine in ((1, "none"), (2, "mpi"))]
    one, two = (json.loads(result.stdout) for result in done)
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=0, atol=1e-12)


@pytest.mark.skipif("torch" not in PRESENT, reason="PyTorch is not installed")
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_ranks_of_torchrun_learn_the_same(library):
    done = torchrun("-m", "tests.parallel.worker", "random", "torch", library, "float64", str(STEPS), "{}")
    assert done.returncode == 0, done.stderr
    assert_equal(alone("random"), json.loads(done.stdout), 1e-10)


@pytest.mark.skipif("torch" not in PRESENT, reason="PyTorch is not installed")
def test_ranks_of_torchrun_leave_their_group_while_python_runs(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import atexit, torch\n"
        "atexit.register(lambda: print(torch.distributed.is_initialized()))  # called last\n"
        "from xpnet.parallel import connect\n"
        "assert connect('torch').size == 2\n"
    )
    done = torchrun(str(program))
    assert (done.returncode, done.stdout.split()) == (0, ["False"] * 2), done.stderr


def test_the_first_step_that_goes_wrong_ends_all_ranks(tmp_path):
    words = ("train", "--iterations", "50", "--limit", "400", "--lr", "1e30", "--no-plots", "--detect-nonfinite")
    done = run(command(2, *words, "--out", "run", module="xpnet"), cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "in iteration" in done.stderr
