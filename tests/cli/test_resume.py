"""Runs that are stopped, killed, or run out of disk, and go on."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import xpnet
from tests.reliability.kill import PROGRAM, differences, killed_run, training
from xpnet.cli.train import main
from xpnet.datasets import split_indices
from xpnet.serialization import read_tensors, write_tensors

OUTPUT = ["--checkpoint-every", "6", "--no-plots", "--quiet", "--no-malloc-tuning"]


@pytest.fixture(scope="module")
def flags(digits_folder):
    """A run that takes a moment and reports every ten iterations."""
    return ["--data-dir", str(digits_folder), "--model", "mlp", "--hidden", "8", "--dropout", "0.1", "--flip"]


def run_to(folder, flags, iterations):
    assert main([*flags, "--out", str(folder), "--iterations", str(iterations), *OUTPUT]) == 0
    return folder


def checkpoints(folder):
    return sorted(folder.glob("checkpoints/iteration-*"))


def iteration_of(path):
    return int(path.stem.removeprefix("iteration-"))


@pytest.fixture(scope="module")
def runs(flags, tmp_path_factory):
    """The same run left alone and stopped after 130 of 250 iterations."""
    folder = tmp_path_factory.mktemp("runs")
    return run_to(folder / "whole", flags, 250), run_to(folder / "part", flags, 130)


@pytest.fixture
def whole(runs):
    return runs[0]


@pytest.fixture
def part(runs, tmp_path):
    """A copy of the stopped run, to be changed."""
    return shutil.copytree(runs[1], tmp_path / "part")


def resume(folder, *more):
    return main(["--resume", str(folder), *more, *OUTPUT])


def test_a_resumed_run_is_the_run(whole, part):
    assert resume(part, "--iterations", "250") == 0
    assert differences(part, whole) == []
    assert differences(whole, whole) == []
    assert len((part / "history.csv").read_text().splitlines()) == 4


def test_a_resumed_run_of_dense_layers_and_batch_normalisation_is_the_run(flags, tmp_path):
    """With as many threads of BLAS in its first step as in the others, whatever else may share the cores."""

    def trained(folder, *more):
        process = training(*more, "--threads", "2", *OUTPUT, environment={"OPENBLAS_NUM_THREADS": "2"})
        assert (process.communicate(timeout=60)[1], process.returncode) == ("", 0)
        return folder

    dense = [*flags, "--batch-norm", "--hidden", "12", "8"]
    whole = trained(tmp_path / "whole", *dense, "--iterations", "40", "--out", tmp_path / "whole")
    trained(tmp_path / "part", *dense, "--iterations", "20", "--out", tmp_path / "part")
    part = trained(tmp_path / "part", "--resume", tmp_path / "part", "--iterations", "40")
    assert differences(part, whole) == []


def test_a_finished_run_stays_what_it_is(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    assert resume(copy) == 0
    assert differences(copy, whole) == []


def test_a_finished_run_that_was_resumed_can_still_be_made_longer(whole, part):
    """Its last record, out of the others' step, is in the shorter run only."""
    assert resume(part) == 0
    assert resume(part, "--iterations", "250") == 0
    assert differences(part, whole) == []


def test_a_longer_run_that_is_killed_at_once_stays_the_longer_one(whole, part):
    """The newest checkpoint is still one of the shorter run."""
    process = training(
        *("--resume", part, "--iterations", "250", *OUTPUT),
        prelude="import os; from xpnet.training import Trainer; Trainer.run = lambda *_, **__: os.kill(os.getpid(), 9)",
    )
    process.communicate(timeout=60)
    assert resume(part) == 0
    assert differences(part, whole) == []


def test_a_run_begun_on_another_library_is_told(flags, tmp_path, capsys):
    pytest.importorskip("torch")
    run = run_to(tmp_path / "run", [*flags, "--backend", "torch"], 30)
    assert main(["--resume", str(run), "--iterations", "40", "--backend", "numpy", "--no-plots"]) == 0
    assert "within rounding only: backend torch before, numpy now" in " ".join(capsys.readouterr().out.split())


def test_the_newest_checkpoints_are_kept_and_the_best_apart(flags, tmp_path, digits_folder):
    run = run_to(tmp_path / "run", [*flags, "--keep", "2"], 250)
    assert [iteration_of(path) for path in checkpoints(run)] == [246, 250]
    rows = (run / "history.csv").read_text().splitlines()[1:]
    best = max(float(row.split(",")[6]) for row in rows)
    network = xpnet.Network.load(run / "checkpoints" / "best.safetensors")
    (_, validation), mnist = split_indices(400, 40, seed=0), xpnet.datasets.load("mnist")
    predicted = network.predict(mnist.train_inputs[validation])
    assert np.mean(predicted == mnist.train_targets[validation]) == best


