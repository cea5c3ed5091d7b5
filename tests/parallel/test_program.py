"""``xpnet train`` started by ``mpiexec``: one folder, one voice, one end."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import xpnet
from tests.parallel.faulty import AT
from tests.parallel.launching import command, needs_mpi, run, start
from xpnet.cli.train import main
from xpnet.parallel.launch import launched

pytestmark = needs_mpi
TRAIN = ("train", "--limit", "400", "--validation", "50", "--no-plots", "--report-every", "10")
SHORT = (*TRAIN, "--iterations", "40")
LONG = (*TRAIN, "--iterations", "1000000", "--checkpoint-every", "10")
MODEL = ("--model", "mlp", "--hidden", "20", "--batch-norm", "--dropout", "0.2", "--batch-size", "25")


def program(ranks: int, *words: str) -> list[str]:
    return command(ranks, *words, module="xpnet")


def faulty(ranks: int, fault: str, *words: str) -> list[str]:
    return command(ranks, fault, *words, module="tests.parallel.faulty")


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("error")]


def history(folder: Path) -> np.ndarray:
    """Losses and scores of a run, by record."""
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in ("iteration", "loss", "validation_loss")] for row in rows])


def test_ranks_leave_the_folder_of_one_process(tmp_path):
    words = (*SHORT, *MODEL, "--quiet")
    assert main([*words[1:], "--out", str(tmp_path / "one")]) == 0
    done = run(program(2, *words, "--out", "two", "--log-file", "log"), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    one, two = tmp_path / "one", tmp_path / "two"
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
    np.testing.assert_allclose(history(two), history(one), rtol=1e-4)
    summary = json.loads((two / "summary.json").read_text())
    assert summary["ranks"] == 2
    assert sum(map(sum, summary["confusion_matrix"])) == 10_000  # each test image once
    assert json.loads((two / "config.json").read_text())["runtime"]["parallel"] is None


def test_a_run_goes_on_with_another_number_of_ranks(tmp_path):
    words = (*MODEL, "--out", "run", "--checkpoint-every", "10")
    assert main([*SHORT[1:], *MODEL, "--quiet", "--out", str(tmp_path / "one")]) == 0
    assert run(program(2, *TRAIN, "--iterations", "20", *words), cwd=tmp_path).returncode == 0
    done = run(program(3, "train", "--no-plots", "--resume", "run", "--iterations", "40"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "within rounding only: ranks 2 before, 3 now" in " ".join(done.stdout.split())
    np.testing.assert_allclose(history(tmp_path / "run"), history(tmp_path / "one"), rtol=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (["--lr", "x"], ["--lr", "x"], "--lr"),
        (["--batch-size", "1"], ["--batch-size", "1"], "batches of at least 2 examples"),
        (["--lr", "0.1"], ["--lr", "0.2"], "Rank 1: expected --lr to be that of rank 0, 0.1, got 0.2"),
        (["--seed", "0"], ["--lr", "x"], "Rank 1: argument --lr"),
        ([], ["--data-dir", "nowhere"], "Rank 1: mnist: expected"),
        (["--model", "mlp", "--hidden", "9"], ["--model", "mlp", "--hidden", "8"], "expected network to be"),
        (["--graph"], ["--graph"], "--graph"),
        ([], ["--allreduce-dtype", "float16"], "Rank 1: expected --allreduce-dtype to be that of rank 0"),
    ],
)
def test_bad_input_is_one_line_and_ends_all(tmp_path, first, second, words):
    commands = (program(1, *SHORT, "--out", "run", *flags) for flags in (first, second))
    done = run(*commands, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert words in done.stderr


def test_without_mpi4py_the_first_rank_says_what_to_install(tmp_path):
    done = run(faulty(2, "missing", *SHORT, "--out", "run"), cwd=tmp_path)
    assert done.returncode == 2
    assert len(errors(done.stderr)) == 1
    assert "xpnet[mpi]" in done.stderr


def test_an_mpi_library_that_does_not_load_is_one_line(tmp_path):
    done = run(program(2, *SHORT, "--out", "run"), cwd=tmp_path, MPI4PY_LIBMPI=str(tmp_path / "nothing.so"))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "mpi4py finds no MPI library" in done.stderr


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("fail", 1, "rank 1: a bug of rank 1"),
        ("disk", 1, "rank 1: [Errno 28] No space left"),
        ("hang", 1, "rank 0: expected all ranks to answer within 10 s"),
        ("differ", 2, f"by iteration {AT // 10 * 10 + 10} the parameters of rank 1 are not those of rank 0"),
    ],
)
def test_a_fault_of_one_rank_ends_all_with_its_message(tmp_path, fault, code, words):
    limit = {"XPNET_RANK_TIMEOUT": "10"} if fault == "hang" else {}
    done = run(faulty(2, fault, *LONG, "--out", "run"), cwd=tmp_path, **limit)
    assert done.returncode == code
    assert len(errors(done.stderr)) == 1
    assert words in errors(done.stderr)[0]
    assert list((tmp_path / "run" / "checkpoints").glob("iteration-*"))


def wait_for_checkpoint(folder: Path) -> None:
    end = time.monotonic() + 60
    while not list(folder.glob("checkpoints/iteration-*")):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_sigterm_leaves_a_checkpoint_of_the_last_step(tmp_path):
    with start(program(2, *LONG, "--out", "run"), cwd=tmp_path) as process:
        wait_for_checkpoint(tmp_path / "run")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: stopped" in out
    newest = max((tmp_path / "run" / "checkpoints").glob("iteration-*"))
    end = str(int(newest.stem[10:]) + 1)
    done = run(program(2, "train", "--no-plots", "--resume", "run", "--iterations", end), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert newest.name in " ".join(done.stdout.split())


def children(parent: int) -> list[int]:
    """Processes below one, as Linux tells it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found += [int(path.parent.name), *children(int(path.parent.name))]
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_all_and_nothing_is_lost(tmp_path, rank):
    with start(program(2, *LONG, *MODEL, "--out", "run"), cwd=tmp_path) as process:
        wait_for_checkpoint(tmp_path / "run")
        ranks = rank_processes(process.pid)
        os.kill(ranks[rank], signal.SIGKILL)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert_ended(ranks)
    iteration = int(max((tmp_path / "run" / "checkpoints").glob("iteration-*")).stem[10:])
    end = str(iteration + 10)
    assert main(["--no-plots", "--quiet", "--resume", str(tmp_path / "run"), "--iterations", end]) == 0
    whole = [*TRAIN[1:], *MODEL, "--quiet", "--iterations", end, "--out", str(tmp_path / "whole")]
    assert main(whole) == 0
    np.testing.assert_allclose(history(tmp_path / "run"), history(tmp_path / "whole"), rtol=1e-3)


