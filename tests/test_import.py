import subprocess
import sys

import pytest

import xpnet
from xpnet.models.registry import FAMILIES
from xpnet.network import Network


def loaded_by(statement):
    program = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


def test_importing_xpnet_imports_nothing_heavy():
    heavy = {"matplotlib", "rich", "safetensors", "PIL", "pooch", "torch", "jax", "cupy", "array_api_compat.numpy"}
    assert not {*heavy, "onnx", "mpi4py"} & loaded_by("import xpnet")


def test_predicting_imports_neither_data_sets_nor_training():
    assert not {"xpnet.datasets", "xpnet.models", "xpnet.training"} & loaded_by("import xpnet; xpnet.Network")


def test_a_name_costs_nothing_until_it_is_used():
    families = {f"xpnet.models.{family}" for family in FAMILIES}
    assert not families & loaded_by("from xpnet import models; models.names()")
    assert families & loaded_by("from xpnet import models; models.options('unet')") == {"xpnet.models.unet"}


def test_what_is_imported_when_asked_for_is_all_there():
    for name in xpnet.__all__:
        assert name in dir(xpnet)
        assert getattr(xpnet, name) is not None
    assert xpnet.Network is Network
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = xpnet.nothing_of_that_name


def test_training_imports_nothing_of_other_programs():
    others = {"xpnet.benchmark", "xpnet.search", "xpnet.runs.regularization", "torch", "jax", "optuna", "pooch"}
    assert not others & loaded_by("import xpnet.cli.train")


def test_only_the_plots_need_matplotlib():
    assert "matplotlib" not in loaded_by("import xpnet.cli.train, xpnet.cli.evaluate")
    assert "matplotlib" in loaded_by("import xpnet.plots")