def test_without_a_checkpoint_it_begins_again(whole, part, capsys):
    shutil.rmtree(part / "checkpoints")
    (part / "history.csv").write_text("iteration,classif")
    (part / "checkpoints").mkdir()
    (part / "checkpoints" / ".iteration-000000006.safetensors.1.part").write_bytes(b"torn")
    assert main(["--resume", str(part), "--iterations", "250", "--checkpoint-every", "6", "--no-plots"]) == 0
    assert "no checkpoint yet: starting at the beginning" in capsys.readouterr().out
    assert differences(part, whole) == []
    assert not any((part / "checkpoints").glob(".*"))


def cut_off(content):
    return content[:-100]


def with_one_bit_flipped(content):
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize(
    ("damaged", "reason"),
    [(cut_off, "not a readable safetensors file"), (with_one_bit_flipped, "damaged or changed since it was written")],
)
def test_a_damaged_checkpoint_is_passed_over(whole, part, capsys, damaged, reason):
    newest = checkpoints(part)[-1]
    newest.write_bytes(damaged(newest.read_bytes()))
    assert main(["--resume", str(part), "--iterations", "250", "--no-plots", "--checkpoint-every", "6"]) == 0
    printed = capsys.readouterr().out
    assert f"{newest}: {reason}" in printed
    assert "Resumed after iteration 126" in printed
    assert differences(part, whole) == []


def test_a_history_that_goes_further_is_cut_back(whole, part):
    with (part / "history.csv").open("a") as file:
        file.write("200,1,2,3,4,5,6,7,8\n300,1,")
    assert resume(part, "--iterations", "250") == 0
    assert differences(part, whole) == []


def other_version(part):
    for path in checkpoints(part):
        tensors, header = read_tensors(path)
        write_tensors(path, tensors, {**header, "checkpoint": 7})


def only_weights(part):
    for path in checkpoints(part):
        shutil.copy(part / "weights.safetensors", path)


def foreign(part):
    for path in checkpoints(part):
        save_file({"a": np.zeros(1)}, path)


def other_network(part):
    config = json.loads((part / "config.json").read_text())
    config["model_options"]["hidden"] = [9]
    (part / "config.json").write_text(json.dumps(config))


def other_settings(part):
    config = json.loads((part / "config.json").read_text())
    config["train"]["optimizer"]["weight_decay"] = 0.5
    (part / "config.json").write_text(json.dumps(config))


def header_without_progress(part):
    for path in checkpoints(part):
        tensors, header = read_tensors(path)
        write_tensors(path, tensors, {**header, "progress": {}})


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (None, ["--lr", "0.5"], "expected the run's own --lr (0.3), got 0.5. Leave it out."),
        (None, ["--model", "lenet5"], "expected the run's own --model (mlp), got lenet5"),
        (None, ["--hidden", "9"], "expected the run's own --hidden"),
        (None, ["--iterations", "100"], "expected at most 100 iterations, got 130. Train for longer."),
        (other_version, [], "expected a checkpoint of format version 3, got version 7. Use the xpnet version"),
        (only_weights, [], "expected a checkpoint of format version 3, got a file of weights"),
        (foreign, [], "has no xpnet header"),
        (other_network, [], "'dense1.weight' is (8, 784)"),
        (other_settings, [], "expected --weight-decay to be 0.5 as in the run's settings, got 0.0"),
        (header_without_progress, [], "its header is not one of this version ("),
        (lambda part: (part / "history.csv").unlink(), [], "expected the run's records, got: No such file"),
        (lambda part: (part / "history.csv").write_text("a,b\n1,2\n"), [], "expected the columns iteration,"),
        (lambda part: (part / "config.json").unlink(), [], "found no config.json in it"),
    ],
)
def test_what_cannot_go_on_is_refused_in_one_line(part, capsys, change, more, message):
    if change:
        change(part)
    before = {path: path.read_bytes() for path in part.rglob("*") if path.is_file() and path.name != ".owner.json"}
    assert resume(part, *more) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert before == {path: path.read_bytes() for path in before}


def test_the_runs_own_settings_may_be_repeated(whole, part, flags):
    assert resume(part, *flags, "--iterations", "250") == 0
    assert differences(part, whole) == []


