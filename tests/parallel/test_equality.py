"""What several ranks learn is what one process learns."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.conftest import PRESENT
from tests.helpers import blocks_of
from tests.parallel.launching import ROOT, command, needs_mpi, run, torchrun
from tests.parallel.worker import CASES, STEPS, make_trainer, outcome
from xpnet.parallel.cores import available

pytestmark = needs_mpi


@cache
def alone(case: str, backend: str = "numpy", dtype: str = "float64", **changes: Any) -> dict[str, Any]:
    """What one process learns."""
    trainer = make_trainer(case, None, backend, dtype, STEPS, **changes)
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


@pytest.mark.parametrize("case", ["random", "weighted"])
def test_each_rank_has_all_of_a_last_batch_that_is_smaller_than_the_ranks(case):
    """75 examples in batches of 24: the last one has 3."""
    assert_equal(alone(case, batch_size=24), shared(4, case, batch_size=24), 1e-10)


def test_float32_differs_in_rounding_only():
    assert_equal(alone("random", dtype="float32"), shared(2, "random", dtype="float32"), 2e-5)


@pytest.mark.parametrize("library", [name for name in PRESENT if name in ("cupy", "torch", "jax")])
def test_ranks_of_other_libraries_learn_the_same(library):
    assert_equal(alone("random"), shared(2, "random", library), 1e-10)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(("dtype", "error"), [("float16", 2e-3), ("bfloat16", 1.5e-2)])
def test_gradients_sent_in_16_bits_are_rounded(ranks, dtype, error):
    """A report would end a training whose ranks did not have the same bits."""
    rounded = shared(ranks, "plain", allreduce_dtype=dtype)
    assert_equal(alone("plain"), rounded, error)
    with pytest.raises(AssertionError):
        assert_equal(alone("plain"), rounded, error / 100)


@pytest.mark.skipif("torch" not in PRESENT, reason="PyTorch is not installed")
@pytest.mark.parametrize(("dtype", "error"), [("float16", 2e-3), ("bfloat16", 1.5e-2)])
def test_torchrun_sends_16_bits_too(dtype, error):
    changes = json.dumps({"allreduce_dtype": dtype})
    done = torchrun("-m", "tests.parallel.worker", "plain", "torch", "torch", "float64", str(STEPS), changes)
    assert done.returncode == 0, done.stderr
    rounded = json.loads(done.stdout)
    assert_equal(alone("plain"), rounded, error)
    with pytest.raises(AssertionError):
        assert_equal(alone("plain"), rounded, error / 100)


@pytest.mark.skipif("jax" not in PRESENT, reason="JAX is not installed")
@pytest.mark.skipif(len(available()) < 2, reason="there is one core")
def test_the_threads_of_jax_keep_to_the_cores_of_their_rank(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        "from tests.parallel.worker import make_trainer\n"
        "trainer = make_trainer('plain', 'mpi', 'jax', 'float32', 2)\n"
        "trainer.run()\n"
        "threads = map(int, os.listdir('/proc/self/task'))\n"
        "cores = set().union(*map(os.sched_getaffinity, threads))\n"
        "open(f'rank{trainer.group.rank}', 'w').write(' '.join(map(str, sorted(cores))))\n"
    )
    done = run(command(2, str(program), module="mpi4py"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = (set(map(int, (tmp_path / f"rank{rank}").read_text().split())) for rank in range(2))
    assert first
    assert second
    assert not first & second
    assert first | second == set(available())


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


def test_fit_as_the_page_shows_it(tmp_path):
    page = (ROOT / "docs" / "parallel.md").read_text(encoding="utf-8")
    (block,) = blocks_of(page)
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np\n"
        "import xpnet\n"
        "from mpi4py import MPI\n"
        "x = np.random.default_rng(1).normal(size=(51, 3))\n"
        "y = (x[:, 0] > 0).astype(int)\n"
        "net = xpnet.Network([xpnet.layers.Dense(2)], (3,), dtype='float64')\n"
        f"{block}"
        "if MPI.COMM_WORLD.rank == 0:\n"
        "    print(MPI.COMM_WORLD.size, net.theta.tolist())\n"
    )
    done = [run(command(ranks, str(program), module="mpi4py")) for ranks in (1, 2)]
    assert [result.returncode for result in done] == [0, 0], done[1].stderr
    (size, one), (sizes, two) = (result.stdout.split(" ", 1) for result in done)
    assert (size, sizes) == ("1", "2")
    np.testing.assert_allclose(json.loads(two), json.loads(one), rtol=0, atol=1e-12)


def test_the_layer_that_goes_wrong_on_one_rank_is_found_without_the_others(tmp_path):
    """Only the example of rank 1 that is far from the rest overflows float16, behind the last batch normalisation."""
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np\n"
        "from xpnet import Network, Runtime\n"
        "from xpnet.errors import TrainingDivergedError\n"
        "from xpnet.layers import BatchNorm, Dense\n"
        "from xpnet.training import TrainConfig, Trainer\n"
        "x, y = np.random.default_rng(0).normal(size=(16, 3)), np.arange(16) % 4\n"
        "x[12] *= 1000\n"
        "net = Network([Dense(4), BatchNorm(), Dense(4)], (3,))\n"
        "net.parameters()['dense2.weight'][...] = 30_000 * np.eye(4)\n"
        "runtime = Runtime(parallel='mpi', precision='float16')\n"
        "trainer = Trainer(net, [(x, y)], TrainConfig(iterations=1, batch_size=16), runtime)\n"
        "try:\n"
        "    trainer.run(detect_nonfinite=True)\n"
        "except TrainingDivergedError as error:\n"
        "    open(f'rank{trainer.group.rank}', 'w').write(str(error))\n"
    )
    done = run(command(2, str(program), module="mpi4py"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        text = (tmp_path / f"rank{rank}").read_text()
        assert text.startswith("Rank 1: ")
        assert "Dense 'dense2'" in text


@pytest.mark.parametrize("inputs", ["x", "np.load(name, mmap_mode='r')"])
def test_other_inputs_on_one_rank_are_refused(tmp_path, inputs):
    program = tmp_path / "program.py"
    program.write_text(
        "import numpy as np\n"
        "import xpnet\n"
        "from mpi4py import MPI\n"
        "rank = MPI.COMM_WORLD.rank\n"
        "name, x, y = f'{rank}.npy', np.random.default_rng(rank).normal(size=(50, 3)), np.arange(50) % 2\n"
        "np.save(name, x)\n"
        "net = xpnet.Network([xpnet.layers.Dense(2)], (3,))\n"
        "try:\n"
        f"    net.fit({inputs}, y, runtime=xpnet.Runtime(parallel='mpi'), progress=False)\n"
        "except xpnet.errors.InputError as error:\n"
        "    open(f'{rank}.txt', 'w').write(str(error))\n"
    )
    done = run(command(2, str(program), module="mpi4py"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Rank 1: expected data to be that of rank 0" in (tmp_path / "0.txt").read_text()
