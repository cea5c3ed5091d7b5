import subprocess
from types import SimpleNamespace

import pytest

from xpnet.benchmark import environment


@pytest.fixture
def two_gpus(monkeypatch):
    """CuPy and nvidia-smi, which number the GPUs of this machine in opposite order."""
    runtime = SimpleNamespace(deviceGetPCIBusId=lambda number: f"0000:0{number}:00.0")
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    monkeypatch.setattr(environment, "import_module", {"cupy": cupy}.__getitem__)
    gpus = {"0000:01:00.0": "NVIDIA A100, 580.65\n", "0000:00:00.0": "NVIDIA H200, 580.65\n"}

    def run(command, **settings):
        chosen = [word.removeprefix("--id=") for word in command if word.startswith("--id=")]
        return SimpleNamespace(stdout="".join(gpus[address] for address in chosen or gpus))

    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize(("device", "gpu"), [("cuda:0", "NVIDIA H200, 580.65"), ("cuda:1", "NVIDIA A100, 580.65")])
def test_the_gpu_is_the_one_that_is_measured(two_gpus, device, gpu):
    assert environment.describe(device, 1)["gpu"] == gpu


def test_a_machine_without_nvidia_smi_has_an_unnamed_gpu(two_gpus, monkeypatch):
    def missing(command, **settings):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", missing)
    assert environment.describe("cuda:0", 1)["gpu"] is None
    assert environment.describe("cpu", 1)["gpu"] is None


def test_cudnn_is_named_whatever_cuda_it_is_for(monkeypatch):
    monkeypatch.setattr(environment, "version", lambda name: "9.28")
    assert {"nvidia-cudnn-cu12", "nvidia-cudnn-cu13"} <= environment.describe("cpu", 1)["versions"].keys()


def test_the_code_that_was_measured_is_named(monkeypatch):
    monkeypatch.setattr(environment, "code_version", lambda: "0123abc-dirty")
    assert environment.describe("cpu", 1)["code"] == "0123abc-dirty"
