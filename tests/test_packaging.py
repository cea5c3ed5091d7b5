"""What the metadata, the README, the Dockerfile and the workflow promise each other."""

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import xpnet

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")


def readme_command(name: str, readme: str) -> subprocess.CompletedProcess[str]:
    """Run the script by which ``.ci/run`` finds the README's commands."""
    return subprocess.run(
        [sys.executable, ROOT / ".ci/readme_command.py", name],
        input=readme,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def marked(*lines: str, name: str = "test") -> str:
    return "\n".join(["Intro", "", f"<!-- command: {name} -->", "```bash", *lines, "```", "", "Outro", ""])


def test_version_is_written_once():
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["hatch"]["version"]["path"] == "xpnet/__init__.py"
    assigned = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "xpnet").rglob("*.py")
        if re.search(r"^__version__\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert assigned == ["xpnet/__init__.py"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", xpnet.__version__)


def test_the_command_is_an_entry_point():
    module, _, function = PYPROJECT["project"]["scripts"]["xpnet"].partition(":")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize(("name", "job"), [("train", "python scripts/train.py"), ("test", "python -m pytest -n auto")])
def test_readme_command_sets_itself_up_and_does_its_job(name, job):
    result = readme_command(name, (ROOT / "README.md").read_text(encoding="utf-8"))
    assert result.returncode == 0, result.stderr
    command = result.stdout.removesuffix("\n")
    assert "\n" not in command
    set_up, install, last = command.split(" && ")
    assert set_up == "python3 -m venv .venv"
    assert install.startswith(".venv/bin/pip install")
    assert last == f".venv/bin/{job}"


def test_readme_command_prints_the_marked_line_only():
    readme = marked("first", name="train") + marked("second 'quoted' && $third")
    assert readme_command("test", readme).stdout == "second 'quoted' && $third\n"


@pytest.mark.parametrize(
    ("readme", "found"),
    [
        ("no marker", "0 with 0 lines"),
        (marked("one", "two"), "1 with 2 lines"),
        (marked("one") + marked("one"), "2 with 2 lines"),
        (marked("one").replace("-->\n", "-->\nprose\n"), "0 with 0 lines"),
    ],
)
def test_readme_command_refuses_anything_but_one_marked_line(readme, found):
    result = readme_command("test", readme)
    assert result.returncode == 1
    assert result.stdout == ""
    assert found in result.stderr


def test_docker_image_installs_an_extra_that_exists():
    (extra,) = re.findall(r'\["optional-dependencies"\]\["(\w+)"\]', (ROOT / "Dockerfile").read_text("utf-8"))
    (cupy,) = PYPROJECT["project"]["optional-dependencies"][extra]
    assert cupy.startswith("cupy-cuda")
    assert "[ctk]" in cupy


def test_docker_context_holds_all_that_the_dockerfile_copies():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {
        source.rstrip("/")
        for arguments in re.findall(r"^COPY (.+)$", dockerfile, re.MULTILINE)
        for source in arguments.split()[:-1]
    }
    kept = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert copied == set(kept)
    assert all((ROOT / source).exists() for source in copied)


def test_workflow_actions_are_pinned_by_commit():
    actions = re.findall(r"uses: (.+)$", WORKFLOW, re.MULTILINE)
    assert actions
    for action in actions:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_workflow_can_only_read_and_covers_the_oldest_python():
    assert re.findall(r"permissions:\n(.+)\n", WORKFLOW) == ["  contents: read"]
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=")
    assert f'"{oldest}"' in WORKFLOW


def test_pre_commit_runs_the_ruff_of_the_dev_extra():
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    rev = re.search(r"ruff-pre-commit\n\s+rev: v(\d+\.\d+)\.\d+$", config, re.MULTILINE)
    assert rev is not None
    assert f"ruff=={rev[1]}.*" in PYPROJECT["project"]["optional-dependencies"]["dev"]
