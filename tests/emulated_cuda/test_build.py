"""The command that builds and runs: what it says when something is missing. Needs neither a compiler nor CuPy."""

import importlib.metadata
import shutil
import sys

import pytest

from tests.emulated_cuda import __main__ as program
from tests.emulated_cuda import build
from tests.emulated_cuda.records import IS_EMULATED


@pytest.fixture
def complete(monkeypatch):
    """A machine on which nothing is missing."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: build.CUPY_VERSIONS[-1])


def run(monkeypatch, capsys, *words: object) -> str:
    """The one line that the command says as it refuses."""
    monkeypatch.setattr(sys, "argv", ["emulated_cuda", *map(str, words)])
    assert program.main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("emulated CUDA: ")
    return said.err


@pytest.mark.usefixtures("complete")
class TestRefusals:
    """Each of these stops both commands, before anything is written."""

    @pytest.fixture(params=["build", "run"])
    def words(self, request, tmp_path):
        (tmp_path / "surroundings.json").write_text('{"python": ""}')
        return [request.param, tmp_path] + ([sys.executable] if request.param == "run" else [])

    def test_no_compiler(self, monkeypatch, capsys, words):
        monkeypatch.setattr(shutil, "which", lambda name: None)
        assert "g++" in run(monkeypatch, capsys, *words)

    def test_no_cupy(self, monkeypatch, capsys, words):
        def version(name):
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "version", version)
        assert "pip install cupy-cuda13x" in run(monkeypatch, capsys, *words)

    def test_another_cupy(self, monkeypatch, capsys, words):
        monkeypatch.setattr(importlib.metadata, "version", lambda name: "15.1.0")
        assert "got 15.1.0" in run(monkeypatch, capsys, *words)

    def test_another_system(self, monkeypatch, capsys, words):
        monkeypatch.setattr(sys, "platform", "darwin")
        assert "expected Linux" in run(monkeypatch, capsys, *words)


@pytest.mark.usefixtures("complete")
@pytest.mark.skipif(sys.platform != "linux", reason="for Linux alone")
class TestFolders:
    """The folder that the device is built into, and run from."""

    def test_nothing_was_built(self, monkeypatch, capsys, tmp_path):
        assert "Build it" in run(monkeypatch, capsys, "run", tmp_path, "true")

    @pytest.mark.parametrize("changed", ["python", "cupy", "sources"])
    def test_built_for_something_else(self, monkeypatch, capsys, tmp_path, changed):
        surroundings = {**build.surroundings(), changed: "another"}
        (tmp_path / "surroundings.json").write_text(build.json.dumps(surroundings))
        assert f"built for another {changed}" in run(monkeypatch, capsys, "run", tmp_path, "true")

    def test_no_room(self, monkeypatch, capsys, tmp_path):
        def fails(*arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(build, "find_spec", lambda name: type("Spec", (), {"submodule_search_locations": ["/"]}))
        monkeypatch.setattr(build, "_download_headers", fails)
        assert "No space left on device" in run(monkeypatch, capsys, "build", tmp_path / "new")

    def test_no_such_command(self, monkeypatch, capsys, tmp_path):
        monkeypatch.setattr(program, "check", lambda folder: None)
        assert "no-such-command" in run(monkeypatch, capsys, "run", tmp_path, "no-such-command")


@pytest.mark.skipif(not IS_EMULATED, reason="needs the emulated CUDA device")
def test_cupy_has_not_changed_under_the_device():
    assert importlib.metadata.version("cupy-cuda13x") in build.CUPY_VERSIONS
