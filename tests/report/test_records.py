"""The reader of records: incremental, and of bounded size whatever the file holds."""

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.folders import line
from xpnet.report import records
from xpnet.report.records import RecordReader


def iterations(reader):
    return [record.iteration for record in reader.records]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.jsonl"


def test_what_was_added_is_read_and_a_line_without_an_end_waits_for_it(path):
    reader = RecordReader(path)
    assert not reader.update()
    path.write_text(f"{line(1)}\n{line(2)[:30]}")
    assert reader.update()
    assert iterations(reader) == [1]
    assert not reader.update()
    with path.open("a") as file:
        file.write(f"{line(2)[30:]}\n{line(3)}\n")
    assert reader.update()
    assert iterations(reader) == [1, 2, 3]
    assert (reader.broken, reader.metric) == (0, "accuracy")


def test_iterations_that_come_again_after_a_run_was_resumed_replace_the_first_ones(path):
    path.write_text("\n".join([line(10), line(20), line(30), line(20, loss=7.0), line(40), ""]))
    reader = RecordReader(path)
    reader.update()
    assert iterations(reader) == [10, 20, 40]
    assert reader.history()["loss"] == [0.2, 7.0, 0.05]


def test_another_file_in_its_place_and_a_shorter_one_are_read_from_the_beginning(path):
    path.write_text(f"{line(1)}\n{line(2)}\n")
    reader = RecordReader(path)
    reader.update()
    path.write_text(f"{line(5)}\n")
    assert reader.update()
    assert iterations(reader) == [5]
    path.with_name("other").write_text(f"{line(7)}\n{line(8)}\n{line(9)}\n")
    os.replace(path.with_name("other"), path)
    assert reader.update()
    assert iterations(reader) == [7, 8, 9]
    path.unlink()
    assert reader.update()
    assert (iterations(reader), reader.update()) == ([], False)


def test_of_a_long_history_evenly_spaced_records_are_kept_and_the_newest(path, monkeypatch):
    monkeypatch.setattr(records, "MOST_RECORDS", 16)
    reader = RecordReader(path)
    for last in (15, 16, 100, 1001):
        path.write_text("".join(f"{line(i)}\n" for i in range(1, last + 1)))
        reader.update()
        kept = iterations(reader)
        assert len(kept) <= 17
        assert kept[-1] == last
        steps = {b - a for a, b in pairwise(kept[:-1])}
        assert len(steps) == 1
        assert len(kept) >= 8


BROKEN = [
    "",
    "{",
    "null",
    "7",
    "[]",
    '"iteration"',
    "{}",
    '{"iteration": 1}',
    "[" * 900,
    line(1, loss=float("nan")),
    line(1, loss=float("inf")),
    line(1, loss=1e200),
    line(1, loss="1.0"),
    line(1, loss=True),
    line(1, loss=None),
    line(1, seconds=[1]),
    line(-1),
    line(10**30),
    line(1.5),
    line(1, train_accuracy=1.01),
    line(1, validation_accuracy=-0.5),
    line(1, note="x" * 1000),
    "\x00\xff<script>",
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_line_is_left_out_and_counted(path, broken):
    path.write_bytes("\n".join([line(1), broken, line(2), ""]).encode("latin-1"))
    reader = RecordReader(path)
    reader.update()
    assert iterations(reader) == [1, 2]
    assert reader.broken == (1 if broken else 0)


def test_a_line_of_megabytes_is_not_kept_and_counts_once(path):
    path.write_bytes(f"{line(1)}\n".encode() + b"x" * 3_000_000)
    reader = RecordReader(path)
    reader.update()
    assert len(reader._rest) <= 1000
    with path.open("ab") as file:
        file.write(b"y" * 100_000 + f"\n{line(2)}\n".encode())
    reader.update()
    assert (iterations(reader), reader.broken) == ([1, 2], 1)


def test_a_file_that_is_too_large_to_read_at_once_is_read_in_parts(path, monkeypatch):
    monkeypatch.setattr(records, "MOST_BYTES", 1)  # a part is then a block of 64 KiB
    path.write_text("".join(f"{line(i)}\n" for i in range(1, 1001)))
    reader = RecordReader(path)
    reader.update()
    assert not reader.is_complete
    assert 0 < len(reader.records) < 1000
    while reader.update():
        pass
    assert reader.is_complete
    assert iterations(reader) == list(range(1, 1001))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(path):
    os.mkfifo(path)
    assert not RecordReader(path).update()


LINES = st.one_of(st.builds(lambda i: line(i).encode(), st.integers(1, 50)), st.binary(max_size=40))


@given(st.lists(LINES, max_size=12), st.lists(st.integers(1, 400), max_size=12))
def test_reading_in_pieces_is_reading_at_once(tmp_path_factory, lines, cuts):
    folder = tmp_path_factory.mktemp("records")
    content = b"".join(one + b"\n" for one in lines)
    whole, grown = folder / "whole", folder / "grown"
    whole.write_bytes(content)
    grown.write_bytes(b"")
    reader, other = RecordReader(whole), RecordReader(grown)
    reader.update()
    start = 0
    for cut in [*cuts, len(content)]:
        with grown.open("ab") as file:
            file.write(content[start : start + cut])
        start += cut
        other.update()
    assert (other.records, other.broken) == (reader.records, reader.broken)
