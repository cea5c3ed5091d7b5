"""The same network in PyTorch, built from xpnet's layers with the same dotted names, trained by PyTorch's own means."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from xpnet import layers
from xpnet.backend import to_numpy
from xpnet.benchmark.cases import Case
from xpnet.errors import InputError
from xpnet.layers import Layer
from xpnet.layout import walk
from xpnet.network import Network
from xpnet.optimizers import Adam, Momentum
from xpnet.shapes import Shape
from xpnet.torch_weights import TorchTensor, torch_tensors

_CALLS_BEFORE_RECORDING = 3


class Normalize(nn.Module):
    """(x - mean) * scale for each channel."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W)."""
        return (x - self.mean) * self.scale


class Residual(nn.Module):
    """branch(x) + shortcut(x)."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W)."""
        return self.branch(x) + (x if self.shortcut is None else self.shortcut(x))


class GlobalAvgPool2D(nn.Module):
    """Mean over the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images (N, C, H, W)."""
        return x.mean(dim=(2, 3))


def build(layer: Layer, shape: Shape) -> nn.Module:
    """The module for a layer and the shape (H, W, C) or (features,) of its input.

    Raises InputError for a layer that has no peer.
    """
    match layer:
        case layers.Sequential():
            parts = [(name, build(part, inner)) for name, part, inner in layer.sublayers(shape)]
            return nn.Sequential(OrderedDict(parts))
        case layers.Residual():
            return Residual(build(layer.branch, shape), build(layer.shortcut, shape) if layer.shortcut else None)
        case layers.Conv2D():
            return nn.Conv2d(
                shape[2],
                layer.filters,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
                layer.bias,
            )
        case layers.Dense():
            return nn.Linear(shape[0], layer.units)
        case layers.MaxPool2D():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil)
        case layers.AvgPool2D():
            return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil)
        case layers.BatchNorm(frozen=False):
            kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
            return kind(shape[-1], layer.eps, layer.momentum)
        case layers.Dropout():
            return nn.Dropout(layer.p)
        case layers.Normalize():
            return Normalize(shape[-1])
        case layers.GlobalAvgPool2D():
            return GlobalAvgPool2D()
        case layers.ReLU():
            return nn.ReLU()
        case layers.Flatten():
            return nn.Flatten()
    raise InputError(f"Benchmark: expected a layer that has a peer in PyTorch, got {layer}. Leave out the torch peers.")


class TorchTwin:
    """A module with xpnet's weights, and PyTorch's optimizer for it."""

    def __init__(self, case: Case, device: str, variant: str) -> None:
        network = case.network()
        self._tensors = _places(network)
        self._dtype: torch.dtype = getattr(torch, case.dtype)
        module: Any = build(case.layer, case.input_shape).to(self._dtype)
        load_weights(module, network, self._tensors)
        images, labels = case.batch()
        self._labels = torch.tensor(labels, dtype=torch.int64, device=device)
        self._images = torch.tensor(images, device=device).permute(0, 3, 1, 2)  # channels_last
        if variant in ("channels-last", "tuned"):
            module = module.to(memory_format=torch.channels_last)
        else:
            self._images = self._images.contiguous()
        self._module: nn.Module = module.to(device)
        self._call: Any = torch.compile(self._module) if variant == "compile" else self._module
        self._device, self._graphs = torch.device(device), variant == "graphs"
        self._optimizer = make_optimizer(case.make_optimizer(), self._module, capturable=self._graphs)

    def gradient(self) -> Mapping[str, np.ndarray]:
        """See ``Implementation``."""
        self._backward()
        return {
            name: self._tensors[name].to_ours(parameter.grad.cpu().numpy())
            for name, parameter in self._module.named_parameters()
            if parameter.grad is not None
        }

    def training(self) -> Callable[[], object]:
        """See ``Implementation``."""
        self._module.train()

        def train() -> None:
            self._backward()
            self._optimizer.step()

        return self._recorded(train)

    def inference(self) -> Callable[[], Any]:
        """See ``Implementation``."""
        self._module.eval()

        def predict() -> torch.Tensor:
            with torch.inference_mode():
                return self._call(self._images.to(self._dtype))

        return self._recorded(predict)

    def wait(self) -> None:
        """See ``Implementation``."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _recorded(self, call: Callable[[], Any]) -> Callable[[], Any]:
        return capture(call, self._device) if self._graphs else call

    def _backward(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        functional.cross_entropy(self._call(self._images.to(self._dtype)), self._labels).backward()


def capture(call: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """A function that repeats a call as one CUDA graph, in the same memory.

    The calls before recording are on another stream than the default one, which cannot be recorded.

    Source: PyTorch, "CUDA semantics", section "Whole-network capture".
    """
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_CALLS_BEFORE_RECORDING):
                call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = call()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def make_optimizer(optimizer: Momentum | Adam, module: nn.Module, *, capturable: bool = False) -> torch.optim.Optimizer:
    """PyTorch's optimizer that is the same formula; ``capturable``: whose steps a CUDA graph can hold."""
    alpha, decay = optimizer.learning_rate, optimizer.weight_decay
    if isinstance(optimizer, Adam):
        betas = (optimizer.beta1, optimizer.beta2)
        return torch.optim.Adam(module.parameters(), alpha, betas, optimizer.epsilon, decay, capturable=capturable)
    return torch.optim.SGD(module.parameters(), alpha, optimizer.momentum, weight_decay=decay)


def load_weights(module: nn.Module, network: Network, tensors: Mapping[str, TorchTensor]) -> None:
    """Give a module the parameters and the state of the network that it was built from."""
    ours = _tensors(network)
    theirs = {name: torch.tensor(tensor.to_torch(ours[name])) for name, tensor in tensors.items()}
    for name, buffer in module.named_buffers():
        if name in ours and name not in tensors:  # Normalize
            theirs[name] = torch.tensor(ours[name]).reshape(buffer.shape)
    module.load_state_dict({**module.state_dict(), **theirs})


def _places(network: Network) -> dict[str, TorchTensor]:
    shapes = {name: tensor.shape for name, tensor in _tensors(network).items()}
    return torch_tensors(network.layer.leaves(network.input_shape), shapes, lambda name: name)


def _tensors(network: Network) -> dict[str, np.ndarray]:
    return {name: to_numpy(array) for name, array in [*network.parameters().items(), *walk(network.state)]}


def make(case: Case, device: str, variant: str) -> TorchTwin:
    """PyTorch as it comes, channels-last, tuned (that and the allocator), compile, or graphs (on a GPU)."""
    return TorchTwin(case, device, variant)
