"""What is said of the machine and of the code."""

import platform
import shutil
import subprocess

import pytest

import xpnet
from xpnet import kernels, provenance
from xpnet.backend import resolve
from xpnet.kernels import onednn_kernels
from xpnet.provenance import code_version, processor, versions


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Abacus 9\nmodel name\t: Abacus 8\n", "Abacus 9"),
        ("processor\t: 0\n", "abacus64"),  # as on ARM
        (None, "abacus, at 3 GHz"),
    ],
)
def test_the_processor_by_the_name_the_system_has_for_it(tmp_path, monkeypatch, content, expected):
    monkeypatch.setattr(provenance, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "abacus64")
    monkeypatch.setattr(platform, "processor", lambda: "abacus, at 3 GHz")
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert processor() == expected


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A clone with one commit, in which xpnet seems to lie, and that commit."""
    if shutil.which("git") is None:
        pytest.skip("git is not here")
    for name in ("xpnet/code.py", "docs/results.json"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("as committed")

    def git(*arguments):
        settings = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", tmp_path, *settings, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "One")
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    return tmp_path, git("rev-parse", "--short", "HEAD")


@pytest.mark.parametrize(
    ("changed", "mark"), [("docs/results.json", ""), ("xpnet/code.py", "-dirty"), ("xpnet/new.py", "-dirty")]
)
def test_in_a_clone_the_version_is_the_commit_of_the_code(clone, changed, mark):
    folder, commit = clone
    assert code_version() == commit
    (folder / changed).write_text("changed")
    assert code_version() == commit + mark


def test_elsewhere_it_is_the_number(clone, monkeypatch):
    folder, _ = clone
    installed = folder / ".venv" / "site-packages"
    installed.mkdir(parents=True)
    monkeypatch.setattr(provenance, "_ROOT", installed)
    assert code_version() == xpnet.__version__


def test_without_git_it_is_the_number(clone, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert code_version() == xpnet.__version__


def test_in_a_clone_without_commits_it_is_the_number(tmp_path, monkeypatch):
    (tmp_path / ".git").write_text("gitdir: nowhere")
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    assert code_version() == xpnet.__version__


def test_versions_are_those_of_what_computes():
    found = versions(resolve("cpu"))
    assert list(found) == ["xpnet", "python", "numpy", "oneDNN"]
    assert found["oneDNN"] == onednn_kernels.version()
    if onednn_kernels.is_available():
        number, _, instructions = found["oneDNN"].partition(" ")
        assert number.startswith("3.")
        assert instructions
    with kernels.using("pure"):
        assert "oneDNN" not in versions(resolve("cpu"))
