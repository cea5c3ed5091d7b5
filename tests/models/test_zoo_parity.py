"""Networks against torchvision's and timm's own, with weights of theirs that come through a file."""

import numpy as np
import pytest

from xpnet import models
from xpnet.models import registry
from xpnet.models.hub import ARCHITECTURES
from xpnet.models.timm_names import timm_name
from xpnet.torch_weights import torch_name, torch_tensors
from xpnet.weights import tensor_shapes

torch = pytest.importorskip("torch")

from tests.models.test_torch_parity import assert_same_logits, draw_images  # noqa: E402
from tests.models.torch_models import randomize  # noqa: E402
from tests.models.zoo import import_timm, import_torchvision  # noqa: E402

TORCHVISION = [
    *("alexnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *(f"vgg{depth}{ending}" for depth in (11, 13, 16, 19) for ending in ("", "_bn")),
    *("googlenet", "squeezenet1_0", "squeezenet1_1", "densenet121", "mobilenet_v2"),
]
TIMM = {"vit_tiny": "vit_tiny_patch16_224", "vit_small": "vit_small_patch16_224"}


def make_twin(model, size, classes=1000):
    if model in TIMM:
        return import_timm().create_model(TIMM[model], img_size=size, num_classes=classes)
    options = {"init_weights": False} if model == "googlenet" else {}
    return getattr(import_torchvision().models, model)(weights=None, num_classes=classes, **options)


@pytest.mark.parametrize("model", [*TORCHVISION, *TIMM])
def test_every_tensor_is_theirs_in_name_and_shape(model):
    """At full size, without memory for any."""
    with torch.device("meta"):
        twin = make_twin(model, 224)
    theirs = {name: tuple(tensor.shape) for name, tensor in twin.state_dict().items()}
    kept = {name: shape for name, shape in theirs.items() if not name.startswith("aux") and "num_batches" not in name}
    network = registry.find(model)
    layers = network.build(network.input_shape, network.classes)
    places = torch_tensors(
        layers.leaves(network.input_shape), tensor_shapes(layers, network.input_shape), torch_name
    ).values()
    assert {place.name: place.shape for place in places} == kept


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("vgg16_bn", 32),
        ("googlenet", 64),
        ("squeezenet1_0", 64),
        ("squeezenet1_1", 64),
        ("densenet121", 64),
        ("mobilenet_v2", 64),
        ("vit_tiny", 64),
        ("vit_small", 64),
    ],
)
def test_logits_are_theirs(model, size, tmp_path):
    from safetensors.torch import save_file

    twin, path = randomize(make_twin(model, size, classes=10)), tmp_path / "weights.safetensors"
    save_file(twin.state_dict(), path)
    network = models.create(model, input_shape=(size, size, 3), classes=10, seed=None)
    network.load_tensors(path)
    path.unlink()
    assert_same_logits(network, twin, draw_images(2, size))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_timms_names_of_every_tensor(architecture):
    with torch.device("meta"):
        twin = import_timm().create_model(architecture)
    model = registry.find(ARCHITECTURES[architecture])
    layers = model.build(model.input_shape, model.classes)
    ours = {timm_name(ARCHITECTURES[architecture], name) for name in tensor_shapes(layers, model.input_shape)}
    theirs = {name for name in twin.state_dict() if not name.endswith("num_batches_tracked")}
    assert {name for name in ours if not name.startswith("normalize1.")} == theirs


@pytest.mark.parametrize(("architecture", "size"), [("mobilenetv2_100", 64), ("vgg11", 224), ("resnet18", 64)])
def test_logits_with_timms_weights(architecture, size, tmp_path):
    from safetensors.torch import save_file

    twin = randomize(import_timm().create_model(architecture, num_classes=10))
    path, model = tmp_path / "weights.safetensors", ARCHITECTURES[architecture]
    save_file(twin.state_dict(), path)
    network = models.create(model, input_shape=(size, size, 3), classes=10, seed=None)
    network.load_tensors(path, torch_name=lambda name: timm_name(model, name))
    path.unlink()
    assert_same_logits(network, twin, draw_images(1, size))


def test_names_of_older_densenets(tmp_path):
    """Files of before torchvision 0.3, which are those that it downloads, have a dot more in each dense layer."""
    import re

    from safetensors.torch import save_file

    state_dict = randomize(make_twin("densenet121", 64, classes=10)).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name): t for name, t in state_dict.items()}
    assert old.keys() != state_dict.keys()
    networks = []
    for number, tensors in enumerate((state_dict, old)):
        save_file(tensors, tmp_path / f"{number}.safetensors")
        networks.append(models.create("densenet121", input_shape=(64, 64, 3), classes=10))
        networks[-1].load_tensors(tmp_path / f"{number}.safetensors")
    assert np.array_equal(networks[0].theta, networks[1].theta)
