"""Files of records, whole or torn, and on disks that are full or read-only."""

import csv
import errno
import json
import os
import time
import tracemalloc
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers import files_of_at_most, refused
from tests.training.runs import StopAfter, make_trainer
from xpnet.runs.records import HistoryFile, MetricsFile, cut_back
from xpnet.training import Callback
from xpnet.training.history import History, Record, column_name

RECORDS = [
    Record(100, 4 / 3, 0.2, 4 / 3 + 0.2, 0.5, 0.9, 0.6, 3.25, 0.1),
    Record(200, 1.0, 0.1, 1.1, 0.75, None, None, 6.5, 0.05),
]
COLUMNS = [column_name(field, "accuracy") for field in Record._fields]
RUN = SimpleNamespace(history=History())  # what the files ask of a trainer


def test_history_file_holds_each_record_at_once(tmp_path):
    history = HistoryFile(tmp_path / "history.csv")
    for count, record in enumerate(RECORDS, 1):
        history.on_report(None, record)
        with open(tmp_path / "history.csv", newline="") as file:
            rows = list(csv.reader(file))
        assert rows[0] == COLUMNS
        assert [Record.parse(row) for row in rows[1:]] == RECORDS[:count]
    history.close()


def test_sync_waits_for_the_disk(tmp_path, monkeypatch):
    path, synced = tmp_path / "history.csv", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_size))
    history = HistoryFile(path)
    history.sync()
    history.close()
    assert synced == [path.stat().st_size]


@pytest.fixture
def history(tmp_path):
    """The path of a file with both records."""
    path = tmp_path / "history.csv"
    file = HistoryFile(path)
    for record in RECORDS:
        file.on_report(None, record)
    file.close()
    return path


@pytest.mark.parametrize("rest", ["", "300,1,", "300,1,2,3,4,5,6,7,8\n400,1,2,3,4,5,6,7,8\n", "\0\0\0"])
def test_a_history_is_cut_back_and_goes_on(history, rest):
    """Also behind half a line, as a crash may leave it."""
    content = history.read_text()
    history.write_text(content + rest)
    assert cut_back(history, 200, 100) == RECORDS
    assert history.read_text() == content
    assert cut_back(history, 100, 100) == RECORDS[:1]
    file = HistoryFile(history)
    file.on_report(None, RECORDS[1])
    file.close()
    assert history.read_text() == content


@pytest.mark.parametrize("content", [None, "", "iterat", "iteration,x\n1,2\n"])
def test_before_the_first_record_there_is_nothing_to_cut(tmp_path, content):
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_text(content)
    assert cut_back(path, 0, 100) == []
    HistoryFile(path).close()
    assert path.read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("length", [0, 60, 130, -1])
def test_a_history_that_is_too_short_is_refused_and_left_alone(history, length):
    content = history.read_text()[:length] if length else ""
    history.write_text(content)
    with refused(f"{history}: expected "):
        cut_back(history, 300, 100)
    assert history.read_text() == content


@pytest.mark.parametrize("iteration", [0, 100])
def test_a_history_that_cannot_be_cut_is_one_line(history, monkeypatch, iteration):
    def read_only(*arguments):
        raise PermissionError(errno.EACCES, "Permission denied")

    for module, name in ((os, "truncate"), (Path, "write_bytes")):
        monkeypatch.setattr(module, name, read_only)
    with refused(f"{history}: cannot be written (Permission denied)."):
        cut_back(history, iteration, 100)


def test_a_program_that_follows_sees_each_record_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 50}\n')  # of the run before it was resumed
    metrics = MetricsFile(path)
    with path.open() as follower:
        assert json.loads(follower.readline()) == {"iteration": 50}
        for record in RECORDS:
            metrics.on_report(RUN, record)
            seen = json.loads(follower.readline())
            assert abs(seen.pop("time") - time.time()) < 60
            assert seen == dict(zip(COLUMNS, record, strict=True))
    metrics.close()


