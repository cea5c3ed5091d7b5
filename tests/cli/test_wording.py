"""Errors of the library in the words of the command line, and words that no text of xpnet has."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

import xpnet
from xpnet.cli.main import COMMANDS
from xpnet.cli.main import main as xpnet_main
from xpnet.cli.train_flags import make_parser
from xpnet.cli.wording import in_flags
from xpnet.runs.settings import FIELDS

TRAIN = make_parser("train").spellings()
del TRAIN["help"], TRAIN["help_all"]
AVOIDED = re.compile(
    r"whole numbers?|\bfigures\b|learned by heart|\banew\b|\bspare[sd]?\b|\bto be had\b|\bcounts? for nothing\b"
    r"|\bnone's\b|(?<!there )(?<!There )\bis no (?!longer|more|less|larger|smaller|faster|better)"
)


@pytest.mark.parametrize("name", TRAIN)
def test_every_setting_of_a_message_becomes_its_flag(name):
    flag = TRAIN[name][0]
    message = f"Training: expected {name} to be at least 1, got 0. Change {name}. Try {name}=3, or {name}='x'."
    assert in_flags(message, TRAIN) == (
        f"Training: expected {flag} to be at least 1, got 0. Change {flag}. Try {flag} 3, or {flag} x."
    )


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in FIELDS.items() for field in fields])
def test_a_field_of_an_object_becomes_the_flag_of_its_setting(kind, field):
    flag = TRAIN[FIELDS[kind][field]][0]
    assert in_flags(f"{kind}: expected {field} to be 1, got 2. Change {field}.", TRAIN) == (
        f"{kind}: expected {flag} to be 1, got 2. Change {flag}."
    )


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Training: the loss became nan. Try learning_rate=0.01.", "Training: the loss became nan. Try --lr 0.01."),
        (
            "device 'cuda:9': 1 CUDA device found. Use device='cpu'.",
            "--device cuda:9: 1 CUDA device found. Use --device cpu.",
        ),
        ("x: y. Give replace_head=True to begin with a new one.", "x: y. Give --replace-head to begin with a new one."),
        ("x: y. Say decay_biases=False.", "x: y. Say --no-decay-biases."),
        ("folder: y, such as image_size=(28, 32).", "folder: y, such as --image-size 28 32."),
        ("Model 'mlp': expected no options, got 'hidden'.", "Model 'mlp': expected no options, got --hidden."),
        (
            "Training: expected no momentum with the optimizer adam.",
            "Training: expected no --momentum with the optimizer adam.",
        ),
    ],
)
def test_what_a_message_advises_can_be_typed(message, expected):
    assert in_flags(message, TRAIN) == expected


@pytest.mark.parametrize(
    "message",
    [
        "Training: the loss became inf in iteration 2, of a model on the device.",
        "/data_dir/batch_size.safetensors: expected the weights of a run, got data that are damaged.",
        "Model 'mlp': expected options of hidden, activation.",
    ],
)
def test_words_that_are_not_settings_stay(message):
    assert in_flags(message, TRAIN) == message


def test_a_program_without_a_setting_keeps_its_name():
    assert in_flags("Try learning_rate=0.1.", {"device": ("--device",)}) == "Try learning_rate=0.1."
    assert in_flags("Try learning_rate=0.1.", {}) == "Try learning_rate=0.1."


def test_the_library_speaks_of_arguments():
    """Outside the command line no message names a flag; experiments and some benchmarks are commands."""
    package = Path(xpnet.__file__).parent
    found = []
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        programs = ("experiments.py", "results_page.py", "provenance.py")
        benchmarks = [
            f"benchmark/{name}.py" for name in ("environment", "estimators", "fit", "folders", "overlap", "ranks")
        ]
        if name.startswith("cli/") or name in (*programs, *benchmarks):
            continue
        for line in path.read_text(encoding="utf-8").splitlines():
            # Compilers, TensorBoard, XLA and Slurm have flags too.
            if re.search(r"(?<![\w-])--[a-z]", line) and not re.search("fmad|--logdir|--xla|--mpi", line):
                found.append(f"{name}: {line.strip()}")  # noqa: PERF401
    assert found == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_program(command):
    assert callable(import_module(f"xpnet.cli.{command.replace('-', '_')}").main)


# Plain words


def printed_by(words, capsys):
    """Exit code, output and errors of a command as ``xpnet`` runs it."""
    try:
        code = xpnet_main(words)
    except SystemExit as ended:
        code = ended.code
    return code, *capsys.readouterr()


@pytest.mark.parametrize("words", [*([command, "--help"] for command in COMMANDS), ["train", "--help-all"]])
def test_help_has_no_word_to_avoid(capsys, words):
    code, text, errors = printed_by(words, capsys)
    assert (code, errors) == (0, "")
    assert text.startswith("usage: ")
    assert AVOIDED.findall(" ".join(text.split())) == []


@pytest.mark.parametrize(
    "words",
    [
        "train --lr -1",
        "train --batch-size 0",
        "train --optimizer adamm",
        "train --optimizer adam --momentum 0.9",
        "train --model mpl",
        "train --data mnits",
        "train --device mps",
        "train --resume nowhere",
        "train --weights nowhere.pth",
        "train --mixup 0.2 --accumulate 2",
        "evaluate nowhere",
        "report nowhere",
        "watch nowhere",
        "search --sampler grdi",
        "search --epochs 0",
        "features nowhere.png --weights nowhere",
        "export nowhere",
        "gradcheck --entries 0",
        "grade nowhere.py",
        "benchmark --models nothing",
        "experiments nothing",
        "compare-optimizers --epochs 0",
        "check-gpu --device cpu",
    ],
)
def test_an_error_is_one_line_without_a_word_to_avoid(capsys, monkeypatch, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    code, _, errors = printed_by(words.split(), capsys)
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert AVOIDED.findall(errors) == []


def test_no_page_and_no_text_in_the_source_has_a_word_to_avoid():
    root = Path(xpnet.__file__).parents[1]
    pages = [*root.glob("*.md"), *(root / "docs").glob("*.md"), *(root / "course").glob("*.md")]
    texts = {path.name: path.read_text(encoding="utf-8") for path in pages}
    for path in (root / "xpnet").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        found = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        texts[str(path.relative_to(root))] = "\n".join(found)
    assert len(pages) > 20
    assert {name: AVOIDED.findall(text) for name, text in texts.items() if AVOIDED.search(text)} == {}
