"""Builds the emulated device into a folder."""

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
CUPY_VERSIONS = ("14.0.0", "14.2.0")  # that all of this was tried with
HEADERS = "nvidia-cuda-runtime==13.0.96"  # CUDA's runtime, of which the headers are used
# Half of the time that a short run takes goes into compiling kernels. An index outside of an array whose size the
# compiler knows ends a kernel.
KERNEL_FLAGS = (
    "-O1 -fPIC -w -fexpensive-optimizations -mf16c -mfma -fno-exceptions -fno-rtti -fno-threadsafe-statics "
    "-fno-strict-aliasing -fno-stack-protector -U_FORTIFY_SOURCE -fsanitize=bounds -fsanitize-undefined-trap-on-error"
)
HOST_FLAGS = "-O2 -fPIC -std=c++17 -mf16c -Wall -Wno-clobbered -U_FORTIFY_SOURCE -shared"
ALIASES = ("libcudart.so.13", "libnvrtc.so.13", "libcublasLt.so.13", "libnvJitLink.so.13")  # of libcuda.so.1
# Libraries of which only the names must be there, and the modules of CuPy that need them.
LIBRARIES = {
    "libcublas.so.13": ["cupy_backends/cuda/libs/cublas"],
    "libcurand.so.10": ["cupy_backends/cuda/libs/curand"],
    "libcusolver.so.12": ["cupy_backends/cuda/libs/cusolver", "cupyx/_cusolver"],
    "libcusparse.so.12": ["cupy_backends/cuda/libs/cusparse"],
    "libcufft.so.12": ["cupy/cuda/cufft"],
}


class MissingError(Exception):
    """What the emulated device cannot be built or used without: one line for people."""


def surroundings() -> dict[str, str]:
    """What a built device is good for: this Python, CuPy and these sources. Raises MissingError where it cannot be."""
    if sys.platform != "linux" or not Path("/proc/cpuinfo").read_text().count("f16c"):
        raise MissingError("expected Linux on an x86-64 processor with F16C and FMA. Use such a machine.")
    if not shutil.which("g++"):
        raise MissingError("expected the C++ compiler g++, got none. Install it (Debian: apt install g++).")
    try:
        cupy = importlib.metadata.version("cupy-cuda13x")
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingError(
            f"expected CuPy for CUDA 13, got none in {sys.prefix}. pip install cupy-cuda13x=={CUPY_VERSIONS[-1]}"
        ) from error
    if cupy not in CUPY_VERSIONS:
        raise MissingError(
            f"expected CuPy {' or '.join(CUPY_VERSIONS)}, which this was tried with, got {cupy}. "
            "Install one of those, or try it and add it to CUPY_VERSIONS."
        )
    return {"python": sys.prefix, "cupy": cupy, "sources": _digest(HERE), "kernels": _digest(HERE / "include")}


