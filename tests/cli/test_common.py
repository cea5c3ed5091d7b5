"""How programs end, and what they leave to their flags."""

import os
import subprocess
import sys

import pytest

from tests.reliability.kill import training
from xpnet.cli import common, train
from xpnet.errors import InputError


@pytest.mark.parametrize("threads", ["0", "-1"])
def test_a_wrong_number_of_threads_is_bad_input(capsys, threads):
    assert train.main(["--threads", threads]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "at least 1" in line


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a\nb\x1b[31m: wrong."), 2, r"error: a\nb\x1b[31m: wrong."),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
        (MemoryError("Unable to allocate 1 TiB"), 1, "error: not enough memory. Unable to allocate 1 TiB"),
    ],
)
def test_an_error_is_one_printable_line(capsys, error, code, line):
    def program(flags):
        raise error

    assert common.run(common.Parser(prog="program"), [], program) == code
    assert capsys.readouterr().err == line + "\n"


def test_flags_are_given_in_full(capsys):
    with pytest.raises(SystemExit) as ended:
        train.main(["--iter", "5"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error == "error: unrecognized arguments: --iter 5. xpnet train --help lists the options.\n"


@pytest.mark.parametrize("flags", [["--\x1b[31m\n"], ["--epochs", "\x1b[31m\nx"], ["--activation", "\x07\n"]])
def test_what_was_typed_cannot_command_the_terminal(capsys, flags):
    with pytest.raises(SystemExit) as ended:
        train.main(flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    "flags",
    [["--resume", ""], ["--out", ""], ["--log-file", ""], ["--data-dir", ""], ["--freeze", "a*", ""], ["--weights="]],
)
def test_an_empty_value_is_not_taken_for_none(capsys, flags):
    """As of --resume "$RUN" where RUN is not set."""
    with pytest.raises(SystemExit) as ended:
        train.main(flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: argument {flags[0].rstrip('=')}: expected a value, got an empty text.")


@pytest.mark.parametrize("length", [256, 10_000])
@pytest.mark.parametrize("flag", ["--out", "--resume", "--data-dir", "--weights", "--log-file"])
def test_a_path_that_is_too_long_is_bad_input(capsys, tmp_path, digits_folder, flag, length):
    flags = ["--data-dir", str(digits_folder), "--out", str(tmp_path / "run"), "--iterations", "1", "--quiet"]
    if flag == "--resume":
        flags = []
    assert train.main([*flags, flag, str(tmp_path / ("x" * length))]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "[Errno" not in error
    assert not (tmp_path / "run").exists()


def closed_after(lines, process):
    """Exit code and errors of a program of whose output nobody reads more than so many lines."""
    with process:
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        return process.wait(timeout=60), process.stderr.read()


@pytest.mark.parametrize("lines", [0, 1, 25])
def test_a_closed_pipe_ends_a_program_without_a_word(digits_folder, tmp_path, lines):
    endless = ["--data-dir", digits_folder, "--model", "mlp", "--hidden", "4", "--iterations", "1000000", "--no-plots"]
    process = training(*endless, "--report-every", "1", "--out", tmp_path / "run")
    assert closed_after(lines, process) == (141, "")
    assert not (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
@pytest.mark.parametrize(("flag", "code"), [("--help", 0), ("--wrong", 2)])
def test_closed_streams_are_written_to_without_a_word(flag, code, closed):
    program = f"import sys; from xpnet.cli.evaluate import main; sys.exit(main(['{flag}']))"
    shell = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, program]
    ended = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert ended.returncode == code
    assert ended.stderr.count("\n") == (flag == "--wrong" and closed == ">&-")


def test_a_closed_pipe_ends_the_help_without_a_word():
    program = "import sys; from xpnet.cli.evaluate import main; sys.exit(main(['--help']))"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen([sys.executable, "-c", program], **pipes, env=buffered)
    assert closed_after(0, process) == (141, "")
