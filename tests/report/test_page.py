"""The page: what it says, and that whatever a folder holds is text on it."""

import re
from itertools import pairwise

import numpy as np
import pytest

from tests.report.folders import LAYERS, line, make_folder, make_view
from tests.report.html import Page
from xpnet import layers, metrics, models
from xpnet.datasets import Dataset
from xpnet.errors import InputError
from xpnet.network import Network
from xpnet.report import page
from xpnet.report.findings import Findings
from xpnet.report.run import State, read_run, titles
from xpnet.report.start import LayerWork
from xpnet.report.view import RunView
from xpnet.runs.folder import RunFolder

MARKUP = "<script>alert(1)</script>'\"><img src=x onerror=alert(2)>&amp;"
STRANGE = "\x1b[31m\u202ecba\udcff\x00"


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "first")


def sections(content):
    return re.findall(r'<section id="(\w+)"', content)


def test_a_finished_run_has_its_sections_and_numbers(folder):
    content = page.render([make_view(folder, command="xpnet train --lr 0.1 'a b'")])
    shown = Page(content)
    assert sections(content) == [
        *("results", "curves", "confusion", "classes", "calibration", "layers", "settings", "timing", "versions")
    ]
    result = read_run(folder, State.FINISHED).results
    for text in (  # 28*28*16 values of 4 bytes are 50.2 kB
        "xpnet train --lr 0.1 'a b'",
        "mnist_starter on mnist",
        f"{result.test_accuracy:.2%}",
        f"{result.calibration.error:.2%}",
        f"{metrics.recall(result.confusion)[1]:.2%}",
        *("627,200", "8,266", "1,600", "3.11.7", "conv1", "28 x 28 x 16", "50.2 kB", "bee"),
    ):
        assert text in shown.text


def test_layers_and_memory_by_hand(folder):
    folder.metrics_path.unlink()
    folder.path.joinpath("summary.json").unlink()
    text = " ".join(Page(page.render([make_view(folder)])).text.split())
    assert "total 8,266 642,880 50.2 kB" in text  # 2*(313,600 + 7,840); (28*28*16 + 10)*4 bytes
    assert "The parameters take 33.1 kB, the outputs of a batch of 16 examples 803.5 kB." in text


def test_sections_for_what_a_run_lacks_are_left_out(tmp_path):
    begun = make_folder(tmp_path / "begun", lines=[], is_over=False)
    content = page.render([RunView(read_run(begun, State.RUNNING), "", "begun")])
    assert sections(content) == ["results", "layers", "settings", "versions"]
    begun.path.joinpath("start.json").unlink()
    content = page.render([RunView(read_run(begun, State.RUNNING), "", "begun")])
    assert sections(content) == ["results", "settings"]
    assert sections(page.render([])) == []


def test_accuracies_are_in_percent_wherever_they_are(tmp_path):
    folder = make_folder(tmp_path / "run", lines=[line(10, validation_accuracy=0.9385)])
    content = page.render([make_view(folder), make_view(folder, "second")])
    assert content.count("validation accuracy ends at 93.85%") == 4  # as a caption and for those who cannot see
    assert "Training loss and validation accuracy of first, second" in content
    assert "0.9385" not in content


def test_a_run_with_real_targets_has_r2_and_no_classes(tmp_path):
    real = [re.sub("accuracy", "r2", line(iteration)) for iteration in (10, 20)]
    folder = make_folder(tmp_path / "real", lines=real, is_over=False)
    folder.write_json("summary.json", {"test_accuracy": 0.5})
    content = page.render([make_view(folder)])
    assert "training r2" in Page(content).text
    assert "the validation r2 ends at 0.97." in content
    assert not {"confusion", "classes", "calibration"} & set(sections(content))


def test_the_same_folder_gives_the_same_bytes(folder):
    assert page.render([make_view(folder)]) == page.render([make_view(folder)])
    page.write(folder, [make_view(folder)])
    assert (folder.path / "report.html").read_text(encoding="utf-8") == page.render([make_view(folder)])


def test_several_runs_stand_side_by_side_and_what_differs_is_marked(tmp_path, folder):
    other = make_folder(tmp_path / "second", learning_rate=0.25, versions={"xpnet": "0.2.0", "python": "3.11.7"})
    content = page.render([make_view(folder), make_view(other, "second")])
    marked = re.findall(r'<tr class="differs"><th scope="row">([^<]*\S)\s*<span title="differs">≠', content)
    assert marked == ["learning rate", "xpnet"]
    assert re.search(r"learning rate <span.*</span></th><td>[^<]*</td><td>0.25</td></tr>", content)
    shown = Page(content)
    assert (1, "2 runs") in shown.headings
    assert shown.headings.count((3, "second")) == shown.headings.count((3, "first")) == 4  # of curves, confusion, ...
    assert content.count("dense1</th>") == 1  # the same layers are listed once