def _digest(folder: Path) -> str:
    """Of everything in a folder that something is built of."""
    sources = [path for path in sorted(folder.rglob("*")) if path.suffix in (".cpp", ".h", ".cuh")]
    sources += [HERE / name for name in ("build.py", "hook.py", "thrust.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def build(folder: Path) -> None:
    """Build everything. Raises MissingError where something is missing."""
    needs = surroundings()
    site = Path(find_spec("cupy_backends").submodule_search_locations[0]).parent
    try:
        is_cache_good = _built(folder).get("kernels") == needs["kernels"]
        for part in ("lib64", "include", "python", "headers", *([] if is_cache_good else ["kernels"])):
            shutil.rmtree(folder / part, ignore_errors=True)
        lib, headers = folder / "lib64", folder / "headers"
        lib.mkdir(parents=True)
        _download_headers(headers)
        _build_device(lib, headers)
        _build_libraries(lib, site)
        _install_headers(folder, site)
        (folder / "python").mkdir()
        shutil.copy(HERE / "hook.py", folder / "python" / "sitecustomize.py")
        shutil.copy(HERE / "thrust.py", folder / "python")
        shutil.rmtree(headers)
        (folder / "surroundings.json").write_text(json.dumps(needs))
    except OSError as error:
        raise MissingError(f"{folder} cannot be written: {error.strerror}. Choose another folder.") from error


def check(folder: Path) -> None:
    """Raise MissingError unless a folder holds a device that was built for these surroundings."""
    built = _built(folder)
    if not built:
        raise MissingError(f"{folder} holds no emulated device. Build it: {_command('build', folder)}")
    for name, value in surroundings().items():
        if built.get(name) != value:
            raise MissingError(
                f"{folder} was built for another {name}: {built.get(name)}, not {value}. "
                f"Build it again: {_command('build', folder)}"
            )


def _built(folder: Path) -> dict[str, str]:
    """What the device in a folder was built for; nothing where there is none."""
    try:
        return json.loads((folder / "surroundings.json").read_text())
    except (OSError, ValueError):
        return {}


def _command(verb: str, folder: Path) -> str:
    return f"python -m tests.emulated_cuda {verb} {folder}"


def _download_headers(folder: Path) -> None:
    _run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", HEADERS, "-d", folder)
    _run(sys.executable, "-m", "zipfile", "-e", next(folder.glob("*.whl")), folder)


def _build_device(lib: Path, headers: Path) -> None:
    sources = sorted(set((HERE / "source").glob("*.cpp")) - {HERE / "source" / "cublas.cpp"})
    include = headers / "nvidia/cu13/include"
    _library("libcuda.so.1", lib, ["-I", include, "-I", HERE, *sources, "-ldl", "-lpthread"])
    for name in ALIASES:
        _library(name, lib, ["-xc++", "/dev/null", "-xnone"])


def _build_libraries(lib: Path, site: Path) -> None:
    """cuBLAS, and libraries whose every function says its name and fails."""
    written = set(re.findall(r"^API \w+ (cublas\w+)\(", (HERE / "source/cublas.cpp").read_text(), re.M))
    for name, modules in LIBRARIES.items():
        prefix = name.removeprefix("lib").partition(".")[0]
        files = [file for module in modules for file in site.glob(f"{module}.*.so")]  # not all are in every CuPy
        tables = [_run("nm", "-D", "--undefined-only", file) for file in files]
        needed = {function for table in tables for function in re.findall(rf"\b({prefix}[A-Z]\w+)", table)}
        lines = [f'#include "{HERE}/source/cublas.cpp"'] if prefix == "cublas" else [
            '#define API extern "C" __attribute__((visibility("default")))',
            'extern "C" int emulated_unsupported(const char*);',
        ]  # fmt: skip
        lines += [f'API int {f}() {{ emulated_unsupported("{f}"); return 15; }}' for f in sorted(needed - written)]
        source, versions = lib / f"{name}.cpp", lib / f"{name}.map"
        source.write_text("\n".join(lines) + "\n")
        versions.write_text(f"{name} {{ global: *; }};\n")
        _library(name, lib, [source, f"-Wl,--version-script={versions}", "-ldl"])


def _install_headers(folder: Path, site: Path) -> None:
    shutil.copytree(HERE / "include", folder / "include")
    (folder / "flags").write_text(KERNEL_FLAGS)
    header = folder / "include/kernels.h"
    includes = ["-I", folder / "include", "-I", site / "cupy/_core/include"]
    _run("g++", *KERNEL_FLAGS.split(), "-std=c++17", *includes, "-xc++-header", header, "-o", f"{header}.gch")


def _library(name: str, lib: Path, arguments: list) -> None:
    device = (
        [] if name == "libcuda.so.1" else ["-Wl,--no-as-needed", "-L", lib, "-l:libcuda.so.1", "-Wl,-rpath,$ORIGIN"]
    )
    _run("g++", *HOST_FLAGS.split(), f"-Wl,-soname,{name}", "-o", lib / name, *arguments, *device)


def _run(*command: object) -> str:
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "rror" in line), "no message")
        raise MissingError(f"`{' '.join(words)}` failed: {said.strip()}")
    return done.stdout
