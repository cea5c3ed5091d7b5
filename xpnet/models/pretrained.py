"""Networks that begin with weights from a file, xpnet's own or those of torchvision's models."""

from __future__ import annotations

import os
from typing import Any

from xpnet.models.imagenet import PIXEL_MEAN, PIXEL_SCALE
from xpnet.models.registry import create
from xpnet.network import Network
from xpnet.serialization import is_written_by_xpnet
from xpnet.torch_weights import read_torch_tensors, torch_name
from xpnet.weights import is_onnx


def start_from(network: Network, path: str | os.PathLike[str], *, replace_head: bool = False) -> None:
    """Take over weights, and the pixel normalisation they were trained with, from a file.

    PyTorch's files hold no normalisation: they are taken to be of torchvision's models, which were trained on ImageNet.

    Raises InputError as ``Network.load_weights`` does.
    """
    network.load_weights(path, replace_head=replace_head)
    if not is_onnx(path) and not is_written_by_xpnet(path):
        network.set_normalization(PIXEL_MEAN, PIXEL_SCALE)


def load_torchvision(
    model: str, path: str | os.PathLike[str], *, device: str, backend: str | None, **options: Any
) -> Network:
    """A model, with its own ``options``, with the weights of torchvision's, and as many classes as these have.

    Raises InputError for an unknown model, or weights that are not of this model.
    """
    network = create(model, device=device, backend=backend, **options)
    head = read_torch_tensors(path).get(torch_name(f"{network.head}.weight"))
    classes, *features = network.parameters()[f"{network.head}.weight"].shape
    # Of other features it is another model's; and if it were believed, a small file could ask for a large network.
    if head is not None and [*head.shape[1:]] == features and len(head) != classes:
        network = create(model, classes=len(head), device=device, backend=backend, **options)
    start_from(network, path)
    return network
