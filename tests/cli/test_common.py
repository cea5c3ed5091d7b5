"""How programs end, and what they leave to their flags."""

import pytest

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
    def program():
        raise error

    assert common.run(program) == code
    assert capsys.readouterr().err == line + "\n"