def test_half_a_line_that_a_crash_left_spoils_no_other(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 50}\n{"itera')
    metrics = MetricsFile(path)
    metrics.on_report(RUN, RECORDS[0])
    metrics.close()
    first, half, record = path.read_text().splitlines()
    assert (json.loads(first), half) == ({"iteration": 50}, '{"itera')
    assert json.loads(record)["iteration"] == 100


@pytest.mark.parametrize("kind", [HistoryFile, MetricsFile])
def test_a_full_disk_is_one_line(tmp_path, kind):
    path = tmp_path / "file"
    with (
        files_of_at_most(10),
        refused(f"{path}: cannot be written (File too large)"),
    ):
        kind(path).on_report(RUN, RECORDS[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize(
    "use", [HistoryFile, MetricsFile, lambda path: cut_back(path, 0, 100), lambda path: cut_back(path, 9, 100)]
)
def test_a_pipe_is_refused(tmp_path, use):
    """To open one may take for ever."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with refused(f"{path}: expected a file, got a pipe or a device."):
        use(path)


@pytest.mark.parametrize("whole_lines", [0, 2])
def test_a_line_without_end_takes_no_memory(history, whole_lines):
    lines = history.read_text().splitlines(keepends=True)[:whole_lines]
    history.write_text("".join(lines))
    os.truncate(history, 100_000_000)  # a hole in the file, which reads as zeros
    tracemalloc.start()
    try:
        with refused(f"{history}: expected "):
            cut_back(history, 200, 100)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path):
    with refused(f"{tmp_path / 'gone' / 'history.csv'}: cannot be written (No such file or directory)."):
        HistoryFile(tmp_path / "gone" / "history.csv")


def test_real_targets_have_columns_of_their_own(tmp_path):
    path = tmp_path / "history.csv"
    file = HistoryFile(path, "r2")
    for record in RECORDS:
        file.on_report(None, record)
    file.close()
    assert "validation_r2" in path.read_text().splitlines()[0]
    assert cut_back(path, 200, 100) == RECORDS


class Blow(Callback):
    """Something done to the file after an iteration."""

    def __init__(self, blow, iteration):
        self.blow, self.iteration = blow, iteration

    def on_step(self, trainer):
        if trainer.iteration == self.iteration:
            self.blow()


@pytest.mark.parametrize("blow", ["deleted", "replaced", "emptied", "cut off", "longer"])
def test_a_history_that_was_changed_in_mid_run_is_written_again(digits, tmp_path, caplog, blow):
    """With all records from before, also those of the run before it was resumed."""
    path, trainer = tmp_path / "history.csv", make_trainer(digits, report_every=2)
    file = HistoryFile(path)
    trainer.run([file, StopAfter(6)])
    file.close()
    file = HistoryFile(path)  # as where a run is resumed
    blows = {
        "deleted": path.unlink,
        "replaced": lambda: (path.unlink(), path.write_text("iteration,x\n")),
        "emptied": lambda: path.write_text(""),
        "cut off": lambda: os.truncate(path, path.stat().st_size - 5),
        "longer": lambda: path.write_text(path.read_text() + "9,1\n"),
    }
    history = trainer.run([file, Blow(blows[blow], 9)])
    file.close()
    assert cut_back(path, 12, 2) == list(history)
    assert [record.iteration for record in history] == [2, 4, 6, 8, 10, 12]
    assert f"{path}: was deleted or changed in mid-run" in caplog.text


def test_a_checkpoint_follows_a_whole_history(digits, tmp_path):
    """For the run may be killed before its next record."""
    path, trainer = tmp_path / "history.csv", make_trainer(digits, report_every=2)
    file = HistoryFile(path)
    trainer.run([file, StopAfter(4)])
    path.unlink()
    file.sync()
    file.close()
    assert [record.iteration for record in cut_back(path, 4, 2)] == [2, 4]


def test_a_history_that_cannot_be_written_again_is_one_line(digits, tmp_path):
    path, trainer = tmp_path / "history.csv", make_trainer(digits)
    with refused(f"{path}: cannot be written (Is a directory)"), closing(HistoryFile(path)) as file:
        trainer.run([file, Blow(lambda: (path.unlink(), path.mkdir()), 3)])


def test_metrics_that_were_moved_go_on_in_a_new_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = MetricsFile(path)
    for number, record in enumerate(RECORDS):
        metrics.on_report(RUN, record)
        path.rename(tmp_path / f"{number}")
    metrics.close()
    assert [json.loads((tmp_path / name).read_text())["iteration"] for name in "01"] == [100, 200]


@pytest.mark.parametrize(
    "rows",
    [
        [200, 100, 300],
        [100, 300],
        [200, 300],
        [100, 200, 200, 300],
        [-100, 100, 200, 300],
        [0, 100, 200, 300],
        [100, 200, 400],
        [100, 200, 350],
        [],
    ],
    ids=["swapped", "missing", "first missing", "doubled", "negative", "zero", "future", "not its own end", "none"],
)
def test_rows_that_are_not_the_runs_are_refused(history, rows):
    head, row, *_ = history.read_text().splitlines()
    content = "\n".join([head, *(row.replace("100", str(n), 1) for n in rows), ""])
    history.write_text(content)
    with refused(f"{history}", "records up to iteration 300, found them up to "):
        cut_back(history, 300, 100)
    assert history.read_text() == content


def test_the_end_of_a_shorter_run_may_be_among_the_records(history):
    head, row, *_ = history.read_text().splitlines()
    history.write_text("\n".join([head, *(row.replace("100", str(n), 1) for n in (100, 130, 200)), ""]))
    assert [record.iteration for record in cut_back(history, 200, 100)] == [100, 130, 200]
    assert [record.iteration for record in cut_back(history, 130, 100)] == [100, 130]


def test_a_history_that_cannot_be_read_is_called_that(history, monkeypatch):
    def forbidden(*arguments, **settings):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with refused(f"{history}", "the run's records, got: Permission denied."):
        cut_back(history, 200, 100)
