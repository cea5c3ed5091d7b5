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
WORKFLOWS = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / ".github/workflows").iterdir()}


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


def test_changelog_and_citation_are_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", changelog, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    versions = [match.groups() for match in released if match]
    assert len(versions) == len(headings) - 1
    assert versions == sorted(versions, key=lambda entry: [int(part) for part in entry[0].split(".")], reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", changelog, re.MULTILINE)) <= kinds
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    cited = re.findall(r'^(?:version|date-released): "?([\d.-]+)"?$', citation, re.MULTILINE)
    assert (xpnet.__version__, versions[0][1]) == tuple(cited)
    assert versions[0][0] == xpnet.__version__


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
    actions = re.findall(r"uses: (.+)$", "".join(WORKFLOWS.values()), re.MULTILINE)
    assert actions
    for action in actions:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_workflow_can_only_read_and_covers_the_pythons_of_the_classifiers():
    assert re.findall(r"permissions:\n(.+)\n", WORKFLOWS["ci"]) == ["  contents: read"]
    (matrix,) = re.findall(r"python-version: \[(.+)\]", WORKFLOWS["ci"])
    classifiers = PYPROJECT["project"]["classifiers"]
    versions = re.findall(r"Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    assert [version.strip('"') for version in matrix.split(", ")] == versions
    assert f">={versions[0]}" == PYPROJECT["project"]["requires-python"]


def test_release_gives_each_job_what_it_needs_only():
    release = WORKFLOWS["release"]
    assert "\npermissions: {}\n" in release
    jobs = re.split(r"^  (\w+):$", release.partition("\njobs:\n")[2], flags=re.MULTILINE)[1:]
    rights = [set(re.findall(r"^ {6}([a-z-]+): write\b", job, re.MULTILINE)) for job in jobs[1::2]]
    assert {name: found for name, found in zip(jobs[::2], rights, strict=True) if found} == {
        "attest": {"id-token", "attestations"},
        "pypi": {"id-token"},
        "image": {"packages"},
        "release": {"contents"},
        "pages": {"pages", "id-token"},
    }


def test_recipe_is_of_this_version_and_needs_what_the_package_needs():
    recipe = (ROOT / "recipe/recipe.yaml").read_text(encoding="utf-8")
    context = dict(re.findall(r'^  (\w+): "(.+)"$', recipe, re.MULTILINE))
    assert context["version"] == xpnet.__version__
    assert f">={context['python_min']}" == PYPROJECT["project"]["requires-python"]
    (run,) = re.findall(r"^  run:\n((?:    - .+\n)+)", recipe, re.MULTILINE)
    needed = [line.replace("matplotlib-base", "matplotlib").replace(" ", "") for line in re.findall(r"- (.+)", run)]
    assert needed == ["python>=${{python_min}}", *PYPROJECT["project"]["dependencies"]]
    (command,) = re.findall(r"^      - xpnet = (.+)$", recipe, re.MULTILINE)
    assert command == PYPROJECT["project"]["scripts"]["xpnet"]


def test_rattler_build_reads_the_recipe():
    rattler_build = pytest.importorskip("rattler_build")
    recipe = rattler_build.Stage0Recipe.from_file(ROOT / "recipe/recipe.yaml")
    (variant,) = recipe.render(rattler_build.VariantConfig(), rattler_build.RenderConfig())
    assert f"package='xpnet', version='{xpnet.__version__}'" in str(variant)


def test_pre_commit_runs_the_ruff_of_the_dev_extra():
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    rev = re.search(r"ruff-pre-commit\n\s+rev: v(\d+\.\d+)\.\d+$", config, re.MULTILINE)
    assert rev is not None
    assert f"ruff=={rev[1]}.*" in PYPROJECT["project"]["optional-dependencies"]["dev"]
