"""Lets an import of CuPy find the emulated device: the builder installs this file as ``sitecustomize``.

Python imports it at its start. It does nothing but watch for CuPy. When a module of CuPy is imported that has the CUDA
runtime linked in, the functions ``cuda*`` inside of it are made to jump to the emulation's.
"""

import ctypes
import importlib.machinery
import importlib.util
import os
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

TOOLKIT = Path(__file__).resolve().parent.parent
# Modules with the runtime, and a function of each that can be looked up.
WITH_RUNTIME = {
    "cupy_backends.cuda.api.runtime": "PyInit_runtime",
    "cupy.cuda.cub": "PyInit_cub",
    "cupy.cuda.jitify": "PyInit_jitify",
    "cupy.random._generator_api": "PyInit__generator_api",
}
LIBRARIES = (
    "libcuda.so.1",
    "libcudart.so.13",
    "libnvrtc.so.13",
    "libnvJitLink.so.13",
    "libcublasLt.so.13",
    "libcublas.so.13",
    "libcurand.so.10",
    "libcusparse.so.12",
    "libcusolver.so.12",
    "libcufft.so.12",
)
_loaded: list[ctypes.CDLL] = []


def device() -> ctypes.CDLL:
    """The emulated driver and runtime; with it the other libraries are loaded, so that CuPy finds them by name."""
    if not _loaded:
        import numpy  # noqa: F401  # whose OpenBLAS multiplies matrices

        _loaded.extend(ctypes.CDLL(str(TOOLKIT / "lib64" / name), mode=ctypes.RTLD_GLOBAL) for name in LIBRARIES)
    return _loaded[0]


class Finder:
    """Sees CuPy's modules before they are loaded."""

    def find_spec(self, name, path=None, target=None):
        """None, which leaves a module to the other finders, but for CuPy's own."""
        if not name.startswith(("cupy", "cuda.")):
            return None
        if name in ("cupy_backends", "cuda.pathfinder"):
            device()
        elif name == "cupy.cuda.thrust":
            return importlib.util.spec_from_file_location(name, Path(__file__).with_name("thrust.py"))
        elif name in WITH_RUNTIME:
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            redirect(spec.origin, WITH_RUNTIME[name])
            return spec
        elif name == "cupy" and "guard" in os.environ.get("EMULATED_CUDA", "").split(","):
            spec = importlib.machinery.PathFinder.find_spec(name, path)
            spec.loader.exec_module = _without_pool(spec.loader.exec_module)
            return spec
        return None


def _without_pool(load):
    def exec_module(module):
        load(module)
        module.cuda.set_allocator(None)  # each array has a block of its own, and a guard behind it

    return exec_module


def redirect(path: str, known: str) -> None:
    """Let the functions of the CUDA runtime, and of CUB, in a module of CuPy jump to the emulation's."""
    module = ctypes.CDLL(path)
    addresses = dict(functions(Path(path).read_bytes()))
    base = ctypes.cast(getattr(module, known), ctypes.c_void_p).value - addresses[known]
    redirected = 0
    for name, address in addresses.items():
        cub = re.match(r"_Z\d+(cub_device_[a-z]+(?:_[a-z]+)*?)(_get_workspace_size)?P[^.]*$", name)
        if cub:
            ours, spoken = "cub_workspace_size" if cub[2] else cub[1], cub[1]
        elif re.match(r"cuda[A-Z]", name) and not name.endswith("_ptsz"):
            ours = spoken = name
        else:
            continue
        to = getattr(device(), f"emulated_{ours}", None)
        device().emulated_redirect(
            ctypes.c_void_p(base + address), to and ctypes.cast(to, ctypes.c_void_p), spoken.encode()
        )
        redirected += to is not None
    if not redirected:
        raise ImportError(f"emulated CUDA: {path} has no functions of the CUDA runtime: another CuPy?")


def functions(elf: bytes) -> Iterator[tuple[str, int]]:
    """Names and addresses of the functions in the table of symbols of an ELF file."""
    symbol_table, function = 2, 2  # SHT_SYMTAB, STT_FUNC
    start, size, count = struct.unpack_from("<Q", elf, 40)[0], *struct.unpack_from("<HH", elf, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, start + size * number) for number in range(count)]
    for _, kind, _, _, offset, length, link, _, _, _ in sections:
        if kind != symbol_table:
            continue
        names = sections[link][4]
        for at in range(offset, offset + length, 24):
            name, info, _, _, value, _ = struct.unpack_from("<IBBHQQ", elf, at)
            if info & 15 == function and value:
                yield elf[names + name : elf.index(b"\0", names + name)].decode(), value


os.environ["CUDA_PATH"] = str(TOOLKIT)  # where CuPy looks for CUDA's headers
os.environ.setdefault("CUPY_CACHE_DIR", str(TOOLKIT / "kernels"))
sys.meta_path.insert(0, Finder())
