import gc
import io
import re
import subprocess
import sys
import threading

import pooch
import pytest
from rich.console import Console
from rich.progress import Progress

from xpnet.datasets import cifar10, download, fashion_mnist
from xpnet.datasets.download import RemoteFile, check_hash, fetch
from xpnet.errors import InputError

CONTENT = bytes(range(256)) * 1000
ADVICE = "Get it by hand."
PROGRAM = """
import pathlib, pooch
pooch.os_cache = lambda project: pathlib.Path({cache!r})
from xpnet.datasets.download import RemoteFile, fetch
print(len(fetch("toy", {file!r}, "").read_bytes()))
"""

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def collect_garbage():
    """Pooch leaves the connections of failed downloads open; without this, a later test would be warned of them."""
    yield
    gc.collect()


@pytest.mark.parametrize("file", [*fashion_mnist._FILES, cifar10._ARCHIVE], ids=lambda file: file.name)
def test_only_https_and_whole_hashes_are_registered(file):
    assert file.url.startswith("https://")
    assert re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert re.fullmatch(r"[\w.-]+\.gz", file.name)


@pytest.fixture
def pooch_log(caplog):
    """What pooch would print by itself."""
    logger = pooch.get_logger()
    logger.setLevel("INFO")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def test_a_file_is_downloaded_once(publish, server, cache, capfd, pooch_log):
    file = publish("data.bin", CONTENT)
    for _ in range(2):
        path = fetch("toy", file, ADVICE)
        assert path == cache / "toy" / "data.bin"
        assert path.read_bytes() == CONTENT
    assert server.requests == ["/data.bin"]
    assert list(path.parent.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")  # no terminal, so no bar
    assert not pooch_log.messages


def test_a_damaged_file_in_the_cache_is_downloaded_again(publish, server):
    file = publish("data.bin", CONTENT)
    path = fetch("toy", file, ADVICE)
    path.write_bytes(CONTENT[:-1])
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT
    assert len(server.requests) == 2


def refusal(file, cache):
    """The one line that says why, after a check that nothing is left in the cache."""
    with pytest.raises(InputError) as error:
        fetch("toy", file, ADVICE)
    assert not list((cache / "toy").iterdir())
    message = str(error.value)
    assert message.startswith(f"toy: expected to download {file.name}, got: ")
    assert message.endswith(f". {ADVICE}")
    assert "\n" not in message
    return message


def test_another_content_is_not_kept(publish, server, cache):
    file = publish("data.bin", CONTENT)
    (server.folder / "data.bin").write_bytes(CONTENT[:-1] + b"?")
    assert f"a file without the SHA-256 {file.sha256}" in refusal(file, cache)


def test_a_download_cut_short_is_not_kept(publish, server, cache, monkeypatch):
    file = publish("data.bin", CONTENT)
    handler = server.RequestHandlerClass.func
    monkeypatch.setattr(handler, "copyfile", lambda self, source, output: output.write(source.read(1000)))
    assert refusal(file, cache)
    monkeypatch.undo()


def test_an_interrupted_download_leaves_nothing_and_starts_again(publish, cache, monkeypatch):
    file = publish("data.bin", CONTENT)

    def interrupt(self, count):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download._Bar, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch("toy", file, ADVICE)
    assert not list((cache / "toy").iterdir())
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT


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


def test_processes_that_download_at_once_all_get_the_whole_file(publish, server, cache, monkeypatch):
    file = publish("data.bin", CONTENT)
    both_have_begun = threading.Barrier(2)

    def copy(self, source, output):
        output.write(source.read(100_000))
        both_have_begun.wait(timeout=60)
        output.write(source.read())

    monkeypatch.setattr(server.RequestHandlerClass.func, "copyfile", copy, raising=False)
    program = PROGRAM.format(cache=str(cache), file=file)
    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    assert [int(process.communicate(timeout=60)[0]) for process in processes] == [len(CONTENT)] * 2
    assert [path.read_bytes() for path in (cache / "toy").iterdir()] == [CONTENT]


def test_a_download_killed_midway_starts_again(publish, server, cache, monkeypatch):
    file = publish("data.bin", CONTENT)
    has_begun, may_end = threading.Event(), threading.Event()

    def copy(self, source, output):
        output.write(source.read(100_000))
        has_begun.set()
        may_end.wait(timeout=60)

    program = PROGRAM.format(cache=str(cache), file=file)
    with monkeypatch.context() as patch:
        patch.setattr(server.RequestHandlerClass.func, "copyfile", copy, raising=False)
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
        assert has_begun.wait(timeout=60)
        process.kill()
        process.wait()
        may_end.set()
    assert not (cache / "toy" / "data.bin").exists()
    assert fetch("toy", file, ADVICE).read_bytes() == CONTENT


def test_the_bar_counts_bytes(publish, monkeypatch):
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
