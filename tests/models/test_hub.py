"""Weights by name, from a server on this machine that answers as the hub does."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pooch
import pytest

from tests.helpers import refused, torch_named
from tests.models.conftest import MEAN, STD
from xpnet import models
from xpnet.cli import train
from xpnet.errors import printable
from xpnet.models.hub import find, is_remote
from xpnet.models.timm_names import timm_name

MODEL, NAME = "mobilenet_v2", "hf:somebody/net"
SMALL = (32, 32, 3)
OTHER_FORMS = ("", "somebody", "somebody/net/main", "a--b/c", "../..", "timm/..", "-a/b", "a/b.git", "a/-b")


@pytest.fixture(scope="module")
def source():
    return models.create(MODEL, input_shape=SMALL, classes=7, seed=1)


@pytest.fixture(scope="module")
def tensors(source):
    return torch_named(source, partial(timm_name, MODEL))


@pytest.fixture
def published(hub, tensors):
    hub.add("somebody/net", tensors, architecture="mobilenetv2_100")
    return hub


def assert_has_come(network, source):
    np.testing.assert_array_equal(network.theta, source.theta)
    np.testing.assert_allclose(network.state["normalize1"]["mean"], 255 * np.array(MEAN))
    np.testing.assert_allclose(network.state["normalize1"]["scale"], 1 / (255 * np.array(STD)), rtol=1e-6)


def test_a_network_by_name_comes_with_its_classes_and_pixels(published, source):
    network = models.load_weights(NAME)
    assert network.output_shape == (7,)
    assert_has_come(network, source)
    assert len(published.downloads) == 2
    models.load_weights(NAME, MODEL)
    assert len(published.downloads) == 2  # from the cache


def test_a_network_that_is_there_takes_them_over(published, source):
    network = models.create(MODEL, input_shape=(48, 32, 3), classes=3)
    before = network.parameters()["classifier.1.weight"]
    models.start_from(network, NAME, replace_head=True)
    after = network.parameters()
    np.testing.assert_array_equal(after["features.0.0.weight"], source.parameters()["features.0.0.weight"])
    np.testing.assert_array_equal(after["classifier.1.weight"], before)
    with refused("'classifier.weight' is (7, 1280) in the file and (3, 1280) in the network", "replace_head=True"):
        models.start_from(network, NAME)


def test_an_unknown_model_is_refused_before_anything_is_downloaded(published):
    with refused("Model: expected one of", "got 'mobilenet_v3'", "Did you mean 'mobilenet_v2'?"):
        models.load_weights(NAME, "mobilenet_v3")
    assert published.downloads == []


def test_fine_tuning_by_name(published, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for kind in ("cat", "dog"):
            (tmp_path / part / kind).mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / kind / f"{number}.png")
    flags = ["--data", "folder", "--data-dir", str(tmp_path), "--iterations", "2", "--batch-size", "3", "--no-plots"]
    run = tmp_path / "run"
    code = train.main(["--model", MODEL, "--weights", NAME, "--replace-head", *flags, "--out", str(run)])
    assert code == 0
    assert json.loads((run / "config.json").read_text())["weights"] == NAME


def test_the_hub_that_the_environment_names(published, tmp_path):
    program = "from xpnet import models\nprint(models.load_weights('hf:somebody/net').output_shape)"
    environment = {
        **os.environ,
        "HF_ENDPOINT": published.url,
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "(7,)\n"


@pytest.mark.parametrize(
    ("name", "config", "parts"),
    [
        ("hf:nobody/net", {}, ["expected a repository of the Hugging Face Hub, got none of this name"]),
        *((f"hf:{form}", {}, [f"expected hf:OWNER/NAME, got '{form}'. "]) for form in OTHER_FORMS),
        ("hf:somebody/n\net", {}, ["expected hf:OWNER/NAME, got "]),
        (f"hf:{'a' * 100}/net", {}, ["expected hf:OWNER/NAME, got 'aaa"]),
        (NAME, {"architecture": "efficientnet_b0"}, ["expected one of timm's architectures", "got 'efficientnet_b0'"]),
        (NAME, {"architecture": None, "architectures": ["BertModel"]}, ["timm's architectures", "got ['BertModel']"]),
        (NAME, {"architecture": "resnet50"}, ["expected weights of the model mobilenet_v2, got those of resnet50"]),
        (NAME, {"pretrained_cfg": {"mean": MEAN}}, ["expected mean and std of the pixels in config.json"]),
        (NAME, {"pretrained_cfg": {"mean": MEAN, "std": [0, 1, 1]}}, ["expected mean and std of the pixels"]),
        (NAME, {"pretrained_cfg": 7}, ["expected mean and std of the pixels"]),
    ],
)
def test_what_is_not_there_or_not_ours_is_refused(hub, name, config, parts):
    hub.add("somebody/net", {}, **{"architecture": "mobilenetv2_100", **config})
    with refused(f"Weights {printable(name)}: ", *parts):
        models.load_weights(name, MODEL)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b"{}" + b" " * (1 << 20)])
def test_damaged_settings_are_refused(hub, content):
    hub.repositories["somebody/net"] = {"config.json": content}
    with refused(f"Weights {NAME}", "config.json to hold settings", "got something else"):
        find(NAME)


def test_a_repository_without_weights_is_refused(published):
    del published.repositories["somebody/net"]["model.safetensors"]
    with refused(f"Weights {NAME}", "a repository with model.safetensors", "got one without"):
        find(NAME)


def test_a_file_that_is_not_what_was_promised_is_refused(published):
    whole = published.repositories["somebody/net"]["model.safetensors"]
    published.served["model.safetensors"] = whole[:-1] + bytes([whole[-1] ^ 1])
    with refused(f"Weights {NAME}", f"the SHA-256 {hashlib.sha256(whole).hexdigest()}, got", "Remove "):
        find(NAME)


def test_a_file_that_ends_early_is_refused(published, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    published.served["model.safetensors"] = published.repositories["somebody/net"]["model.safetensors"][:-9]
    with refused(f"Weights {NAME}", "to download model.safetensors", "got an error ("):
        find(NAME)


@pytest.mark.parametrize("is_offline", [True, False])
def test_without_a_connection(hub, monkeypatch, is_offline):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr(type(hub), "url", "http://127.0.0.1:9")
    told = []
    monkeypatch.setattr(
        logging.getLogger("huggingface_hub"), "handlers", [SimpleNamespace(level=0, handle=told.append)]
    )
    with refused(f"Weights {NAME}", "to download config.json", "got no connection"):
        find(NAME)
    assert told == []


OFFLINE = """
import time
time.sleep = lambda seconds: None
from xpnet import models
try:
    models.load_weights("hf:somebody/net")
