"""oneDNN's C interface, version 3, through ctypes: the library, its threads, and primitives that can be run again.

oneDNN is Intel's library of the operations of neural networks; it needs neither an Intel processor nor a compiler here.
Numbers are those of ``dnnl_types.h``.  Source: oneDNN developer guide and C API, version 3.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet.errors import InputError

_MAJOR = 3
_CPU, _IN_ORDER, _FLOAT32, _USER_SCRATCHPAD = 1, 1, 3, 1
_SEQUENTIAL, _OPENMP = 1, 2
_RUNTIMES = {4: "TBB", 8: "a thread pool", 256: "OpenCL", 512: "SYCL"}
_IMPLEMENTATION, _SCRATCHPAD_MD = 8, 136
_SCRATCHPAD = 80
_ALIGNMENT = 64  # bytes, a line of the cache
_INSTRUCTION_SETS = {
    0x1: "SSE4.1",
    0x3: "AVX",
    0x7: "AVX2",
    0xF: "AVX2-VNNI",
    0x1F: "AVX2-VNNI-2",
    0x27: "AVX-512",
    0x67: "AVX-512-VNNI",
    0xE7: "AVX-512-BF16",
    0x1EF: "AVX-512-FP16",
    0xFEF: "AVX-512-AMX",
    0x1FEF: "AVX-512-AMX-FP16",
}

Memory = ctypes.c_void_p


class OneDNNError(RuntimeError):
    """oneDNN cannot be loaded, or a call of it failed."""


class UnsupportedError(OneDNNError):
    """oneDNN has no kernel for what was asked, or none that is fast."""


class _Version(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int) for name in ("major", "minor", "patch")),
        ("hash", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
    )


class _Argument(ctypes.Structure):
    _fields_ = (("number", ctypes.c_int), ("memory", ctypes.c_void_p))


class Library:
    """The loaded library with an engine, which is the processor."""

    def __init__(self, functions: ctypes.CDLL) -> None:
        self.functions = functions
        functions.dnnl_version.restype = ctypes.POINTER(_Version)
        version = functions.dnnl_version().contents
        self.version = f"{version.major}.{version.minor}.{version.patch}"
        if version.major != _MAJOR:
            raise OneDNNError(f"{functions._name} is version {self.version}, expected {_MAJOR}")
        if version.cpu_runtime not in (_SEQUENTIAL, _OPENMP):
            runtime = _RUNTIMES.get(version.cpu_runtime, hex(version.cpu_runtime))
            raise OneDNNError(f"{functions._name} computes by {runtime}, expected OpenMP")
        self.instruction_set = self._instruction_set()
        if version.cpu_runtime == _OPENMP:  # a symbol is looked up in what the library links too: its own OpenMP
            self.threads, self.set_threads = functions.omp_get_max_threads, functions.omp_set_num_threads
        else:
            self.threads, self.set_threads = lambda: 1, lambda count: None
        functions.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        functions.dnnl_primitive_desc_query_md.restype = ctypes.c_void_p
        functions.dnnl_memory_set_data_handle.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        functions.dnnl_primitive_execute.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self.engine = self.create("engine", _CPU, ctypes.c_size_t(0))
        self.attributes = self.attributes_with()

    def attributes_with(self, *operations: tuple[Any, ...]) -> ctypes.c_void_p:
        """Attributes of a primitive whose result goes through operations before it is written."""
        attributes = self.create("primitive_attr")
        self.call("primitive_attr_set_scratchpad_mode", attributes, _USER_SCRATCHPAD)
        if operations:
            after = self.create("post_ops")
            for kind, *arguments in operations:
                self.call(f"post_ops_append_{kind}", after, *arguments)
            self.call("primitive_attr_set_post_ops", attributes, after)
        return attributes

    def _instruction_set(self) -> str:
        """What oneDNN compiles for on this processor."""
        number = self.functions.dnnl_get_effective_cpu_isa()
        if not number:
            raise OneDNNError(f"oneDNN {self.version} has no kernels for this processor")
        return _INSTRUCTION_SETS.get(number, hex(number))

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function, and raise UnsupportedError unless it says that all is well."""
        status = getattr(self.functions, f"dnnl_{function}")(*arguments)
        if status:
            raise UnsupportedError(f"dnnl_{function} returned {status}")

    def create(self, kind: str, *arguments: Any, how: str = "create") -> ctypes.c_void_p:
        """An object of oneDNN's, which lives as long as what is returned."""
        pointer = ctypes.c_void_p()
        self.call(f"{kind}_{how}", ctypes.byref(pointer), *arguments)
        owned = "primitive_desc" if kind.endswith("primitive_desc") else kind
        destroy = getattr(self.functions, f"dnnl_{owned}_destroy")
        weakref.finalize(pointer, destroy, ctypes.c_void_p(pointer.value)).atexit = False
        return pointer

    def layout(self, dimensions: Sequence[int], strides: Sequence[int]) -> ctypes.c_void_p:
        """How float32 lies in memory: sizes in oneDNN's logical order, and strides in elements."""
        arguments = len(dimensions), integers(dimensions), _FLOAT32, integers(strides)
        return self.create("memory_desc", *arguments, how="create_with_strides")

    def any_layout(self, dimensions: Sequence[int]) -> ctypes.c_void_p:
        """Sizes whose order in memory oneDNN may choose."""
        arguments = len(dimensions), integers(dimensions), _FLOAT32, 1
        return self.create("memory_desc", *arguments, how="create_with_tag")

    def chosen_layout(self, primitive_desc: ctypes.c_void_p, query: int) -> ctypes.c_void_p:
        """A layout that a primitive's description holds, and which lives as long as that."""
        return ctypes.c_void_p(self.functions.dnnl_primitive_desc_query_md(primitive_desc, query, 0))

    def same_layout(self, one: ctypes.c_void_p, other: ctypes.c_void_p) -> bool:
        """Whether two layouts are the same."""
        return bool(self.functions.dnnl_memory_desc_equal(one, other))

    def bytes(self, layout: ctypes.c_void_p) -> int:
        """Bytes that a layout takes."""
        return self.functions.dnnl_memory_desc_get_size(layout)

    def memory(self, layout: ctypes.c_void_p) -> Memory:
        """A memory object without an address yet."""
        return self.create("memory", layout, self.engine, None)

    def implementation(self, primitive_desc: ctypes.c_void_p) -> str:
        """The name of the kernel that oneDNN has chosen."""
        name = ctypes.c_char_p()
        self.call("primitive_desc_query", primitive_desc, _IMPLEMENTATION, 0, ctypes.byref(name))
        return (name.value or b"").decode()