def rank_processes(launcher: int) -> dict[int, int]:
    """The processes of the ranks that a launcher has started, by rank."""
    found = {}
    for pid in children(launcher):
        try:
            words = Path(f"/proc/{pid}/environ").read_text().split("\0")
            name = Path(f"/proc/{pid}/comm").read_text()
        except OSError:
            continue
        launch = launched(dict(word.split("=", 1) for word in words if "=" in word))
        if launch.engine and "python" in name:
            found[launch.rank] = pid
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_stopped_rank_ends_all(tmp_path):
    with start(program(2, *LONG, "--out", "run"), cwd=tmp_path, XPNET_RANK_TIMEOUT="10") as process:
        wait_for_checkpoint(tmp_path / "run")
        ranks = rank_processes(process.pid)
        os.kill(ranks[1], signal.SIGSTOP)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "rank 0: expected all ranks to answer within 10 s" in text
    assert_ended(ranks)


def test_other_code_on_one_rank_is_refused(tmp_path):
    copied = tmp_path / "other" / "xpnet"
    shutil.copytree(Path(xpnet.__file__).parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    with (copied / "errors.py").open("a") as file:
        file.write("# another version\n")
    first = program(1, *SHORT, "--out", "run")
    second = [*first[:2], "env", f"PYTHONPATH={copied.parent}", *first[2:]]
    done = run(first, second, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Rank 1: expected code to be that of rank 0" in done.stderr


def assert_ended(ranks: dict[int, int]) -> None:
    """None of the processes is left, a few seconds after their launcher's end."""
    end = time.monotonic() + 5
    while left := [pid for pid in ranks.values() if Path(f"/proc/{pid}/stat").exists()]:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def test_an_error_of_mpi_is_one_line(tmp_path):
    """A rank that is not there, as one that was killed while others wait for it."""
    program_path = tmp_path / "program.py"
    program_path.write_text(
        "import numpy as np\n"
        "from xpnet.cli.ranks import ending_all\n"
        "from xpnet.parallel import connect\n"
        "group = connect('mpi')\n"
        "with ending_all(group, {}):\n"
        "    group.broadcast(np.ones(3), root=5)\n"
    )
    done = run(command(2, str(program_path), module="mpi4py"), cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.match(r"error: rank [01]: MPI: expected all ranks to answer.*\(Invalid root\)", errors(done.stderr)[0])
