import contextlib
import io
import re
import subprocess
import sys
import threading
import time

import pytest
from rich.console import Console
from rich.progress import Progress

from xpnet.datasets import cifar10, download, fashion_mnist
from xpnet.datasets.download import RemoteFile, check_hash, fetch
from xpnet.errors import InputError

CONTENT = bytes(range(256)) * 1000
CHUNK = download._CHUNK_BYTES
ADVICE = "Get it by hand."
PROGRAM = """
import pathlib, pooch
pooch.os_cache = lambda project: pathlib.Path({cache!r})
from xpnet.datasets.download import RemoteFile, fetch
print(len(fetch("toy", {file!r}, "").read_bytes()))
"""


@pytest.mark.parametrize("file", [*fashion_mnist._FILES, cifar10._ARCHIVE], ids=lambda file: file.name)
def test_only_https_and_whole_hashes_are_registered(file):
    assert file.url.startswith("https://")
    assert re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert re.fullmatch(r"[\w.-]+\.gz", file.name)


def names(folder):
    """The files of a folder but the hidden ones, by which processes wait for each other."""
    return [path.name for path in folder.glob("[!.]*")]


@pytest.fixture
def break_off(server, monkeypatch):
    """Let the server end each response after so many bytes; without a number, at its end again."""

    def break_off(count=None):
        def copy(self, source, output):
            output.write(source.read() if count is None else source.read(count))

        monkeypatch.setattr(server.RequestHandlerClass.func, "copyfile", copy, raising=False)

    return break_off


def test_a_file_is_downloaded_once(publish, server, cache, capfd):
    file = publish("data.bin", CONTENT)
    for _ in range(2):
        path = fetch("toy", file, ADVICE)
        assert path == cache / "toy" / "data.bin"
        assert path.read_bytes() == CONTENT
    assert server.requests == ["/data.bin"]
    assert names(path.parent) == [path.name]
    assert "".join(capfd.readouterr()).strip() == ""  # no terminal, so no bar; some versions of rich end a line


def test_a_file_that_is_there_is_taken_without_a_write(publish, server, cache):
    file, path = publish("data.bin", CONTENT), cache / "toy" / "data.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch("toy", file, ADVICE) == path
    assert server.requests == []
    assert list(path.parent.iterdir()) == [path]  # no lock either: the folder may be read-only


def test_a_damaged_file_in_the_cache_is_downloaded_again(publish, server):
    file = publish("data.bin", CONTENT)
    path = fetch("toy", file, ADVICE)
    path.write_bytes(CONTENT[:-1])
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT
    assert len(server.requests) == 2


def refusal(file, cache, left=()):
    """The one line that says why, after a check of what is left in the cache."""
    with pytest.raises(InputError) as error:
        fetch("toy", file, ADVICE)
    assert names(cache / "toy") == list(left)
    message = str(error.value)
    assert message.startswith(f"toy: expected to download {file.name}, got: ")
    assert message.endswith(f". {ADVICE}")
    assert "\n" not in message
    return message


def test_another_content_is_not_kept(publish, server, cache):
    file = publish("data.bin", CONTENT)
    (server.folder / "data.bin").write_bytes(CONTENT[:-1] + b"?")
    assert f"a file without the SHA-256 {file.sha256}" in refusal(file, cache)


def test_a_download_goes_on_where_it_was_broken_off(publish, server, cache, break_off):
    file = publish("data.bin", CONTENT)
    part = cache / "toy" / "data.bin.part"
    for count in (CHUNK, 2 * CHUNK):
        break_off(CHUNK + 1000)  # less than a chunk is given up
        assert refusal(file, cache, left=["data.bin.part"])
        assert part.read_bytes() == CONTENT[:count]
    break_off()
    path = fetch("toy", file, ADVICE)
    assert path.read_bytes() == CONTENT
    assert names(path.parent) == ["data.bin"]
    assert server.ranges == [None, f"bytes={CHUNK}-", f"bytes={2 * CHUNK}-"]


def test_an_interrupted_download_goes_on(publish, server, cache, monkeypatch):
    file = publish("data.bin", CONTENT)

    def interrupt(self, task, count):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "advance", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch("toy", file, ADVICE)
    assert names(cache / "toy") == ["data.bin.part"]
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={CHUNK}-"]


def test_a_server_without_ranges_sends_all_of_it_again(publish, server, cache, break_off, monkeypatch):
    file = publish("data.bin", CONTENT)
    break_off(CHUNK)
    assert refusal(file, cache, left=["data.bin.part"])
    break_off()
    monkeypatch.setattr(server, "knows_ranges", False)
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={CHUNK}-"]


