"""Networks against the same ones built from torch.nn, with weights that come through a saved state_dict."""

import numpy as np
import pytest

from xpnet import models
from xpnet.layout import walk
from xpnet.models import resnet
from xpnet.network import Network

torch = pytest.importorskip("torch")

from tests.models.torch_models import (  # noqa: E402
    AlexNet,
    BasicBlock,
    Bottleneck,
    BottleneckV2,
    NarrowResNet,
    ResNet,
    UNet,
    randomize,
)


def draw_images(batch, size, channels=3, width=None):
    return np.random.default_rng(1).normal(size=(batch, size, width or size, channels)).astype(np.float32)


def nchw(images):
    return torch.tensor(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


def load(network, state_dict, path):
    torch.save(state_dict, path)
    network.load_tensors(path)
    path.unlink()  # of hundreds of megabytes
    return network


def assert_same_logits(network, twin, images):
    with torch.no_grad():
        expected = twin(nchw(images)).numpy()
    scale = expected.std()
    assert np.isfinite(scale)
    np.testing.assert_allclose(network(images) / scale, expected / scale, rtol=0.0, atol=1e-4)


def test_alexnet(tmp_path):
    """From a safetensors file, the others from PyTorch's own."""
    from safetensors.torch import save_file

    twin, network = randomize(AlexNet(1000)), models.create("alexnet", input_shape=(227, 227, 3))
    save_file(twin.state_dict(), tmp_path / "alexnet.safetensors")
    network.load_tensors(tmp_path / "alexnet.safetensors")
    assert_same_logits(network, twin, draw_images(1, 227))


def test_training_step_of_alexnet(tmp_path):
    """Loss and gradient in float64, without dropout. The gradient travels as a state_dict, as the weights do."""
    twin, images, labels = randomize(AlexNet(5, left=(1, 2))).double(), draw_images(2, 63, width=95), np.array([0, 3])
    network = models.create("alexnet", input_shape=(63, 95, 3), classes=5, dropout=0.0, dtype="float64")
    load(network, twin.state_dict(), tmp_path / "weights.pth")
    actual = network.loss_and_gradient(network.theta, network.state, images.astype(np.float64), labels)
    loss = torch.nn.functional.cross_entropy(twin(nchw(images).double()), torch.tensor(labels))
    loss.backward()
    assert float(actual.loss) == pytest.approx(loss.item(), rel=1e-10)
    load(network, {name: tensor.grad for name, tensor in twin.named_parameters()}, tmp_path / "weights.pth")
    ours = dict(walk(network.layout.unflatten(actual.gradient)))
    assert len(ours) == 16
    for name, expected in network.parameters().items():
        scale = np.abs(expected).max()
        assert scale > 1e-3
        np.testing.assert_allclose(ours[name] / scale, expected / scale, rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    ("model", "block", "depths"),
    [
        ("resnet50", Bottleneck, (3, 4, 6, 3)),
        ("resnet101", Bottleneck, (3, 4, 23, 3)),
        ("resnet50v2", BottleneckV2, (3, 4, 6, 3)),
    ],
)
def test_resnets_of_bottlenecks(model, block, depths, tmp_path):
    twin = randomize(ResNet(block, (256, 512, 1024, 2048), depths, 1000))
    network = load(models.create(model), twin.state_dict(), tmp_path / "weights.pth")
    assert_same_logits(network, twin, draw_images(1, 224))


def test_resnet18_with_a_small_stem_other_classes_and_grey_images(tmp_path):
    twin = randomize(ResNet(BasicBlock, (64, 128, 256, 512), (2, 2, 2, 2), 7, stem="small", colours=1))
    network = models.create("resnet18", input_shape=(20, 20, 1), classes=7, stem="small")
    load(network, twin.state_dict(), tmp_path / "weights.pth")
    assert_same_logits(network, twin, draw_images(3, 20, channels=1))


@pytest.mark.parametrize(("model", "blocks"), [("resnet20", 3), ("resnet32", 5), ("resnet56", 9), ("resnet110", 18)])
def test_resnets_for_cifar10(model, blocks, tmp_path):
    twin = randomize(NarrowResNet(blocks, 10))
    network = load(models.create(model, input_shape=(15, 15, 3)), twin.state_dict(), tmp_path / "weights.pth")
    assert_same_logits(network, twin, draw_images(2, 15))


@pytest.mark.parametrize(("model", "width", "batch_norm"), [("unet", 64, False), ("unet_small", 16, True)])
def test_unet(model, width, batch_norm, tmp_path):
    """A class for each pixel: the logits of all."""
    twin, path = randomize(UNet(width, 3, 4, batch_norm)), tmp_path / "weights.pth"
    network = models.create(model, input_shape=(32, 48, 3))
    torch.save(twin.state_dict(), path)
    network.load_tensors(path, torch_name=UNet.name)
    images = draw_images(2, 32, width=48)
    with torch.no_grad():
        expected = np.moveaxis(twin(nchw(images)).numpy(), 1, -1)
    np.testing.assert_allclose(network(images) / expected.std(), expected / expected.std(), rtol=0, atol=1e-4)


TINY = [
    (resnet.basic_block, BasicBlock, (64, 12)),
    (resnet.bottleneck, Bottleneck, (16, 24)),
    (resnet.bottleneck_v2, BottleneckV2, (16, 24)),
]


@pytest.mark.parametrize("stem", ["imagenet", "small"])
@pytest.mark.parametrize(("block", "twin_block", "outputs"), TINY)
def test_training_step_of_a_tiny_resnet(block, twin_block, outputs, stem, tmp_path):
    """Loss, gradient and running statistics in float64. The gradient travels as a state_dict, as the weights do."""
    twin = randomize(ResNet(twin_block, outputs, (2, 2), 5, stem=stem)).double().train()
    layers, images = resnet.resnet("resnet", block, outputs, (2, 2), (13, 13, 3), 5, stem=stem), draw_images(4, 13)
    network, expected = (Network(layers, (13, 13, 3), dtype="float64") for _ in range(2))
    load(network, twin.state_dict(), tmp_path / "weights.pth")

    labels = np.array([0, 4, 2, 2])
    actual = network.loss_and_gradient(network.theta, network.state, images.astype(np.float64), labels)
    loss = torch.nn.functional.cross_entropy(twin(nchw(images).double()), torch.tensor(labels))
    loss.backward()
    load(expected, {**twin.state_dict(), **{n: p.grad for n, p in twin.named_parameters()}}, tmp_path / "gradient.pth")

    assert float(actual.loss) == pytest.approx(loss.item(), rel=1e-10)
    np.testing.assert_allclose(actual.gradient, expected.theta, rtol=1e-8, atol=1e-10)
    running = dict(walk(expected.state))
    assert len(running) > 10
    for name, statistic in walk(actual.state):
        np.testing.assert_allclose(statistic, running[name], rtol=1e-10, atol=1e-12)
