"""What every implementation of a case offers to be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from xpnet.benchmark.ablation import LEFT_OUT
from xpnet.benchmark.cases import Case

CUDNN = "xpnet-cupy-cudnn"
GRAPH, CUDNN_GRAPH = "xpnet-cupy-graph", f"{CUDNN}-graph"
CPU_PEERS = ("torch", "torch-channels-last", "torch-tuned", "torch-compile", "jax", "sklearn")
GPU_PEERS = ("torch", "torch-channels-last", "torch-compile", "torch-graphs", "jax")
# xpnet itself by the kernels that are written for every array library, all or one; compared with only where asked for.
GPU_PURE = ("xpnet-torch-pure", "xpnet-jax-pure")
CPU_PURE = ("xpnet-numpy-pure", *GPU_PURE, *(f"xpnet-numpy-without-{kernel}" for kernel in LEFT_OUT))


class Implementation(Protocol):
    """One implementation of a case, with weights, batch and optimizer in place."""

    def gradient(self) -> Mapping[str, np.ndarray] | None:
        """The loss's gradient at the current weights by xpnet's names and in its layouts; None if it is kept inside."""
        ...

    def training(self) -> Callable[[], object]:
        """A function that takes one training step."""
        ...

    def inference(self) -> Callable[[], Any]:
        """A function that computes the batch's logits (or probabilities)."""
        ...

    def wait(self) -> None:
        """Return when the device has done all that it was asked for."""
        ...


def make(implementation: str, case: Case, device: str) -> Implementation:
    """An implementation by name, such as xpnet-numpy or torch-compile."""
    first, _, variant = implementation.partition("-")
    module = import_module(
        "xpnet.benchmark.xpnet_implementation" if first == "xpnet" else f"xpnet.benchmark.{first}_peer"
    )
    return module.make(case, device, variant)


def library(implementation: str) -> str:
    """The library whose arrays an implementation computes with."""
    return implementation.removeprefix("xpnet-").partition("-")[0]


def variants(implementation: str) -> list[str]:
    """What is said of an implementation after its library, such as cudnn and graph."""
    return implementation.removeprefix("xpnet-").split("-")[1:]


def is_installed(implementation: str) -> bool:
    """Whether the library of an implementation, and cuDNN if it takes it, can be imported."""
    needed = [library(implementation), *(["cudnn"] if "cudnn" in variants(implementation) else [])]
    return all(find_spec(name) for name in needed)
