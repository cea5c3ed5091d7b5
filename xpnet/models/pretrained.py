"""Networks that begin with weights from a file or by name: xpnet's own, or those of torchvision's and timm's models."""

from __future__ import annotations

import math
import os
from typing import Any

from xpnet.errors import InputError
from xpnet.models.hub import Weights, find
from xpnet.models.imagenet import IMAGENET_PIXELS
from xpnet.models.registry import create, pixels, recipe
from xpnet.network import Network
from xpnet.serialization import is_written_by_xpnet
from xpnet.torch_weights import read_torch_tensors
from xpnet.weights import is_onnx


def start_from(
    network: Network,
    source: str | os.PathLike[str],
    *,
    replace_head: bool = False,
    model: str | None = None,
) -> None:
    """Take over weights, and the pixel normalisation that they were trained with.

    ``source`` is a file of xpnet's, PyTorch's or ONNX's, ``hf:OWNER/NAME`` of the Hugging Face Hub, or a URL whose file
    name ends in its hash. PyTorch's files hold no normalisation: those of the hub come with settings that do, all
    others are taken to be of torchvision's models. ``model`` is the network's name, if it has one.

    Raises
    ------
    InputError
        If the weights cannot be downloaded or are of another model, and as ``Network.load_tensors`` does.
    """
    weights = find(source)
    _check_model(source, model, weights)
    _take_over(network, weights, model, replace_head)


def load_weights(
    source: str | os.PathLike[str],
    model: str | None = None,
    *,
    device: str = "cpu",
    backend: str | None = None,
    **options: Any,
) -> Network:
    """A network with weights, and as many classes as these have: ``load_weights("hf:timm/resnet18.a1_in1k")``.

    Parameters
    ----------
    source
        What ``start_from`` takes; an ``.onnx`` file says itself what its network is.
    model
        The network's name, where the source does not say it: for files of PyTorch's that do not come from the hub.
    device, backend
        Where to compute, and the library.
    **options
        The model's own.

    Raises
    ------
    InputError
        For an unknown model, or weights that are not of this model or cannot be read.
    """
    if model is not None:
        recipe(model)  # before anything is downloaded for a name that is not known
    weights = find(source)
    if is_onnx(weights.path):
        return Network.from_onnx(weights.path, device=device, backend=backend)
    if is_written_by_xpnet(weights.path):
        return Network.load(weights.path, device=device, backend=backend)
    _check_model(source, model, weights)
    name = model or weights.model
    if name is None:
        raise InputError(
            f"Weights {source}: expected the name of their model, since xpnet did not save them, got none. Pass model."
        )
    options |= {"seed": None, "device": device, "backend": backend}  # all values are the file's
    network = create(name, **options)
    head = read_torch_tensors(weights.path).get(weights.torch_name(f"{network.head}.weight"))
    ours = network.parameters()[f"{network.head}.weight"]
    # Of other features it is another model's; and if it were believed, a small file could ask for a large network.
    is_alike = head is not None and head.ndim > 1 and math.prod(head.shape[1:]) == math.prod(ours.shape[1:])
    if head is not None and is_alike and len(head) != len(ours):
        network = create(name, classes=len(head), **options)
    _take_over(network, weights, name, replace_head=False)
    return network


def _take_over(network: Network, weights: Weights, model: str | None, replace_head: bool) -> None:
    network.load_tensors(weights.path, replace_head=replace_head, torch_name=weights.torch_name)
    if not is_onnx(weights.path) and not is_written_by_xpnet(weights.path):
        network.set_normalization(*(weights.pixels or (pixels(model) if model else IMAGENET_PIXELS)))


def _check_model(source: str | os.PathLike[str], model: str | None, weights: Weights) -> None:
    if model is not None and weights.model not in (None, model):
        raise InputError(
            f"Weights {source}: expected weights of the model {model}, got those of {weights.model}. "
            "Choose that model, or other weights."
        )
