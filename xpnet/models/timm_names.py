"""What timm calls the tensors of networks whose layers have torchvision's names here."""

from __future__ import annotations

from xpnet.torch_weights import torch_name

_VGG = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
_MOBILENET = {"0.0": "conv_stem", "0.1": "bn1", "18.0": "conv_head", "18.1": "bn2"}
# By torchvision's place within a block: of the first block, which does not widen, and of the others.
_FIRST_BLOCK = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_BLOCK = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}


def timm_name(model: str, name: str) -> str:
    """The name that timm has for a tensor of one of our models.

    >>> timm_name("mobilenet_v2", "features.4.branch.conv.1.0.weight"), timm_name("vgg16", "classifier.0.bias")
    ('blocks.2.0.conv_dw.weight', 'pre_logits.fc1.bias')
    """
    path, _, tensor = torch_name(name).rpartition(".")
    if model.startswith("vgg"):
        path = _VGG.get(path, path)
    if model == "mobilenet_v2":
        path = _mobilenet_path(path)
    return f"{path}.{tensor}" if path else tensor


def _mobilenet_path(path: str) -> str:
    part, _, place = path.partition(".")
    if part != "features":
        return part  # the classifier, which in timm does not hold the dropout
    number, _, inner = place.partition(".conv.")
    if not inner:
        return _MOBILENET[place]
    from xpnet.models.mobilenet import STAGES  # here: the file of a family is imported when a name of it is used

    block, count = int(number) - 1, 0
    for stage, (_, _, blocks, _) in enumerate(STAGES):
        if block < count + blocks:
            return f"blocks.{stage}.{block - count}.{(_BLOCK if block else _FIRST_BLOCK)[inner]}"
        count += blocks
    raise KeyError(path)
