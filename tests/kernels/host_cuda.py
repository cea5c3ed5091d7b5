"""A stand-in for CuPy whose arrays are NumPy's and whose kernels are our CUDA sources, compiled by g++ for the host.

It proves what the kernels compute, how they are launched, and that each argument has the type its kernel declares. It
does not prove how a GPU rounds exp, log and expm1, what a GPU's compiler makes of the sources, or how fast they are.
"""

import ctypes
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HEADER = Path(__file__).with_name("host_cuda.h")
TYPES = {
    "float": (np.float32, ctypes.c_float),
    "int": (np.int32, ctypes.c_int),
    "float*": (np.float32, ctypes.c_void_p),
    "int*": (np.int32, ctypes.c_void_p),
    "unsigned char*": (np.uint8, ctypes.c_void_p),
}


class Uint3(ctypes.Structure):
    """CUDA's dimensions."""

    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


def make_cupy(folder: Path) -> SimpleNamespace:
    """The part of CuPy that the kernels' module uses; libraries are built in a folder."""

    def compile_module(code: str, options: tuple[str, ...]) -> SimpleNamespace:
        assert "--fmad=false" in options
        return SimpleNamespace(get_function=build(code, folder).__getitem__)

    return SimpleNamespace(
        ndarray=type("ndarray", (), {}),
        empty=lambda shape, dtype: np.full(shape, 113, dtype),  # nothing may rely on zeros
        empty_like=lambda array: np.full_like(array, 113),
        ascontiguousarray=np.ascontiguousarray,
        RawModule=compile_module,
    )


def build(code: str, folder: Path) -> dict[str, Callable[..., None]]:
    """Compile a CUDA source and give its kernels by name, to be called like CuPy's."""
    parameters = declarations(code)
    source = "\n".join([f'#include "{HEADER}"', code, *map(host_entry, parameters.items())])
    files = [folder / f"{abs(hash(code))}.{ending}" for ending in ("cpp", "so")]
    files[0].write_text(source, encoding="utf-8")
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
    subprocess.run(["g++", *flags, "-o", files[1], files[0]], check=True)
    library = ctypes.CDLL(str(files[1]))
    return {name: launcher(getattr(library, f"launch_{name}"), types) for name, types in parameters.items()}


def declarations(code: str) -> dict[str, list[str]]:
    """The parameters' types of every kernel."""
    found = re.findall(r'extern "C" __global__ void (\w+)\(([^)]*)\)', code)
    return {
        name: [re.sub(r"const |\s*\w+$", "", parameter.strip()) for parameter in parameters.split(",")]
        for name, parameters in found
    }


def host_entry(kernel: tuple[str, list[str]]) -> str:
    """A function of C that runs a kernel over its grid."""
    name, types = kernel
    arguments = ", ".join(f"{kind} a{number}" for number, kind in enumerate(types))
    copies = "".join(f"static {kind} s{number}; s{number} = a{number}; " for number, kind in enumerate(types))
    call = ", ".join(f"s{number}" for number in range(len(types)))
    return (
        f'extern "C" int launch_{name}(uint3 grid, uint3 block, {arguments}) '
        f"{{ {copies} return host::run([] {{ {name}({call}); }}, grid, block); }}"
    )


def launcher(function: Any, types: list[str]) -> Callable[..., None]:
    """Call a compiled kernel as CuPy would, after a look at its arguments."""

    def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        assert len(arguments) == len(types)
        assert 0 < np.prod(block) <= 1024
        assert 0 < grid[0] < 2**31
        assert all(0 < number < 2**16 for number in grid[1:])
        values = [converted(argument, kind) for argument, kind in zip(arguments, types, strict=True)]
        dimensions = [Uint3(*numbers, *[1] * (3 - len(numbers))) for numbers in (grid, block)]
        assert function(*dimensions, *values) == 0, "threads of a block did not meet"

    return launch


def converted(argument: Any, kind: str) -> Any:
    """An argument for ctypes, which must be of exactly the type that the kernel declares."""
    dtype, ctype = TYPES[kind]
    if kind.endswith("*") and isinstance(argument, np.intp):
        assert argument == 0
        return ctype(None)
    assert argument.dtype == dtype, f"{argument.dtype} for {kind}"
    assert isinstance(argument, np.ndarray) == kind.endswith("*")
    if isinstance(argument, np.ndarray):
        assert argument.flags.c_contiguous
        return ctype(argument.ctypes.data)
    return ctype(argument.item())