def test_a_cosine_has_the_length_it_was_begun_with(flags, tmp_path, capsys):
    run = run_to(tmp_path / "run", [*flags, "--schedule", "cosine"], 20)
    assert resume(run, "--epochs", "9") == 2
    assert "the run's own 20 iterations, on which its cosine schedule depends" in capsys.readouterr().err


def test_other_training_data_are_refused(part, digits_folder, tmp_path, capsys):
    other = shutil.copytree(digits_folder, tmp_path / "other")
    labels = other / "train-labels-idx1-ubyte"
    content = bytearray(labels.read_bytes())
    content[8] = (content[8] + 1) % 10
    labels.write_bytes(content)
    assert resume(part, "--data-dir", str(other)) == 2
    assert "expected the training data that the run began with" in capsys.readouterr().err
    moved = shutil.copytree(digits_folder, tmp_path / "moved")
    assert resume(part, "--data-dir", str(moved)) == 0


def test_out_and_resume_exclude_each_other(part, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--resume", str(part), "--out", "other"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--checkpoint-every", "--checkpoint-minutes", "--keep"])
def test_numbers_that_make_no_sense(flags, tmp_path, capsys, flag):
    assert main([*flags, flag, "0", "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.startswith("error: Checkpoints: expected")
    assert not (tmp_path / "run").exists()


def test_another_backend_goes_on_and_says_so(part, capsys):
    pytest.importorskip("torch", exc_type=ImportError)
    assert main(["--resume", str(part), "--iterations", "150", "--backend", "torch", "--no-plots"]) == 0
    assert re.search("within rounding only: .*torch unused before, 2", capsys.readouterr().out)
    assert json.loads((part / "config.json").read_text())["runtime"]["backend"] == "torch"


# Signals


def started(*flags):
    """A process that has made its first report."""
    process = training(*flags, prelude="import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)")  # not as by nohup
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("iteration"):
            return process
    raise AssertionError(process.communicate())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_stopped_process_leaves_a_checkpoint_and_goes_on(flags, tmp_path, number, code):
    stopped = tmp_path / "stopped"
    process = started(*flags, "--iterations", "1000000", "--no-plots", "--out", stopped)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (code, "")
    assert (stopped / "summary.json").exists() == (number == signal.SIGINT)  # the others leave no time for a test
    last_record = (stopped / "history.csv").read_text().splitlines()[-1]
    assert last_record.split(",")[0].endswith("00") or number == signal.SIGINT  # nor for a record of its own
    (checkpoint,) = checkpoints(stopped)
    end = str(iteration_of(checkpoint) + 50)
    assert resume(stopped, "--iterations", end) == 0
    assert differences(stopped, run_to(tmp_path / "whole", flags, end)) == []


@pytest.mark.parametrize("method", ["Trainer._record", "train._test"])
def test_a_second_ctrl_c_ends_the_program_at_once(flags, tmp_path, method):
    """Both where the last validation would take ten minutes and where the test would."""
    prelude = (
        "import os, signal, time; from xpnet.cli import train; from xpnet.training import Trainer\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background processes ignore it
        f"rate, real = Trainer._rate, {method}\n"
        "def interrupted(self, step):\n"
        "    if step == 150 and not self._stop: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return rate(self, step)\n"
        "def slow(self, *data):\n"
        "    if not getattr(self, '_stop', True): return real(self)\n"
        "    print('testing', flush=True); time.sleep(600)\n"
        f"Trainer._rate, {method} = interrupted, slow"
    )
    process = training(*flags, "--iterations", "1000000", "--no-plots", "--out", tmp_path / "run", prelude=prelude)
    assert process.stdout is not None
    try:
        next(line for line in process.stdout if line.startswith("testing"))
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, error) == (130, "Interrupted.\n")
    assert [iteration_of(path) for path in checkpoints(tmp_path / "run")] == [151]
    assert not (tmp_path / "run" / "summary.json").exists()


def signalled(flags, number, prelude):
    """Exit code and errors of a run to which a prelude's methods ``send`` a signal of this number, once or twice."""
    process = training(
        *(*flags, "--no-plots", "--quiet"),
        prelude="import os, signal; from xpnet.training import Trainer\n"
        "from xpnet.runs.checkpoint import CheckpointWriter\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "record, rate, write, fsync, sent = Trainer._record, Trainer._rate, CheckpointWriter.write, os.fsync, []\n"
        "def send(times=1):\n"
        f"    while len(sent) < times: sent.append(os.kill(os.getpid(), {int(number)}))\n{prelude}",
    )
    _, error = process.communicate(timeout=60)
    return process.returncode, error


IN_THE_LAST_VALIDATION = """
def signalled(self):
    if self.iteration == LAST: send()
    return record(self)
Trainer._record = signalled
"""
IN_THE_LAST_WRITE = """
def signalled(self, trainer):
    if trainer.progress.reported == LAST: send()
    write(self, trainer)
CheckpointWriter.write = signalled
"""
TWICE_IN_AN_ITERATION = """
def signalled(self, step):
    if step == 150: send(2)
    return rate(self, step)
Trainer._rate = signalled
"""
IN_AN_ITERATION_AND_IN_ITS_WRITE = """
def signalled(self, step):
    if step == 150: send(1)
    return rate(self, step)
def signalled_again(descriptor):
    if 'iteration-' in os.readlink(f'/proc/self/fd/{descriptor}'): send(2)
    fsync(descriptor)
Trainer._rate, os.fsync = signalled, signalled_again
"""


@pytest.mark.parametrize("prelude", [IN_THE_LAST_VALIDATION, IN_THE_LAST_WRITE], ids=["validation", "write"])
@pytest.mark.parametrize(
    ("more", "last"),
    [(["--iterations", "110"], 110), (["--iterations", "1000", "--lr", "0", "--early-stopping", "1"], 200)],
    ids=["the last iteration", "early stopping"],
)
def test_a_run_that_was_over_is_not_marked_as_interrupted(flags, tmp_path, prelude, more, last):
    run = tmp_path / "run"
    assert signalled([*flags, *more, "--out", run], signal.SIGINT, prelude.replace("LAST", str(last))) == (130, "")
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["iterations"], summary["interrupted"]) == (last, False)


