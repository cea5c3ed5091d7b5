"""Networks from torch.nn alone, most with torchvision's names, to load weights from and compare with."""

from collections import OrderedDict
from functools import partial

import torch
from torch import nn


class AlexNet(nn.Module):
    """The single-tower form; images of 224x224 and of 227x227 leave 6x6 values of each channel."""

    def __init__(self, classes, left=(6, 6)):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(left)
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Linear(256 * left[0] * left[1], 4096), nn.ReLU()),
            *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
            nn.Linear(4096, classes),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class ResNet(nn.Module):
    """Any of the ResNets, from a block, the channels after each stage, and the blocks in each."""

    def __init__(self, block, outputs, depths, classes, *, stem="imagenet", colours=3):
        super().__init__()
        self.pre_activation = block is BottleneckV2
        self.conv1 = conv(colours, 64, 7, 2) if stem == "imagenet" else conv(colours, 64, 3)
        self.bn1 = nn.Identity() if self.pre_activation else nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
        channels = 64
        for stage, (depth, channels_out) in enumerate(zip(depths, outputs, strict=True)):
            blocks = [block(channels, channels_out, 2 if stage else 1)]
            blocks += [block(channels_out, channels_out, 1) for _ in range(depth - 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            channels = channels_out
        self.stages = len(depths)
        self.bn = nn.BatchNorm2d(channels) if self.pre_activation else nn.Identity()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x):
        x = self.conv1(x)
        x = self.maxpool(x if self.pre_activation else self.bn1(x).relu())
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        x = self.bn(x).relu()
        return self.fc(x.mean(dim=(2, 3)))


class BasicBlock(nn.Module):
    def __init__(self, channels, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = conv(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self.downsample = downsample(channels, outputs, stride)

    def forward(self, x):
        branch = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (branch + self.downsample(x)).relu()


class Bottleneck(nn.Module):
    def __init__(self, channels, outputs, stride):
        super().__init__()
        width = outputs // 4
        self.conv1, self.bn1 = conv(channels, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = downsample(channels, outputs, stride)

    def forward(self, x):
        branch = self.bn1(self.conv1(x)).relu()
        branch = self.bn2(self.conv2(branch)).relu()
        return (self.bn3(self.conv3(branch)) + self.downsample(x)).relu()


class BottleneckV2(nn.Module):
    def __init__(self, channels, outputs, stride):
        super().__init__()
        width = outputs // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(channels), conv(channels, width, 1)
        self.bn2, self.conv2 = nn.BatchNorm2d(width), conv(width, width, 3, stride)
        self.bn3, self.conv3 = nn.BatchNorm2d(width), conv(width, outputs, 1)
        if stride != 1 or channels != outputs:
            self.downsample = nn.Sequential(conv(channels, outputs, 1, stride))

    def forward(self, x):
        active = self.bn1(x).relu()
        branch = self.conv2(self.bn2(self.conv1(active)).relu())
        branch = self.conv3(self.bn3(branch).relu())
        return branch + (self.downsample(active) if hasattr(self, "downsample") else x)


class NarrowResNet(nn.Module):
    """The ResNets for CIFAR-10, with shortcuts A."""

    def __init__(self, blocks, classes):
        super().__init__()
        self.conv1, self.bn1, channels = conv(3, 16, 3), nn.BatchNorm2d(16), 16
        for stage in (1, 2, 3):
            outputs = 16 * 2 ** (stage - 1)
            others = [NarrowBlock(outputs, outputs) for _ in range(blocks - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(NarrowBlock(channels, outputs), *others))
            channels = outputs
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.fc(x.mean(dim=(2, 3)))


class NarrowBlock(BasicBlock):
    def __init__(self, channels, outputs):
        super().__init__(channels, outputs, outputs // channels)
        self.downsample = Padded((outputs - channels) // 2) if outputs > channels else nn.Identity()


class Padded(nn.Module):
    def __init__(self, added):
        super().__init__()
        self.added = added

    def forward(self, x):
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))


class UNet(nn.Module):
    """Tensors in the order of the layers, without names of their own."""

    def __init__(self, width, colours, classes, batch_norm=False):
        super().__init__()
        pair = partial(two_convolutions, batch_norm)
        sizes = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(pair(a, b) for a, b in zip([colours, *sizes], sizes, strict=False))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * size, size, 2, 2) for size in sizes[:-1])
        self.merge = nn.ModuleList(pair(2 * size, size) for size in sizes[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for level, convolutions in enumerate(self.down):
            x = convolutions(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for level in (3, 2, 1, 0):
            x = self.merge[level](torch.cat([skips[level], self.up[level](x)], dim=1))
        return self.head(x)

    @staticmethod
    def name(ours):
        """What it calls one of the tensors of xpnet's network."""
        *path, layer, tensor = ours.split(".")
        level = path.count("below")
        if layer == "head":
            return f"head.{tensor}"
        if layer == "up":
            return f"up.{level - 1}.{tensor}"
        part = "merge" if path[-1] == "merge" else "down"
        return f"{part}.{level}.{layer}.{tensor}"


def two_convolutions(batch_norm, channels, outputs):
    def norm():
        return nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()

    layers = {
        "conv1": nn.Conv2d(channels, outputs, 3, padding=1, bias=not batch_norm),
        "bn1": norm(),
        "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(outputs, outputs, 3, padding=1, bias=not batch_norm),
        "bn2": norm(),
        "relu2": nn.ReLU(),
    }
    return nn.Sequential(OrderedDict(layers))


def conv(channels, outputs, kernel, stride=1):
    return nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False)


def downsample(channels, outputs, stride):
    if stride == 1 and channels == outputs:
        return nn.Identity()
    return nn.Sequential(conv(channels, outputs, 1, stride), nn.BatchNorm2d(outputs))


@torch.no_grad()
def randomize(model, seed=0):
    """Weights that keep signals of a useful size, and running statistics and biases that are neither 0 nor 1."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.3, 0.8)
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
        if getattr(module, "bias", None) is not None:
            module.bias.normal_(0.0, 0.3)
    return model.eval()
