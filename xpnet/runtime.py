"""Where and how a network computes: device, dtype, threads, kernels, precision, the allocator."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import sys
from dataclasses import dataclass, replace

from xpnet import kernels
from xpnet.backend import Backend, resolve
from xpnet.checks import check_bool, pick
from xpnet.devices import check_names
from xpnet.errors import InputError
from xpnet.kernels import sharing
from xpnet.parallel import ENGINES, connect
from xpnet.parallel.agreement import together
from xpnet.parallel.compression import WIRE_DTYPES
from xpnet.parallel.cores import available, bind
from xpnet.shapes import check_positive

DTYPES = ("float32", "float64")
HALF_PRECISIONS = ("float16", "bfloat16")  # of forward and backward passes, by training itself
PRECISIONS = (*kernels.PRECISIONS, *HALF_PRECISIONS)
_is_configured = False
_ONLY_ON = {"onednn": "numpy", "cudnn": "cupy", "tf32": "cupy"}  # choices of kernels and precision that a library has
_DETERMINISTIC_XLA = "--xla_gpu_deterministic_ops"
_MOST_THREADS = 1024  # not this machine's cores: a run that is resumed may have begun on a larger one


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how a network computes: everything that changes speed and rounding, but not what is learned.

    Parameters
    ----------
    device, backend
        Such as "cpu", "cuda", "cuda:1" or "auto", and "numpy", "cupy", "torch" or "jax"; None leaves a network where it
        is.
    dtype
        Of parameters and activations; None: float32, or that of the network that is trained.
    threads
        Share the work of NumPy's kernels and of PyTorch on the CPU; None: one for each core, and PyTorch's as many as
        it has.
    kernels
        "pure" leaves out those written for one library, "onednn" insists on oneDNN for NumPy arrays, "cudnn" adds
        cuDNN's on CuPy arrays.
    precision
        "tf32" lets CuPy multiply float32 less exactly; "float16", and "bfloat16" of PyTorch and JAX, compute forward
        and backward passes in that (``training/mixed_precision.py``).
    graph
        Whether a training step is replayed as one CUDA graph.
    deterministic
        Asks for the same bits from every run on a GPU too. XLA has to know before JAX computes anything.
    tune_malloc
        Lets glibc keep freed memory, which saves up to half of a step on the CPU; a process that has begun to keeps
        doing so.
    parallel
        "mpi" lets the ranks that ``mpiexec`` has started share every batch; the batch size is that of all together.
        Threads are then divided among the ranks of a machine.
    allreduce_dtype
        "float16" and "bfloat16" send gradients between ranks in that; None: as they were computed.

    Raises
    ------
    InputError
        If a setting is out of range.

    Examples
    --------
    >>> Runtime(threads=2, kernels="pure").precision
    'float32'
    """

    device: str | None = None
    backend: str | None = None
    dtype: str | None = None
    threads: int | None = None
    kernels: str = "fastest"
    precision: str = "float32"
    graph: bool = False
    deterministic: bool = False
    tune_malloc: bool = True
    parallel: str | None = None
    allreduce_dtype: str | None = None

    def __post_init__(self) -> None:
        check_names(self.device or "auto", self.backend)
        if self.threads is not None:
            _check_threads(self.threads)
        for name in ("graph", "deterministic", "tune_malloc"):
            check_bool("Runtime", name, getattr(self, name))
        pick("Runtime, dtype", {name: name for name in DTYPES}, self.dtype or "float32")
        pick("Runtime, kernels", {name: name for name in kernels.CHOICES}, self.kernels)
        pick("Runtime, precision", {name: name for name in PRECISIONS}, self.precision)
        if self.parallel is not None:
            pick("Runtime, parallel", ENGINES, self.parallel)
        if self.allreduce_dtype is not None:
            pick("Runtime, allreduce_dtype", {name: name for name in WIRE_DTYPES}, self.allreduce_dtype)
            if self.parallel is None:
                raise InputError(
                    f"Runtime: expected parallel with allreduce_dtype='{self.allreduce_dtype}', got none. "
                    "One process sends no gradients: leave allreduce_dtype out, or start several."
                )
        if self.parallel is not None and self.graph:
            raise InputError(
                f"Runtime: expected no graph with parallel='{self.parallel}', whose messages a CUDA graph cannot hold, "
                "got both. Leave one of them out."
            )
        self._check_dtype(self.dtype)

    @property
    def alone(self) -> Runtime:
        """The same for one process."""
        return replace(self, parallel=None, allreduce_dtype=None)

    @property
    def own_device(self) -> str | None:
        """``device``, of which each rank of a machine has its own where that is a GPU without a number.

        Raises
        ------
        InputError
            If there are fewer GPUs than ranks.
        """
        group = connect(self.parallel)
        if group.size == 1 or self.device not in ("cuda", "auto"):
            return self.device
        if not resolve(self.device, self.backend).device_name().startswith("cuda"):
            return self.device
        own = f"cuda:{group.local_rank}"
        with together(group):
            try:
                resolve(own, self.backend)
            except InputError as error:
                raise InputError(f"{error} Each rank of a machine has a GPU of its own: use fewer ranks.") from error
        return own

    def _check_dtype(self, dtype: str | None) -> None:
        if self.precision != "float32" and dtype == "float64":
            raise InputError(
                f"Runtime: expected dtype='float32' with precision='{self.precision}', got float64. "
                "Leave one of them out."
            )

    def check_applies(self, backend: Backend, dtype: str) -> None:
        """Raise InputError for a setting that such arrays on this device would not take notice of."""
        self._check_dtype(dtype)
        here = backend.describe()
        if self.threads is not None and not _has_threads(backend):
            raise InputError(
                f"Runtime: expected threads with NumPy or PyTorch on the CPU, got {here}. Leave threads out."
            )
        for name in ("kernels", "precision"):
            library = _ONLY_ON.get(getattr(self, name), backend.name)
            if library != backend.name:
                raise InputError(
                    f"Runtime: expected {name}={getattr(self, name)!r} with arrays of {library} only, got {here}. "
                    f"Leave {name} out."
                )
        is_on_gpu = not backend.device_name().startswith("cpu")
        if self.deterministic and backend.name == "jax" and is_on_gpu and not _xla_was_told():
            raise InputError(
                "Runtime: expected deterministic before JAX has begun to compute, got it after. "
                f"Set the environment variable XLA_FLAGS={_DETERMINISTIC_XLA}=true."
            )

    def configure(self, library: str | None = None) -> None:
        """Set threads, kernels and allocator of this whole process, as training does when it begins.

        ``library`` is the array library that computes, if ``backend`` does not say it.
        ``deterministic`` may not hold for a library that has computed something already.

        Raises
        ------
        InputError
            For kernels that are not installed, and if ``parallel`` cannot be.
        """
        global _is_configured
        _is_configured = True
        group = connect(self.parallel)
        threads = self.threads or group.threads
        shared = threads or cores()
        sharing.set_threads(shared)
        if self.parallel:  # or all ranks would fight for all cores
            importlib.import_module("threadpoolctl").threadpool_limits(limits=shared)
        if threads and (self.backend or library) == "torch":
            importlib.import_module("torch").set_num_threads(threads)
        if group.cores and (self.backend or library) == "jax":  # XLA starts a thread for each core that it may use
            bind(group.cores)
        precision = self.precision if self.precision in kernels.PRECISIONS else "float32"
        kernels.use(self.kernels, precision, recordable=self.graph, deterministic=self.deterministic)
        if self.deterministic:
            _be_deterministic(self.backend or library)
        if self.tune_malloc:
            keep_freed_memory()


