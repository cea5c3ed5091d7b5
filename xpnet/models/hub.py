"""Weights that are downloaded by name: from the Hugging Face Hub, and from a server such as torchvision's."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from xpnet.checks import import_library
from xpnet.datasets.download import RemoteFile, fetch
from xpnet.errors import InputError, printable, short
from xpnet.models.imagenet import Pixels
from xpnet.models.timm_names import timm_name
from xpnet.torch_weights import torch_name

HUB, WEB = "hf:", "https://"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_NAME = re.compile(r".*-([0-9a-f]{8,64})\.(pth|safetensors)")
_WEIGHTS, _CONFIG = "model.safetensors", "config.json"
_LARGEST_CONFIG = 1 << 20  # bytes; real ones have one or two thousand
_SAME_NAMES = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "densenet121"),
    *(f"vgg{depth}{ending}" for depth in (11, 13, 16, 19) for ending in ("", "_bn")),
)
# timm's architectures, and what they are called here.
ARCHITECTURES: Mapping[str, str] = {
    **{name: name for name in _SAME_NAMES},
    "mobilenetv2_100": "mobilenet_v2",
    "vit_tiny_patch16_224": "vit_tiny",
    "vit_small_patch16_224": "vit_small",
}


class Weights(NamedTuple):
    """A file of weights, and what is known beside its tensors: the model, its pixels, the names of its tensors."""

    path: Path
    model: str | None = None
    pixels: Pixels | None = None
    torch_name: Callable[[str], str] = torch_name


def is_remote(source: str | os.PathLike[str]) -> bool:
    """Whether weights are named by where they are downloaded from, and not by a path."""
    return isinstance(source, str) and source.startswith((HUB, WEB))


def find(source: str | os.PathLike[str]) -> Weights:
    """The file that a path, ``hf:OWNER/NAME`` or a URL leads to; downloaded unless it is in the cache.

    Raises InputError if there is no such repository or file, if it cannot be downloaded or has another hash than
    published, or if it is of an architecture that is not here.
    """
    if not is_remote(source):
        return Weights(Path(source))
    name = printable(str(source))
    return _from_hub(name) if name.startswith(HUB) else Weights(_from_web(name))


def _from_web(url: str) -> Path:
    """A file whose name ends in the first digits of its SHA-256, as torchvision's do: resnet18-f37072fd.pth."""
    found = _FILE_NAME.fullmatch(url.rpartition("/")[2])
    if not found:
        raise InputError(
            f"Weights {url}: expected a file name that ends in the first digits of its SHA-256, such as "
            "resnet18-f37072fd.pth, got another. Download it yourself, and pass the file."
        )
    return fetch("weights", RemoteFile(url, found[1]), "Download it elsewhere, and pass the file.")


def _from_hub(source: str) -> Weights:
    """The safetensors file and the settings of one of timm's models."""
    repository = source.removeprefix(HUB)
    if not _REPOSITORY.fullmatch(repository):
        raise _other_form(source, repository)
    config = _read_config(source, _download(source, repository, _CONFIG))
    model = ARCHITECTURES.get(str(config.get("architecture")))
    if model is None:
        got = config.get("architecture") or config.get("architectures") or "none"
        raise InputError(
            f"Weights {source}: expected one of timm's architectures {', '.join(ARCHITECTURES)}, got {got!r:.80}. "
            "Choose another repository."
        )
    pixels, path = _pixels(source, config), _download(source, repository, _WEIGHTS)
    _check_unchanged(source, path)
    return Weights(path, model, pixels, lambda name: timm_name(model, name))


def _other_form(source: str, repository: str) -> InputError:
    return InputError(f"Weights {source}: expected hf:OWNER/NAME, got {short(repository)}. Change it.")


def _download(source: str, repository: str, file: str) -> Path:
    hub = import_library(
        "huggingface_hub",
        f"Weights {source}: huggingface_hub, which downloads them, is not installed. "
        'Install it with: pip install "xpnet[hub]".',
    )
    errors, download = importlib.import_module("huggingface_hub.errors"), hub.hf_hub_download
    try:
        with _without_warnings():
            return Path(download(repository, file))
    except errors.HFValidationError as error:
        raise _other_form(source, repository) from error
    except errors.GatedRepoError as error:
        raise InputError(
            f"Weights {source}: expected a public repository, got one that asks for an account. "
            "Log in with: hf auth login."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f"Weights {source}: expected a repository of the Hugging Face Hub, got none of this name. "
            "Check OWNER and NAME."
        ) from error
    except errors.LocalEntryNotFoundError as error:  # the hub cannot be reached, and the cache does not have the file
        raise InputError(
            f"Weights {source}: expected to download {file}, got no connection. "
            "Try again, or download it elsewhere and pass the file."
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"Weights {source}: expected a repository with {file}, got one without. Choose another."
        ) from error
    except OSError as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise InputError(
            f"Weights {source}: expected to download {file}, got an error ({reason}). Try again."
        ) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Without the hub's warnings of each of its tries: the error that comes of the last one says it all.

    The hub sets up its logger, and its level, when its function is first looked up, which has to be before.
    """
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_unchanged(source: str, path: Path) -> None:
    """Refuse a file whose SHA-256 is not the hub's, by which its cache names the file."""
    expected = path.resolve().name
    if not re.fullmatch("[0-9a-f]{64}", expected):  # a cache without links
        return
    with open(path, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise InputError(
            f"Weights {source}: expected the SHA-256 {expected}, got {actual}. Remove {path.resolve()} and try again."
        )


def _read_config(source: str, path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise ValueError("too large")
        config = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(type(config).__name__)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"Weights {source}: expected {_CONFIG} to hold settings, got something else ({error!s:.80}). "
            "Choose another repository."
        ) from error
    return config


def _pixels(source: str, config: Mapping[str, Any]) -> Pixels:
    """Mean and standard deviation of pixels of 0 to 1, as the settings have them, for pixels of 0 to 255."""
    settings = config.get("pretrained_cfg")
    try:
        mean, std = ([float(value) for value in (settings or {})[name]] for name in ("mean", "std"))
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError("of other values")
        return Pixels(tuple(255 * value for value in mean), tuple(1 / (255 * value) for value in std))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"Weights {source}: expected mean and std of the pixels in {_CONFIG}, got none ({error!s:.80}). "
            "Choose another repository, or download the file and pass it."
        ) from error