def test_what_differs_is_marked_among_results_and_timing_too(tmp_path, folder):
    faster = make_folder(tmp_path / "faster", lines=[line(10, seconds=0.25)])
    faster.write_json("summary.json", faster.read_json("summary.json") | {"test_accuracy": 0.125})
    content = page.render([make_view(folder), make_view(faster)])
    marked = re.findall(r'<tr class="differs"><th scope="row">([^<]*\S) <span', content)
    assert {"test accuracy", "iterations", "training, seconds"} <= set(marked)
    assert "test loss" not in marked


def test_headings_are_in_order_and_pictures_have_texts_and_ids_of_their_own(tmp_path, folder):
    other = make_folder(tmp_path / "second")
    shown = Page(page.render([make_view(folder), make_view(other, "second")]))
    levels = [level for level, _ in shown.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    pictures = shown.all("svg")
    assert len(pictures) == 9
    assert all(picture["role"] == "img" and len(picture["aria-label"]) > 20 for picture in pictures)
    ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:url\(|href=")#([^)"]*)', page.render([make_view(folder)]))
    assert targets
    assert set(targets) <= set(ids)


def test_the_page_needs_no_network_and_no_script(folder):
    content = page.render([make_view(folder)])
    shown = Page(content)
    assert not shown.all("script") + shown.all("iframe")
    assert "@import" not in content
    for _, attributes in shown.elements:
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:"))


def test_whatever_a_folder_holds_is_text_on_the_page(tmp_path):
    text = MARKUP + STRANGE
    name = text.replace("/", "").replace("\x00", "")  # as a folder can be called
    layers = [LayerWork(text, text, (3,), 1, 2), *LAYERS]
    names = tuple(f"{MARKUP}{i}" for i in range(3))
    folder = make_folder(tmp_path / "harmless", names=names, layers=layers, versions={text: text}, freeze=(text,))
    folder.metrics_path.write_text(f"{line(1)}\n{MARKUP}\n")
    folder = RunFolder(folder.path.rename(tmp_path / name))
    view = make_view(folder, name, f"xpnet train {text}")
    view.findings = findings_of(names)
    other = RunView(read_run(folder, State.RUNNING), "", f"2{name}")
    content = page.render([view, other])
    assert content.encode()
    shown = Page(content)
    assert not shown.all("script") + shown.all("img")
    assert not [name for _, attributes in shown.elements for name in attributes if name.startswith("on")]
    assert all(char.isprintable() or char == "\n" for char in content)
    assert shown.text.count(MARKUP) > 8
    assert "1 lines are not records" in shown.text


def findings_of(names):
    """What a network of three classes that has learned nothing makes of noise."""
    images = np.random.default_rng(0).integers(0, 255, (60, 28, 28, 1), dtype=np.uint8)
    labels = np.arange(60) % 3
    data = Dataset("noise", images, labels, images, labels, names)
    network = models.create("mnist_starter", classes=3)
    return Findings(network, data, network.evaluate(data))


def test_misclassified_images_and_filters_of_a_network(tmp_path):
    view = make_view(make_folder(tmp_path / "run", lines=[], is_over=False))
    view.findings = findings_of(("ant", "bee", "cat"))
    content = page.render([view])
    assert {"mistakes", "filters", "confusion", "calibration"} <= set(sections(content))
    evaluation = view.findings.evaluation
    wrong = (evaluation.probabilities.argmax(axis=1) != evaluation.targets).sum()
    assert f"{wrong} of 60 test images are misclassified. The surest: " in content
    assert "16 filters" in content
    vectors = Dataset("vectors", np.zeros((3, 5)), np.arange(3), np.zeros((3, 5)), np.arange(3))
    assert view.findings._replace(dataset=vectors).mistakes is None


def test_pixels_with_classes_are_shown_in_place_of_misclassified_images(tmp_path):
    rng = np.random.default_rng(0)
    images, classes = rng.integers(0, 256, (6, 8, 8, 3), np.uint8), rng.integers(0, 3, (6, 8, 8), np.int32)
    data = Dataset("drawn", images, classes, images, classes, ("ant", "bee", "cat"))
    network = Network(layers.Conv2D(3, 1), (8, 8, 3), seed=0)
    view = make_view(make_folder(tmp_path / "run", lines=[], is_over=False))
    view.findings = Findings(network, data, network.evaluate(data))
    content = page.render([view])
    assert "pixels" in sections(content)
    assert "mistakes" not in sections(content)
    assert f"{view.findings.evaluation.accuracy:.2%} are right" in content


def test_titles_tell_runs_apart(tmp_path):
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "other"]
    folders = [make_folder(path, lines=[], is_over=False) for path in paths]
    assert titles(folders[1:]) == ["run", "other"]
    assert titles(folders) == [str(path.relative_to(tmp_path)) for path in paths]


def test_a_report_that_cannot_be_written_is_one_line(folder):
    folder.path.joinpath("report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html"):
        page.write(folder, [make_view(folder)])