def configure_once() -> None:
    """Use all cores and keep freed memory, unless this process was configured before, as ``fit`` and ``predict`` do."""
    global _is_configured
    if not _is_configured:
        _is_configured = True
        sharing.set_threads(cores())
        keep_freed_memory()


def cores() -> int:
    """Cores that this process may use."""
    return len(available())


def _check_threads(threads: int) -> None:
    most = max(_MOST_THREADS, cores())
    if check_positive("Runtime", "threads", threads) > most:
        raise InputError(f"Runtime: expected threads to be at most {most}, got {threads}. Use one for each core.")


def threads_in_use(backend: Backend) -> int | None:
    """Among how many threads a network's work on the CPU is shared; None where ``threads`` does not say it."""
    if not _has_threads(backend):
        return None
    return sharing.threads() if backend.name == "numpy" else importlib.import_module("torch").get_num_threads()


def _has_threads(backend: Backend) -> bool:
    return backend.name in ("numpy", "torch") and backend.device_name() == "cpu"


def _be_deterministic(backend: str | None) -> None:
    """Tell cuBLAS and XLA through what they read when they start, and PyTorch by a call.

    Source: PyTorch, "Reproducibility"; XLA, "Determinism"; cuBLAS, section "Results reproducibility".
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if "jax" not in sys.modules and not _xla_was_told():
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DETERMINISTIC_XLA}=true".strip()
    if backend == "torch":
        torch = importlib.import_module("torch")
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # what is read is written first


def _xla_was_told() -> bool:
    return _DETERMINISTIC_XLA in os.environ.get("XLA_FLAGS", "")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of giving it back to the system after every array, for all threads alike.

    Page faults of fresh arrays otherwise cost up to half of a training step on the CPU. Elsewhere than on glibc nothing
    happens.  Source: mallopt(3).
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # the parameters' numbers in malloc.h
    for parameter, value in ((mmap_max, 0), (trim_threshold, -1), (top_pad, 64 * 1024 * 1024), (arena_max, 1)):
        libc.mallopt(parameter, value)