except ValueError as error:
    print(error)
"""


def test_without_a_connection_in_a_process_of_its_own(tmp_path):
    """The hub sets up its logger when its function is first looked up."""
    pytest.importorskip("huggingface_hub")
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=True)
    assert "to download config.json, got no connection" in done.stdout
    assert done.stderr == ""


def test_offline_with_the_files_in_the_cache(published, source, monkeypatch):
    find(NAME)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert_has_come(models.load_weights(NAME), source)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with refused(
        f"Weights {NAME}: huggingface_hub, which downloads them, is not installed.", 'pip install "xpnet[hub]"'
    ):
        find(NAME)


# By URL


def publish(hub, monkeypatch, tmp_path, content, digits):
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache")
    monkeypatch.setattr("xpnet.models.hub.WEB", "http://")
    name = f"net-{digits}.safetensors"
    hub.files[name] = content
    return f"{hub.url}/{name}"


def test_by_a_url_whose_hash_is_checked(hub, monkeypatch, tmp_path):
    from safetensors.numpy import save

    source = models.create("googlenet", input_shape=SMALL, classes=4, seed=2)
    content = save({**torch_named(source), "aux1.fc1.weight": np.ones((3, 2), np.float32)})
    url = publish(hub, monkeypatch, tmp_path, content, hashlib.sha256(content).hexdigest()[:8])
    for _ in range(2):
        network = models.load_weights(url, "googlenet")
    np.testing.assert_array_equal(network.theta, source.theta)
    np.testing.assert_allclose(network.state["normalize1"]["mean"], 127.5)
    assert len(hub.downloads) == 1
    with refused("the name of their model, since xpnet did not save them", "got none"):
        models.load_weights(url)


def test_a_url_whose_file_is_another(hub, monkeypatch, tmp_path):
    url = publish(hub, monkeypatch, tmp_path, b"changed", "01234567")
    with refused("weights", "to download net-01234567.safetensors, got: a file without the SHA-256 01234567."):
        find(url)
    assert not list(tmp_path.rglob("net-*"))
    with refused("expected to download net-76543210.pth, got: 404"):
        find(f"{hub.url}/net-76543210.pth")
    with refused(f"Weights {hub.url}/net.pth", "a file name that ends in the first digits of its SHA-256"):
        find(f"{hub.url}/net.pth")


def test_paths_are_not_names(tmp_path):
    assert not is_remote(tmp_path)
    assert not is_remote("hf/net.safetensors")
    assert not is_remote("http://example.org/net-01234567.pth")
    assert is_remote("https://example.org/net-01234567.pth")
    assert find(tmp_path / "net.pth").path == tmp_path / "net.pth"
