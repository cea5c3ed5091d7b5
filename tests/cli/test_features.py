import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.helpers import refused, torch_named
from xpnet import Network, datasets, models
from xpnet.cli.features import main
from xpnet.cli.train import main as train
from xpnet.models.imagenet import PIXEL_MEAN, PIXEL_SCALE
from xpnet.runs.folder import read_class_names


@pytest.fixture
def digit(tmp_path):
    Image.fromarray(datasets.load("mnist").test_inputs[0, :, :, 0]).save(tmp_path / "digit.png")
    return str(tmp_path / "digit.png")


@pytest.fixture
def photo(tmp_path):
    """Colours, 300 pixels wide and 250 high, bright on the left third and dark on the rest."""
    pixels = np.random.default_rng(0).integers(0, 60, (250, 300, 3), dtype=np.uint8)
    pixels[:, :100] += 190
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def classes_printed(text):
    """Names and percentages of the table of classes."""
    return re.findall(r"^ (\S.*?) +(\d+\.\d+)% $", text, re.MULTILINE)


def test_a_layer_of_a_run(finished_run, digit, tmp_path, capsys):
    run, _ = finished_run
    out = tmp_path / "plot.png"
    assert main([digit, "--weights", str(run), "--layer", "relu1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "relu1: 28 x 28 x 16, from 0 to " in printed
    logits = Network.load(run / "weights.safetensors")(datasets.load("mnist").test_inputs[:1])[0].astype(float)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    best = np.argsort(-probabilities)[:5]
    assert classes_printed(printed) == [(str(index), f"{100 * probabilities[index]:.2f}") for index in best]
    with Image.open(out) as plot:
        assert min(plot.size) > 300


def test_without_a_layer_the_names_are_listed(finished_run, digit, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([digit, "--weights", str(finished_run[0] / "weights.safetensors")]) == 0
    printed = capsys.readouterr().out
    for name in Network.load(finished_run[0] / "weights.safetensors").layer_shapes():
        assert re.search(rf"^ {name} +\d", printed, re.MULTILINE)
    assert not (tmp_path / "features.png").exists()


@pytest.mark.parametrize(
    ("model", "classes", "layer", "shape"),
    [("alexnet", 1000, "features.0", "55 x 55 x 64"), ("resnet50", 4, "layer1.0", "56 x 56 x 256")],
)
def test_torchvisions_weights_with_class_names(tmp_path, photo, capsys, model, classes, layer, shape):
    source = models.create(model, classes=classes, seed=2)
    source.set_normalization(PIXEL_MEAN, PIXEL_SCALE)
    weights, names = tmp_path / "weights.safetensors", tmp_path / "names.txt"
    save_file(torch_named(source), weights)
    names.write_text("".join(f"class {number}\n" for number in range(classes)), encoding="utf-8")
    flags = ["--model", model, "--weights", str(weights), "--class-names", str(names), "--out", str(tmp_path / "a.png")]
    assert main([photo, *flags, "--layer", layer]) == 0
    printed = capsys.readouterr().out
    assert f"{layer}: {shape}, from" in printed
    named = classes_printed(printed)
    assert len(named) == min(classes, 5)
    assert all(name.startswith("class ") for name, _ in named)


def test_torchvisions_classes_have_imagenets_names_where_torchvision_is_installed(
    tmp_path, photo, capsys, monkeypatch, broken
):
    save_file(torch_named(models.create("resnet18", seed=2)), tmp_path / "weights.safetensors")
    flags = ["--model", "resnet18", "--weights", str(tmp_path / "weights.safetensors")]
    numbered = [str(number) for number in range(1000)]

    def printed():
        assert main([photo, *flags]) == 0
        return [name for name, _ in classes_printed(capsys.readouterr().out)]

    names = SimpleNamespace(DEFAULT=SimpleNamespace(meta={"categories": [f"animal {number}" for number in numbered]}))
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", SimpleNamespace(AlexNet_Weights=names))
    named = printed()
    for error in (ImportError("no torchvision"), RuntimeError("operator torchvision::nms does not exist")):
        broken("torchvision.models", error)
        assert [f"animal {number}" for number in printed()] == named


def test_torch_names_with_a_small_stem(tmp_path, photo, capsys):
    source = models.create("resnet18", input_shape=(32, 32, 3), classes=4, stem="small", seed=2)
    save_file(torch_named(source), tmp_path / "weights.safetensors")
    flags = ["--model", "resnet18", "--weights", str(tmp_path / "weights.safetensors"), "--layer", "conv1"]
    assert main([photo, *flags, "--stem", "small", "--out", str(tmp_path / "a.png")]) == 0
    assert "conv1: 224 x 224 x 64" in capsys.readouterr().out
    assert main([photo, *flags]) == 2
    assert "'conv1.weight' is (64, 3, 3, 3) in the file and (64, 3, 7, 7) in the network" in capsys.readouterr().err


@pytest.fixture(scope="module")
def animals(tmp_path_factory):
    """The folder of a run on images of two classes, and one of these images."""
    folder, rng = tmp_path_factory.mktemp("animals"), np.random.default_rng(0)
    for name, low in (("cat [b]", 0), ("dog, wet", 128)):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(low, low + 128, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{number}.png")
    flags = ["--data", "folder", "--data-dir", str(folder / "data"), "--model", "mlp", "--hidden", "8"]
    how = ["--iterations", "60", "--batch-size", "8", "--lr", "0.1", "--no-plots", "--quiet", "--no-malloc-tuning"]
    assert train([*flags, *how, "--out", str(folder / "run")]) == 0
    return folder / "run", str(folder / "data" / "dog, wet" / "0.png")


def test_classes_have_the_names_that_the_run_recorded(animals, capsys):
    run, dog = animals
    assert main([dog, "--weights", str(run)]) == 0
    (first, _), (second, _) = classes_printed(capsys.readouterr().out)
    assert (first, second) == ("dog, wet", "cat [b]")


def test_given_names_win_over_recorded_ones(animals, tmp_path, capsys):
    run, dog = animals
    (tmp_path / "names.txt").write_text("Katze\nHund\n", encoding="utf-8")
    assert main([dog, "--weights", str(run), "--class-names", str(tmp_path / "names.txt")]) == 0
    assert [name for name, _ in classes_printed(capsys.readouterr().out)] == ["Hund", "Katze"]


def test_a_file_of_weights_and_a_run_without_names_have_numbers(animals, tmp_path, capsys):
    run, dog = animals
    old = shutil.copytree(run, tmp_path / "old")
    (old / "classes.txt").unlink()
    network = Network.load(old / "weights.safetensors")
    network.class_names = None
    network.save(old / "weights.safetensors")
    for weights in (old / "weights.safetensors", old):
        assert main([dog, "--weights", str(weights)]) == 0
        assert [name for name, _ in classes_printed(capsys.readouterr().out)] == ["1", "0"]


def test_a_file_of_weights_knows_its_classes(animals, capsys):
    run, dog = animals
    assert main([dog, "--weights", str(run / "weights.safetensors")]) == 0
    assert [name for name, _ in classes_printed(capsys.readouterr().out)] == ["dog, wet", "cat [b]"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n", "(1 lines). Correct it."),
        (b"cat\n\xff\n", "('utf-8' codec can't decode byte 0xff in position 4: invalid start byte). Correct it."),
        (b"cat\n\x1b[2Jdog\n", r"(a name that cannot be printed, '\x1b[2Jdog'). Correct it."),
        (b"cat\n" + b"dog" * 400_000, "(more than 1,048,576 characters). Correct it."),
    ],
)
def test_damaged_names_of_a_run_are_refused(animals, tmp_path, capsys, content, message):
    run, dog = animals
    damaged = shutil.copytree(run, tmp_path / "damaged")
    (damaged / "classes.txt").write_bytes(content)
    assert main([dog, "--weights", str(damaged)]) == 2
    printed, error = capsys.readouterr()
    assert printed == ""
    expected = "expected the names of 2 classes, one on each line, got something else"
    assert error == f"error: {damaged / 'classes.txt'}: {expected} {message}\n"


def test_of_a_file_that_is_too_long_no_more_is_read_than_is_allowed(tmp_path):
    with open(tmp_path / "names.txt", "wb") as file:
        file.truncate(100_000_000)
    tracemalloc.start()
    try:
        with refused("(more than 1,048,576 characters)."):
            read_class_names(tmp_path / "names.txt", 2)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20_000_000


@pytest.mark.parametrize(("pad", "bright", "black"), [([], 75 / 250, 0), (["--pad"], 1 / 3, 1 / 6)])
def test_images_of_another_shape_are_cropped_or_padded(photo, finished_run, tmp_path, monkeypatch, pad, bright, black):
    seen = []
    features = Network.features
    monkeypatch.setattr(
        Network, "features", lambda self, images, name: seen.append(images) or features(self, images, name)
    )
    flags = ["--weights", str(finished_run[0]), "--layer", "conv1", "--out", str(tmp_path / "a.png")]
    assert main([photo, *flags, *pad]) == 0
    ((image,),) = seen
    assert image.shape == (28, 28, 1)
    # Of 300 columns the middle 250 remain, or all of them between black rows.
    assert np.mean(image[14, :, 0] > 120) == pytest.approx(bright, abs=0.04)
    assert np.mean(image[:, 20, 0] < 5) == pytest.approx(black, abs=0.04)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layer", "relu9"], "Did you mean 'relu2'?"),
        (["--layer", "conv1", "--out", "a"], "Plot a: expected a name that ends in .png, .pdf or .svg, got ''."),
        (["--layer", "conv1", "--out", "a.xyz"], "expected a name that ends in .png, .pdf or .svg, got '.xyz'."),
        (
            ["--layer", "conv1", "--out", "/dev/null/a.png"],
            "Plot /dev/null/a.png: expected /dev/null to be a folder, found a file",
        ),
        (["--class-names", "nowhere.txt"], "nowhere.txt: expected the names of 10 classes, one on each line, got"),
        (["--class-names", __file__], "expected the names of 10 classes, one on each line, got"),
        (
            ["--weights", "nowhere.safetensors"],
            "Weights file nowhere.safetensors: expected a .pth or .safetensors file, found",
        ),
        (["--weights", __file__], "expected --model, since xpnet did not save it"),
        (["--weights", __file__, "--model", "alexnett"], "Did you mean 'alexnet'?"),
    ],
)
def test_bad_input_gives_one_line_and_exit_code_2(finished_run, digit, capsys, flags, message):
    assert main([digit, "--weights", str(finished_run[0]), *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("where", ["IMAGE", "--weights", "--class-names"])
def test_a_pipe_is_refused_and_not_waited_for(finished_run, digit, tmp_path, where):
    os.mkfifo(tmp_path / "pipe")
    given = {"IMAGE": digit, "--weights": finished_run[0], "--class-names": "names.txt", where: tmp_path / "pipe"}
    image = given.pop("IMAGE")
    command = [sys.executable, "-c", "import sys; from xpnet.cli.features import main; sys.exit(main())", image]
    words = [str(word) for pair in given.items() for word in pair]
    ended = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60)
    message = f"error: {where} {tmp_path / 'pipe'}: expected a file, got a pipe or a device."
    assert ended.returncode == 2
    assert ended.stderr.startswith(message)
    assert ended.stderr.count("\n") == 1


def test_what_is_no_image_is_bad_input(finished_run, capsys):
    assert main([__file__, "--weights", str(finished_run[0])]) == 2
    assert "expected a readable PNG or JPEG file" in capsys.readouterr().err
