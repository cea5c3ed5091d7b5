"""What a run tells other programs while it goes: a log, and TensorBoard's event files."""

import importlib
import logging
import re
import signal
import struct
from pathlib import Path

import pytest

from tests.reliability.kill import training
from xpnet.cli.train import main
from xpnet.training import Trainer

LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) xpnet\.[\w.]+: .+"


@pytest.fixture
def flags(digits_folder, tmp_path):
    short = ["--model", "mlp", "--hidden", "4", "--iterations", "150", "--no-plots", "--quiet"]
    return ["--data-dir", str(digits_folder), *short, "--out", str(tmp_path / "run")]


def test_the_log_has_records_checkpoints_and_the_end(flags, tmp_path, capsys):
    log = tmp_path / "log.txt"
    assert main([*flags, "--log-file", str(log), "--checkpoint-every", "60"]) == 0
    lines = log.read_text().splitlines()
    assert all(re.fullmatch(LINE, line) for line in lines)
    text = "\n".join(lines)
    for expected in ("iteration 100  loss", "iteration 150  loss", "iteration-000000060.safetensors", "Results are in"):
        assert text.count(expected) == 1
    assert capsys.readouterr() == ("", "")
    assert logging.getLogger("xpnet").handlers == []


def test_a_level_leaves_out_what_is_below_it(flags, tmp_path, capsys):
    log = tmp_path / "log.txt"
    assert main([*flags, "--log-file", str(log), "--log-level", "error"]) == 0
    assert log.read_text() == ""
    assert (
        main([*flags, "--log-file", str(log), "--log-level", "error", "--out", str(tmp_path / "2"), "--lr", "1e30"])
        == 1
    )
    (line,) = log.read_text().splitlines()
    assert " ERROR " in line
    assert capsys.readouterr().err.removeprefix("error: ").strip() in line


def test_a_level_without_a_file_is_refused(flags, capsys):
    assert main([*flags, "--log-level", "debug"]) == 2
    assert "expected a --log-file with it" in capsys.readouterr().err


@pytest.mark.parametrize("level", ["debug", "error"])
def test_a_warning_is_seen_whatever_is_logged(flags, tmp_path, capsys, monkeypatch, level):
    step = Trainer.step

    def warning_step(self, **settings):
        if self.iteration == 20:
            logging.getLogger("xpnet.cuda_graph").warning("training goes on without one")
        return step(self, **settings)

    monkeypatch.setattr(Trainer, "step", warning_step)
    log = tmp_path / "log.txt"
    assert main([*flags, "--log-file", str(log), "--log-level", level]) == 0
    assert capsys.readouterr().err == "warning: training goes on without one\n"
    assert ("training goes on" in log.read_text()) == (level == "debug")


def test_nothing_is_lost_on_a_crash(flags, tmp_path, monkeypatch):
    """Of a bug, the log has the traceback, and all that went before."""

    def crash(*arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr("xpnet.cli.train._test", crash)
    with pytest.raises(RuntimeError, match="a bug"):
        main([*flags, "--log-file", str(tmp_path / "log.txt")])
    text = (tmp_path / "log.txt").read_text()
    assert "iteration 150  loss" in text
    assert "Traceback" in text
    assert text.endswith("RuntimeError: a bug\n")


def test_a_killed_process_has_logged_what_it_did(flags, tmp_path):
    log = tmp_path / "log.txt"
    process = training(*flags, "--iterations", "1000000", "--log-file", log)
    while not (log.exists() and "iteration 100 " in log.read_text()):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert re.fullmatch(LINE, log.read_text().splitlines()[-1])


def test_a_log_that_cannot_be_written(flags, tmp_path, capsys):
    assert main([*flags, "--log-file", str(tmp_path / "no" / "log.txt")]) == 2
    assert "log.txt: cannot be written (No such file or directory). Create the folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_full_disk_under_the_log_is_one_warning_and_the_run_goes_on(flags, tmp_path, capsys):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    assert main([*flags, "--log-file", "/dev/full"]) == 0
    printed, warned = capsys.readouterr()
    assert printed == ""
    assert warned.startswith("warning: --log-file /dev/full: cannot be written (No space left on device).")
    assert warned.count("\n") == 1
    assert (tmp_path / "run" / "summary.json").exists()


def test_names_that_are_no_text_are_written_with_their_bytes(flags, tmp_path):
    """As the system gives them where the locale is ASCII."""
    log = tmp_path / "log.txt"
    process = training(*flags, "--out", f"{tmp_path}/r\udce9", "--log-file", log)
    assert (process.communicate(timeout=60), process.returncode) == (("", ""), 0)
    assert r"/r\udce9/checkpoints" in log.read_text()


def test_without_tensorboards_library_one_line_says_what_to_install(flags, tmp_path):
    process = training(*flags, "--tensorboard", prelude="import sys; sys.modules['tensorboardX'] = None")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert error.startswith("error: TensorBoard: expected tensorboardX, found none installed.")
    assert error.endswith('pip install "xpnet[tensorboard]"; or leave --tensorboard out.\n')
    assert not (tmp_path / "run").exists()


def test_a_library_of_tensorboard_that_is_there_but_fails_says_so(flags, tmp_path, capsys, broken):
    broken("tensorboardX", ModuleNotFoundError("No module named 'google'", name="google"))
    assert main([*flags, "--tensorboard"]) == 2
    expected = "error: tensorboardX: is installed but lacks google. Install that, or reinstall it.\n"
    assert capsys.readouterr().err == expected
    assert not (tmp_path / "run").exists()


def test_a_full_disk_under_tensorboards_file_is_one_line(flags, tmp_path):
    """Also when the program ends, where the library would try again."""
    pytest.importorskip("tensorboardX")
    if not Path("/dev/full").exists():
        pytest.skip("this system has no device that is always full")
    prelude = "import tensorboardX.record_writer as writer; writer.open_file = lambda path: open('/dev/full', 'wb')"
    _, error = (process := training(*flags, "--tensorboard", prelude=prelude)).communicate(timeout=60)
    start = re.escape(f"error: {tmp_path}/run/tensorboard/events.out.tfevents.")
    assert re.fullmatch(rf"{start}\S+: cannot be written \(No space left on device\)\. Free some space .+\.\n", error)
    assert process.returncode == 2


def scalars(folder):
    """Tag, step and value of each scalar in the event files of a folder, and the steps from which others are void."""
    event_pb2 = importlib.import_module("tensorboardX.proto.event_pb2")
    values, restarts = [], []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + length])  # a checksum of 4 bytes on either side
            content = content[16 + length :]
            if event.session_log.status == event.session_log.START:
                restarts.append(event.step)
            values += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return values, restarts


def test_tensorboard_gets_every_column_and_knows_of_the_resumed_run(flags, tmp_path):
    pytest.importorskip("tensorboardX")
    assert main([*flags, "--tensorboard"]) == 0
    assert (
        main(["--resume", str(tmp_path / "run"), "--iterations", "210", "--quiet", "--no-plots", "--tensorboard"]) == 0
    )
    values, restarts = scalars(tmp_path / "run" / "tensorboard")
    names = {"loss", "weight_decay_loss", "total_loss", "train_accuracy", "validation_accuracy", "validation_loss"}
    assert {tag for tag, _, _ in values} == names | {"seconds", "learning_rate"}
    assert [step for tag, step, _ in values if tag == "total_loss"] == [100, 150, 200, 210]
    assert [value for tag, _, value in values if tag == "learning_rate"] == pytest.approx([0.3] * 4)
    assert restarts == [1, 101]
