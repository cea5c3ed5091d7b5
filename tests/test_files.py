import errno
import os
import stat

import pytest

from tests.helpers import refused
from xpnet.files import atomic_write, remove_partial


def test_new_content_replaces_old(tmp_path):
    for content in (b"old and longer", b"new"):
        atomic_write(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_content_is_on_the_disk_before_it_has_its_name_and_the_name_thereafter(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace

    def watched_fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append(("fsync", "folder" if is_folder else os.fstat(descriptor).st_size))
        fsync(descriptor)

    def watched_replace(old, new):
        calls.append(("replace", new.name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    atomic_write(tmp_path / "file", b"content")
    assert calls == [("fsync", len(b"content")), ("replace", "file"), ("fsync", "folder")]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    atomic_write(tmp_path / "file", b"old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        atomic_write(tmp_path / "file", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"old"}


@pytest.mark.parametrize("what", ["", "Weights file"])
def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, monkeypatch, what):
    def disk_full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", disk_full)
    with refused(f"{what} {tmp_path / 'file'}: cannot be written (No space left on device).".lstrip()):
        atomic_write(tmp_path / "file", b"new", what=what)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with refused(f"{tmp_path / 'pipe'}", "a file", "got a pipe or a device"):
        atomic_write(tmp_path / "pipe", b"new")
    assert (tmp_path / "pipe").is_fifo()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    ours = {".a.safetensors.123.part", ".b.json.7.part", "..owner.json.7.part"}
    others = {"a.safetensors", ".hidden", "b.part", ".movie.mkv.part", ".a.safetensors.x.part", ".c.json.7.part"}
    for name in ours | others:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".b.json.8.part").mkdir()
    remove_partial(tmp_path, "*.safetensors", "b.json", ".owner.json")
    assert {path.name for path in tmp_path.iterdir()} == others | {".b.json.8.part"}
