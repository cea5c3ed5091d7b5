"""What the README and the docstrings show is run as it stands."""

import doctest
import importlib
import pkgutil
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xpnet
from tests.helpers import blocks_of
from xpnet.experiments import EXPERIMENTS

README = Path(__file__).parent.parent / "README.md"
DOCS = README.parent / "docs"
OPTIONAL = {"cudnn", "cupy", "torch", "jax", "onnx", "sklearn"}  # what a module for one library alone may need
MODULES = [module.name for module in pkgutil.walk_packages(xpnet.__path__, "xpnet.")]


def run_blocks(page):
    """The names that a page's blocks leave, run one after another."""
    names = {"__name__": page.stem}
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    return names


def test_the_readme_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_blocks(README)
    assert float(re.findall(r"^(0\.\d+)$", capsys.readouterr().out, re.MULTILINE)[0]) > 0.95


def test_the_tour_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_blocks(DOCS / "tour.md")
    assert float(re.findall(r"R² (\S+),", capsys.readouterr().out)[0]) > 0.9
    assert names["edges"].shape == (1, 28, 28, 16)
    assert names["loss"] < 1


@pytest.mark.parametrize("name", ["backprop.md", "own-layers.md"])
def test_a_page_that_checks_itself_runs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    run_blocks(DOCS / name)


@pytest.mark.filterwarnings("ignore:.*converge")  # of estimators that are trained for a short time only
def test_the_page_of_estimators_runs(capsys):
    pytest.importorskip("sklearn")
    run_blocks(DOCS / "estimators.md")
    assert float(capsys.readouterr().out) > 0.9


@pytest.mark.filterwarnings("ignore:.*converge")
@pytest.mark.parametrize("library", ["xpnet", "sklearn", "torch", "jax"])
def test_the_same_programs_run_in_each_library(tmp_path, monkeypatch, library):
    pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "coming-from.md").read_text(encoding="utf-8")
    tabs = re.findall(r"^:sync: (\w+)\n(.*?)^:::$", page, re.DOTALL | re.MULTILINE)
    digits = xpnet.datasets.load("mnist")
    names = {"x": digits.train_inputs[:2000, :, :, 0] / np.float32(255), "y": digits.train_targets[:2000]}
    blocks = [block for owner, text in tabs if owner == library for block in blocks_of(text)]
    assert len(blocks) >= 3
    for block in blocks:
        exec(compile(block, library, "exec"), names)


def test_the_faces_that_the_docs_draw_are_a_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = DOCS / "results.md"
    (block,) = blocks_of(page.read_text(encoding="utf-8"))
    exec(compile(block, str(page), "exec"), {})
    faces = xpnet.datasets.load("fer2013", tmp_path)
    assert [len(part) for part in (faces.train_inputs, faces.validation_inputs, faces.test_inputs)] == [1120, 140, 140]
    with Image.open("face.png") as face:
        assert (np.asarray(face) == faces.test_inputs[-1, :, :, 0]).all()


def documented_commands():
    """Every ``python scripts/...`` and ``xpnet ...`` in README and docs, as the words that a shell makes of it."""
    for page in (README, *sorted(DOCS.glob("*.md"))):
        for block in blocks_of(page.read_text(encoding="utf-8"), "bash"):
            for line in block.replace("\\\n", "").splitlines():
                if line.startswith(("python scripts/", "xpnet ")):
                    words = shlex.split(line, comments=True)
                    yield pytest.param(words[1:], id=f"{page.name}: {line}")


@pytest.mark.parametrize("words", list(documented_commands()))
def test_documented_commands_have_flags_that_the_program_knows(words):
    script, *flags = words
    program = importlib.import_module(f"xpnet.cli.{Path(script).stem.replace('-', '_')}")
    program.make_parser(script).parse_args(flags)


def test_fine_tuning_is_the_same_command_in_the_readme_and_in_the_docs():
    pages = [README, DOCS / "pretrained.md"]
    commands = [
        re.findall(r"^python .* --replace-head [^`]*", page.read_text(encoding="utf-8"), re.M) for page in pages
    ]
    assert len(commands[0]) == 1
    assert commands[0] == commands[1]


@pytest.mark.filterwarnings("ignore:.*converge")
@pytest.mark.parametrize("module", ["xpnet", *MODULES])
def test_docstring_examples(module):
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        pytest.skip(f"{error.name} is not here")
    assert doctest.testmod(imported).failed == 0


def test_readme_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)|<img src=\"([^\"]+)\"", text)
    local = [target for pair in targets for target in pair if target and not target.startswith("http")]
    assert local
    for target in local:
        assert (README.parent / target).exists(), target


def test_public_names_exist_and_are_documented():
    for name in xpnet.__all__:
        assert getattr(xpnet, name).__doc__ or name == "__version__"


def test_readme_shows_every_experiment_with_its_command_and_picture():
    text = README.read_text(encoding="utf-8")
    for name, experiment in EXPERIMENTS.items():
        assert f"`scripts/{experiment.command}`" in text
        picture = f"docs/images/{name}.png"
        assert picture in text
        assert (README.parent / picture).stat().st_size < 60_000
