"""Running experiments by name: what is run, kept and written."""

import json

import pytest
from PIL import Image

from tests.helpers import files_of_at_most, refused
from xpnet.cli import compare_optimizers, experiments, train
from xpnet.cli.experiments import main
from xpnet.experiments import EXPERIMENTS
from xpnet.results_page import BEGIN, END, keep_picture
from xpnet.runs.folder import RunFolder


@pytest.fixture
def docs(tmp_path, monkeypatch):
    """A folder with a page that has nothing measured on it; runs go beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text(f"Before\n\n{BEGIN}\n{END}\n\nAfter\n")
    return tmp_path / "docs"


@pytest.fixture
def commands(monkeypatch):
    """The flags that train.py was called with; its result depends on the seed."""
    called = []

    def fake(flags):
        called.append(flags)
        folder, seed = RunFolder(flags[flags.index("--out") + 1]), int(flags[flags.index("--seed") + 1])
        (folder.path / "summary.json").write_text(
            json.dumps({"test_accuracy": 0.99 + seed / 1000, "backend": "numpy", "device": "cpu"})
        )
        folder.plots_path.mkdir(exist_ok=True)
        for name, colour in (
            ("misclassified", (10 + seed, 20, 30)),
            ("accuracy", (1, 2, 3)),
            ("error_rate", (4, 5, 6)),
        ):
            Image.new("RGB", (2, 2), colour).save(folder.plots_path / f"{name}.png")
        return 0

    monkeypatch.setitem(experiments._PROGRAMS, "train.py", fake)
    return called


def test_runs_are_kept_by_seed_and_written_into_the_page(docs, commands, capsys):
    assert main(["cnn_32_64", "--seeds", "2", "--docs", str(docs), "--device", "cpu"]) == 0
    assert "test accuracy: published 99.15 %, here 99.10 %" in capsys.readouterr().out.splitlines()
    assert [flags[:2] for flags in commands] == [["--model", "cnn_32_64"]] * 2
    assert all("--device=cpu" in flags for flags in commands)
    kept = json.loads((docs / "results.json").read_text())
    assert {seed: run["metrics"] for seed, run in kept["cnn_32_64"].items()} == {
        "0": {"test accuracy": 0.99},
        "1": {"test accuracy": 0.991},
    }
    page = (docs / "results.md").read_text()
    assert page.startswith("Before\n")
    assert page.endswith("After\n")
    assert "| **99.05 %** (99.00 to 99.10) | 0, 1 |" in page
    with Image.open(docs / "images" / "cnn_32_64.png") as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == (10, 20, 30)  # misclassified, seed 0


def test_a_run_of_one_experiment_leaves_the_others_results(docs, commands):
    main(["cnn_32_64", "--docs", str(docs)])
    main(["cifar10_cnn", "--docs", str(docs), "--data-dir", "pictures"])
    assert "--data-dir" not in commands[0]
    assert commands[1][-2:] == ["--data-dir", "pictures"]
    kept = json.loads((docs / "results.json").read_text())
    assert list(kept) == ["cnn_32_64", "cifar10_cnn"]


def test_a_row_says_which_version_measured_it_and_the_others_stay_as_they_are(docs, commands, monkeypatch):
    monkeypatch.setattr(experiments, "code_version", lambda: "0ddba11")
    main(["cnn_32_64", "lenet5", "--docs", str(docs)])
    kept, page = json.loads((docs / "results.json").read_text()), (docs / "results.md").read_text().splitlines()
    monkeypatch.setattr(experiments, "code_version", lambda: "ca5cade")
    main(["lenet5", "--docs", str(docs)])
    now, page_now = json.loads((docs / "results.json").read_text()), (docs / "results.md").read_text().splitlines()
    assert now["cnn_32_64"] == kept["cnn_32_64"]
    assert (kept["lenet5"]["0"]["version"], now["lenet5"]["0"]["version"]) == ("0ddba11", "ca5cade")
    (changed,) = [line for line in page_now if line not in page]
    assert changed.startswith("| **lenet5**")
    assert changed.endswith("| ca5cade |")
    assert len(page) == len(page_now)


def test_render_writes_the_page_from_what_is_kept(docs, commands):
    main(["cnn_32_64", "--docs", str(docs)])
    written = (docs / "results.md").read_text()
    (docs / "results.md").write_text(f"Before\n\n{BEGIN}\nold\n{END}\n\nAfter\n")
    assert main(["--render", "--docs", str(docs)]) == 0
    assert (docs / "results.md").read_text() == written
    assert len(commands) == 1


def test_a_full_disk_leaves_the_results_of_before(docs, commands, capsys):
    main(["cnn_32_64", "--docs", str(docs)])
    before = {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()}
    capsys.readouterr()
    with files_of_at_most(100):
        assert main(["--render", "--docs", str(docs)]) == 2
    expected = f"error: {docs / 'results.json'}: cannot be written (File too large)"
    error = capsys.readouterr().err
    assert error.startswith(expected)
    assert error.count("\n") == 1
    assert before == {path: path.read_bytes() for path in docs.rglob("*") if path.is_file()}


def test_a_full_disk_leaves_the_picture_of_before(docs, tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "plot.png")
    picture = docs / "images" / "plot.png"
    keep_picture(tmp_path / "plot.png", picture)
    before = picture.read_bytes()
    with files_of_at_most(10), refused(f"{picture}: cannot be written (File too large)."):
        keep_picture(tmp_path / "plot.png", picture)
    assert picture.read_bytes() == before


def test_a_failed_experiment_ends_the_program_and_keeps_nothing(docs, monkeypatch):
    monkeypatch.setitem(experiments._PROGRAMS, "train.py", lambda flags: 130)
    assert main(["cnn_32_64", "--docs", str(docs)]) == 130
    assert not (docs / "results.json").exists()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["cnn_32_46"], "Did you mean 'cnn_32_64'?"),
        (["--seeds", "0"], "expected --seeds"),
        (["--docs", "nowhere"], "nowhere"),
        (["--render"], "results.json: expected the results of experiments"),
    ],
)
def test_bad_input_gives_one_line_and_runs_nothing(docs, commands, capsys, flags, expected):
    (docs / "results.json").write_text('{"l2": []}')
    assert main(["--docs", str(docs), *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert expected in error
    assert not commands


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_every_command_is_one_that_its_program_understands(experiment):
    program, *flags = experiment.command.split()
    parser = {"train.py": train, "compare_optimizers.py": compare_optimizers}[program].make_parser(program)
    settings = vars(parser.parse_args(flags))
    assert settings["seed"] in (None, 0)