class Threads:
    """A ``with`` block in which the calling thread has so many of OpenMP's threads; after it, as many as before."""

    def __init__(self, library: Library, count: int) -> None:
        self._library, self._count, self._before = library, count, count

    def __enter__(self) -> None:
        self._before = self._library.threads()
        if self._before != self._count:
            self._library.set_threads(self._count)

    def __exit__(self, *_: object) -> None:
        if self._before != self._count:
            self._library.set_threads(self._before)


def integers(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """An array of oneDNN's sizes."""
    return (ctypes.c_int64 * len(values))(*values)


def _address(array: Any) -> int:
    """Where an array begins in memory; NumPy's own answer takes three times as long."""
    try:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    except TypeError:  # it may not be written to
        return array.ctypes.data


class Step(NamedTuple):
    """A primitive with what it is given."""

    primitive: ctypes.c_void_p
    length: int
    arguments: Any


class Plan:
    """Primitives to run one after the other on arrays, and the buffers between them.

    A plan is one thread's, since it holds the addresses that it runs with.
    """

    def __init__(self, library: Library, scratch: Scratch, threads: Threads) -> None:
        self._library, self._scratch, self._threads = library, scratch, threads
        self.sizes: list[int] = []  # of the arrays in bytes
        self._inputs: list[Memory] = []
        self._buffers: list[tuple[Memory, int]] = []  # with where each begins in the scratch memory
        self._bytes = 0
        self._base = 0
        self._steps: list[Step] = []

    def array(self, layout: ctypes.c_void_p) -> Memory:
        """The next of the arrays that ``run`` is given."""
        self._inputs.append(self._library.memory(layout))
        self.sizes.append(self._library.bytes(layout))
        return self._inputs[-1]

    def buffer(self, layout: ctypes.c_void_p) -> Memory:
        """Memory for the time of a run."""
        memory = self._library.memory(layout)
        self._buffers.append((memory, self._bytes))
        self._bytes += -(-self._library.bytes(layout) // _ALIGNMENT) * _ALIGNMENT
        return memory

    def step(self, primitive_desc: ctypes.c_void_p, memories: dict[int, Memory]) -> None:
        """Add a primitive with its arguments by their numbers."""
        library = self._library
        scratchpad = library.chosen_layout(primitive_desc, _SCRATCHPAD_MD)
        if scratchpad and library.bytes(scratchpad):
            memories = {**memories, _SCRATCHPAD: self.buffer(scratchpad)}
        arguments = (_Argument * len(memories))(*((number, memory.value) for number, memory in memories.items()))
        self._steps.append(Step(library.create("primitive", primitive_desc), len(memories), arguments))

    def reorder(self, source: tuple[Memory, Any], target: tuple[Memory, Any]) -> None:
        """Add a copy from one memory with its layout to another."""
        engine, attributes = self._library.engine, self._library.attributes
        arguments = source[1], engine, target[1], engine, attributes
        primitive_desc = self._library.create("reorder_primitive_desc", *arguments)
        self.step(primitive_desc, {1: source[0], 17: target[0]})

    def run(self, *arrays: np.ndarray) -> None:
        """Run on arrays that lie as was said, in that order.

        Raises OneDNNError if a primitive fails, and InputError for an array of another size than it would read.
        """
        functions = self._library.functions
        for memory, size, array in zip(self._inputs, self.sizes, arrays, strict=True):
            if array.nbytes != size:
                raise InputError(
                    f"oneDNN: expected an array of {size} bytes, got {array.dtype} of shape {array.shape}. Pass arrays "
                    "whose shapes and dtypes fit each other."
                )
            functions.dnnl_memory_set_data_handle(memory, _address(array))
        base = self._scratch.address(self._bytes)
        if base != self._base:
            for memory, offset in self._buffers:
                functions.dnnl_memory_set_data_handle(memory, base + offset)
            self._base = base
        stream = self._scratch.stream
        with self._threads:
            for step in self._steps:  # each has ended when its call returns
                status = functions.dnnl_primitive_execute(step.primitive, stream, step.length, step.arguments)
                if status:
                    raise OneDNNError(f"dnnl_primitive_execute returned {status}")


class Scratch:
    """What a thread has of its own: a stream, and as much memory between primitives as the largest plan takes."""

    def __init__(self, library: Library) -> None:
        self.stream = library.create("stream", library.engine, _IN_ORDER)
        self._memory = np.empty(0, np.uint8)
        self._address = 0

    def address(self, size: int) -> int:
        """Where so many bytes of memory begin."""
        if size + _ALIGNMENT > len(self._memory):
            self._memory = np.empty(size + _ALIGNMENT, np.uint8)
            self._address = -(-self._memory.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        return self._address
