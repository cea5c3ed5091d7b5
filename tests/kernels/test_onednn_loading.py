"""Where oneDNN's library is found, and what is said of one that does not serve."""

import ctypes
import shutil
import site
import subprocess
import sys

import numpy as np
import pytest

from tests.helpers import refused
from tests.kernels import naive
from tests.kernels.test_onednn import SAME, integers
from xpnet import kernels
from xpnet.kernels import onednn_kernels, onednn_library, onednn_loading, onednn_running, table

needs_onednn = pytest.mark.skipif(not onednn_kernels.is_available(), reason="oneDNN is not here")
VERSION = """
struct {{ int v[3]; const char *hash; unsigned cpu; }} v = {{ {{ {0}, 0, 0 }}, "", {1} }};
void *dnnl_version(void) {{ return &v; }}
"""
NO_KERNELS = "int dnnl_get_effective_cpu_isa(void) { return 0; }"
MISSING, OPENMP, TBB, SYCL = "cannot open shared object", 2, 4, 512


def forget_the_library():
    onednn_loading.load.cache_clear()
    onednn_kernels.is_available.cache_clear()
    onednn_running._mine = onednn_running._Mine()


@pytest.fixture
def look_in(monkeypatch):
    """Lets the library be looked for in these places only."""

    def look(*places):
        monkeypatch.setattr(onednn_loading, "places", lambda: list(map(str, places)))
        forget_the_library()

    yield look
    forget_the_library()


def build(path, source, *others):
    if shutil.which("gcc") is None:
        pytest.skip("there is no C compiler")
    path.with_suffix(".c").write_text(source)
    linked = [argument for other in others for argument in (f"-L{path.parent}", f"-l:{other.name}")]
    subprocess.run(
        ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", path.with_suffix(".c"), "-o", path, *linked], check=True
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, MISSING),
        (lambda path: path.write_bytes(b"\x7fELF" + bytes(2000)), "ELF"),
        (lambda path: path.write_text("<html>" * 100), "invalid ELF header"),
        (lambda path: build(path, "int nothing;"), "dnnl_version"),
        (lambda path: build(path, VERSION.format(2, OPENMP)), "version 2.0.0, expected 3"),
        (lambda path: build(path, VERSION.format(3, TBB)), "TBB, expected OpenMP"),
        (lambda path: build(path, VERSION.format(3, SYCL)), "SYCL, expected OpenMP"),
        (lambda path: build(path, VERSION.format(3, OPENMP) + NO_KERNELS), "no kernels for this processor"),
    ],
    ids=["missing", "cut off", "something else", "another library", "too old", "TBB", "SYCL", "another processor"],
)
def test_without_a_library_that_serves_numpys_kernels_do(look_in, tmp_path, caplog, make, reason):
    path = tmp_path / "nowhere-else.so"
    make(path)
    look_in(path)
    caplog.set_level("INFO")
    x, weight = integers(2, 6, 6, 4), integers(4, 3, 3, 4)
    for _ in range(2):
        np.testing.assert_array_equal(kernels.conv2d(x, weight, None, SAME), naive.conv2d(x, weight, SAME))
    (message,) = caplog.messages
    assert reason in message
    assert "\n" not in message
    assert kernels.versions("numpy") == {"oneDNN": "none"}
    with refused("Kernels onednn", reason, 'pip install "xpnet[onednn]"'):
        kernels.use("onednn")


@pytest.mark.parametrize("name", ["prefix", "base_prefix", "user base"])
def test_it_is_looked_for_where_pip_and_conda_put_it(monkeypatch, tmp_path, name):
    """The base prefix is that of the conda environment from which a virtual environment was made."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base_prefix"))
    monkeypatch.setattr(site, "getuserbase", lambda: str(tmp_path / "user base"))
    assert onednn_loading.places() == ["libdnnl.so.3"]  # the system's, if it has one
    library = tmp_path / name / "lib" / "libdnnl.so.3"
    library.parent.mkdir(parents=True)
    library.touch()
    assert onednn_loading.places() == [str(library), "libdnnl.so.3"]


def serving_library():
    return onednn_loading.load().functions._name


@needs_onednn
def test_the_first_that_serves_is_taken(look_in, tmp_path):
    real, other = serving_library(), tmp_path / "with-tbb.so"
    build(other, VERSION.format(3, TBB))
    look_in(tmp_path / "missing.so", other, real)
    assert serving_library() == real
    assert table.find("conv2d", integers(2, 6, 6, 4), integers(4, 3, 3, 4), None, SAME, 1) is onednn_kernels


def test_a_library_finds_those_that_it_needs_beside_it(tmp_path):
    """As Intel's package of oneDNN and that of its OpenMP put them; nothing tells the loader to look there."""
    build(tmp_path / "libneeded.so", "int needed(void) { return 7; }")
    build(tmp_path / "libmain.so", "int needed(void); int called(void) { return needed(); }", tmp_path / "libneeded.so")
    with pytest.raises(OSError, match=MISSING):
        ctypes.CDLL(str(tmp_path / "libmain.so"))
    assert onednn_loading._opened(str(tmp_path / "libmain.so")).called() == 7
    (tmp_path / "damaged.so").write_text("damaged" * 100)
    with pytest.raises(OSError, match="ELF"):
        onednn_loading._opened(str(tmp_path / "damaged.so"))


@needs_onednn
def test_instructions_without_a_name_serve_too(look_in, monkeypatch):
    real = serving_library()
    monkeypatch.setattr(onednn_library, "_INSTRUCTION_SETS", {})
    look_in(real)
    assert kernels.versions("numpy")["oneDNN"].partition(" ")[2].startswith("0x")
    assert table.find("conv2d", integers(2, 6, 6, 4), integers(4, 3, 3, 4), None, SAME, 1) is onednn_kernels


@needs_onednn
def test_it_is_loaded_when_it_first_serves():
    code = """
import numpy as np
from xpnet import kernels
from xpnet.kernels import onednn_kernels, onednn_loading
from xpnet.shapes import Window
print(onednn_loading.load.cache_info().currsize)
kernels.conv2d(np.ones((1, 4, 4, 1), np.float32), np.ones((1, 1, 1, 1), np.float32), None, Window((1, 1)))
print(onednn_loading.load.cache_info().currsize)
"""
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["0", "1"]