@pytest.mark.parametrize("prelude", [IN_THE_LAST_VALIDATION, IN_THE_LAST_WRITE], ids=["validation", "write"])
def test_sigterm_when_the_run_was_over_ends_it_without_a_test(flags, tmp_path, prelude):
    run = tmp_path / "run"
    flags_of_run = [*flags, "--iterations", "110", "--out", run]
    assert signalled(flags_of_run, signal.SIGTERM, prelude.replace("LAST", "110")) == (143, "")
    assert not (run / "summary.json").exists()
    assert resume(run) == 0
    assert json.loads((run / "summary.json").read_text())["interrupted"] is False


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not tell which file is written")
@pytest.mark.parametrize("prelude", [TWICE_IN_AN_ITERATION, IN_AN_ITERATION_AND_IN_ITS_WRITE], ids=["at once", "later"])
def test_a_second_ctrl_c_before_the_checkpoint_of_the_first_counts_as_the_first(flags, tmp_path, prelude):
    run = tmp_path / "run"
    assert signalled([*flags, "--iterations", "1000000", "--out", run], signal.SIGINT, prelude) == (130, "")
    assert [iteration_of(path) for path in checkpoints(run)] == [151]
    assert json.loads((run / "summary.json").read_text())["interrupted"] is True


def test_ctrl_c_after_sigterm_is_sigterm(flags, tmp_path):
    prelude = """
def signalled(self, step):
    if step == 150:
        send()
        os.kill(os.getpid(), signal.SIGINT)
    return rate(self, step)
Trainer._rate = signalled
"""
    run = tmp_path / "run"
    assert signalled([*flags, "--iterations", "1000", "--out", run], signal.SIGTERM, prelude) == (143, "")
    assert not (run / "summary.json").exists()


def test_a_lost_terminal_leaves_a_checkpoint(flags, tmp_path):
    """To write to it is an error from then on."""
    pty = pytest.importorskip("pty")  # Windows has none
    ours, its = pty.openpty()
    run = tmp_path / "run"
    program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{PROGRAM}"
    command = [
        sys.executable,
        "-c",
        program,
        *flags,
        "--iterations",
        "1000000",
        "--checkpoint-every",
        "50",
        "--out",
        run,
    ]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        while not checkpoints(run):
            os.read(ours, 1000)
        before = iteration_of(checkpoints(run)[-1])
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 129
    assert iteration_of(checkpoints(run)[-1]) >= before
    assert resume(run, "--iterations", str(iteration_of(checkpoints(run)[-1]) + 1)) == 0


def test_a_run_under_nohup_outlives_its_terminal(flags, tmp_path):
    prelude = "signal.signal(signal.SIGHUP, signal.SIG_IGN)" + TWICE_IN_AN_ITERATION
    run = tmp_path / "run"
    assert signalled([*flags, "--iterations", "160", "--out", run], signal.SIGHUP, prelude) == (0, "")


