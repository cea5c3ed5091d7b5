import subprocess
import sys


def loaded_by(statement):
    program = f"import sys; {statement}; print(*sys.modules)"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


def test_importing_xpnet_imports_nothing_heavy():
    heavy = {"matplotlib", "rich", "safetensors", "PIL", "pooch", "torch", "jax", "cupy", "array_api_compat.numpy"}
    assert not heavy & loaded_by("import xpnet")


def test_training_imports_nothing_of_other_programs():
    others = {"xpnet.benchmark", "xpnet.search", "xpnet.runs.regularization", "torch", "jax", "optuna", "pooch"}
    assert not others & loaded_by("import xpnet.cli.train")


def test_only_the_plots_need_matplotlib():
    assert "matplotlib" not in loaded_by("import xpnet.cli.train, xpnet.cli.evaluate")
    assert "matplotlib" in loaded_by("import xpnet.plots")