@pytest.mark.parametrize("more", [b"", b"?"])
def test_a_part_that_nothing_is_missing_of_starts_again(publish, server, cache, more):
    file = publish("data.bin", CONTENT)
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "data.bin.part").write_bytes(CONTENT + more)
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT + more)}-", None]


def test_a_part_of_another_file_is_found_out_at_the_end_and_removed(publish, server, cache):
    file = publish("data.bin", CONTENT)
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "data.bin.part").write_bytes(b"?" + CONTENT[1:1000])
    assert f"a file without the SHA-256 {file.sha256}" in refusal(file, cache)
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-", None]


def test_a_missing_file_is_said(publish, server, cache):
    file = publish("data.bin", CONTENT)
    (server.folder / "data.bin").unlink()
    assert "404" in refusal(file, cache)


def test_without_a_network_one_line_says_what_to_do(cache, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    file = RemoteFile("http://127.0.0.1:9/data.bin", "0" * 64)  # the port "discard", which nobody serves
    assert "got: no connection to 127.0.0.1. Get" in refusal(file, cache)


def test_a_cache_that_cannot_be_written_is_said(publish, cache):
    file = publish("data.bin", CONTENT)
    cache.parent.mkdir()
    cache.write_text("a file in place of the folder")
    with pytest.raises(InputError, match=r"toy: expected to download data\.bin, got: .*Get it by hand"):
        fetch("toy", file, ADVICE)


@pytest.fixture
def hold(server, monkeypatch):
    """Let the server wait within a response: an event that says that it waits, and one that lets it go on."""
    waits, may_go_on = threading.Event(), threading.Event()

    def copy(self, source, output):
        output.write(source.read(100_000))
        waits.set()
        may_go_on.wait(timeout=60)
        with contextlib.suppress(OSError):  # nobody may be there any more
            output.write(source.read())

    monkeypatch.setattr(server.RequestHandlerClass.func, "copyfile", copy, raising=False)
    yield waits, may_go_on
    may_go_on.set()


def test_a_process_waits_for_the_one_that_downloads(publish, server, cache, hold):
    file, (server_waits, may_go_on) = publish("data.bin", CONTENT), hold
    program = PROGRAM.format(cache=str(cache), file=file)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}  # pooch announces nothing there
    processes = [subprocess.Popen([sys.executable, "-c", program], **options) for _ in range(2)]
    assert server_waits.wait(timeout=60)
    time.sleep(1)  # for the other to come
    may_go_on.set()
    assert [int(process.communicate(timeout=60)[0]) for process in processes] == [len(CONTENT)] * 2
    assert names(cache / "toy") == ["data.bin"]
    assert server.ranges == [None]


def test_a_download_killed_midway_goes_on(publish, server, cache, hold):
    file, (server_waits, may_go_on) = publish("data.bin", CONTENT), hold
    program, part = PROGRAM.format(cache=str(cache), file=file), cache / "toy" / "data.bin.part"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
    assert server_waits.wait(timeout=60)
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    may_go_on.set()
    count = part.stat().st_size
    assert names(cache / "toy") == ["data.bin.part"]
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={count}-"]


@pytest.mark.parametrize("count_there", [0, 1000])
def test_the_bar_counts_bytes(publish, cache, monkeypatch, count_there):
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "data.bin.part").write_bytes(CONTENT[:count_there])
    console = Console(file=io.StringIO(), force_terminal=True)
    progress = Progress(console=console)
    monkeypatch.setattr(download, "_progress", lambda: progress)
    fetch("toy", publish("data.bin", CONTENT), ADVICE)
    (task,) = progress.tasks
    assert (task.description, task.total, task.completed) == ("data.bin", len(CONTENT), len(CONTENT))


def test_check_hash(tmp_path, publish):
    file, path = publish("data.bin", CONTENT), tmp_path / "data.bin"
    path.write_bytes(CONTENT)
    check_hash(path, file, ADVICE)
    path.write_bytes(CONTENT + b"?")
    with pytest.raises(InputError, match=f"{path}: expected the SHA-256 {file.sha256}, got [0-9a-f]{{64}}. {ADVICE}"):
        check_hash(path, file, ADVICE)
    with pytest.raises(InputError, match=f"{tmp_path}: expected a readable file, got: .*{ADVICE}"):
        check_hash(tmp_path, file, ADVICE)