# Kills


def killed_by(prelude, flags, run):
    """Let a run of 250 iterations begin that a prelude kills on its way."""
    process = training(*flags, "--iterations", "250", "--out", run, *OUTPUT, prelude=prelude)
    _, error = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, error


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_killed_in_the_middle_of_writing_a_checkpoint(flags, tmp_path, function, whole):
    """Before the content is on the disk, and between that and the new name."""
    run = tmp_path / "run"
    prelude = (
        "import glob, os, signal; real = os.FUNCTION\n"
        "def killed(*arguments):\n"
        "    if glob.glob(RUN + '/.iteration-000000132*'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(*arguments)\n"
        "os.FUNCTION = killed"
    )
    prelude = prelude.replace("FUNCTION", function).replace("RUN", repr(str(run / "checkpoints")))
    killed_by(prelude, flags, run)
    assert len(list(run.glob("checkpoints/.*.part"))) == 1
    assert [iteration_of(path) for path in checkpoints(run)] == [114, 120, 126]
    assert resume(run) == 0
    assert differences(run, whole) == []
    assert list(run.glob("checkpoints/.*.part")) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "summary.json"])
def test_killed_in_the_middle_of_writing_the_results(flags, tmp_path, whole, name):
    run = tmp_path / "run"
    prelude = (
        "import os, signal; real = os.replace\n"
        "def killed(old, new):\n"
        f"    if new.name == '{name}': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(old, new)\n"
        "os.replace = killed"
    )
    killed_by(prelude, flags, run)
    assert len(list(run.glob(".*.part"))) == 1
    assert resume(run) == 0
    assert differences(run, whole) == []
    assert not list(run.glob(".*.part"))


def test_killed_at_random_moments(flags, tmp_path, whole):
    """The short form of ``python -m tests.reliability.kill``."""
    killed_run(tmp_path / "run", [*flags, "--iterations", "250", *OUTPUT], kills=3, longest=3.0, seed=1)
    assert differences(tmp_path / "run", whole) == []


# Disks


def test_a_full_disk_leaves_the_last_good_checkpoint(part, whole):
    """A limit on the size of files stands for the full disk; the first checkpoint after it cannot be written."""
    before = {path: path.read_bytes() for path in checkpoints(part)}
    process = training(
        *("--resume", part, "--iterations", "250", *OUTPUT),
        prelude="import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))",
    )
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.count("\n") == 1
    assert "cannot be written (File too large). Free some space" in error
    assert before == {path: path.read_bytes() for path in checkpoints(part)}
    assert not list(part.glob("checkpoints/.*.part"))
    assert resume(part, "--iterations", "250") == 0
    assert differences(part, whole) == []


@pytest.mark.parametrize("name", [".owner.json", "config.json", "classes.txt", "summary.json"])
def test_a_full_disk_is_one_line_that_names_the_file(flags, tmp_path, monkeypatch, capsys, name):
    replace = os.replace

    def disk_full(old, new):
        if new.name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(old, new)

    monkeypatch.setattr(os, "replace", disk_full)
    run = tmp_path / "run"
    assert main([*flags, "--out", str(run), "--iterations", "5", *OUTPUT]) == 2
    expected = f"error: {run / name}: cannot be written (No space left on device)"
    error = capsys.readouterr().err
    assert error.startswith(expected)
    assert error.count("\n") == 1
    assert not list(run.rglob(".*.part"))


# Locks


def test_a_second_process_is_refused_until_the_first_is_dead(part, flags):
    def refusal(*arguments):
        """What a process says as it ends; without the lock it would train for hours."""
        other = training(*arguments)
        try:
            _, error = other.communicate(timeout=60)
        finally:
            other.kill()
        assert other.returncode == 2
        return error

    process = started("--resume", part, "--iterations", "1000000", "--no-plots")
    try:
        error = refusal("--resume", part)
        assert error.count("\n") == 1
        assert f"found process {process.pid} of host {os.uname().nodename}" in error
        # So that nothing but the lock can refuse a new run; asleep, the process does not write its history again.
        process.send_signal(signal.SIGSTOP)
        for name in ("config.json", "history.csv", "summary.json", "weights.safetensors"):
            (part / name).unlink()
        for path in (part / "checkpoints").iterdir():
            path.unlink()
        assert f"process {process.pid}" in refusal(*flags, "--iterations", "1000000", "--out", part)
    finally:
        process.kill()
        process.communicate()
    assert main([*flags, "--out", str(part), "--iterations", "5", *OUTPUT]) == 0
