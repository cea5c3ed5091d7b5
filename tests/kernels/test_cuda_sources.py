"""The CUDA sources compile, with warnings as errors, for GPUs that are not here."""

import shutil
import subprocess
from pathlib import Path

import pytest

from xpnet import kernels

SOURCES = sorted((Path(kernels.__file__).parent / "cuda").glob("*.cu"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("architecture", [80, 90])
def test_the_sources_compile_with_nvcc(source, architecture, tmp_path):
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not here")
    flags = [f"-arch=sm_{architecture}", "-std=c++17", "--fmad=false", "-Werror", "all-warnings", "-cubin"]
    subprocess.run(["nvcc", *flags, "-o", tmp_path / "out", source], check=True)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
@pytest.mark.parametrize("architecture", [80, 90])
def test_the_sources_compile_with_nvrtc(source, architecture):
    """CuPy's compiler, which needs no GPU; it knows fewer names than nvcc."""
    nvrtc = pytest.importorskip("cupy_backends.cuda.libs.nvrtc")
    program = nvrtc.createProgram(source.read_text(encoding="utf-8"), source.name, [], [])
    nvrtc.compileProgram(
        program, [f"-arch=sm_{architecture}", "-std=c++17", "--fmad=false", "-ftz=true", f"-I{source.parent}"]
    )
    assert nvrtc.getCUBIN(program)
    assert nvrtc.getProgramLog(program).strip("\0\n") == ""


def test_every_source_is_found():
    assert [path.stem for path in SOURCES] == [
        "augment",
        "batch_norm",
        "channel_sum",
        "cross_entropy",
        "max_pool",
        "optimizers",
        "patches",
    ]
