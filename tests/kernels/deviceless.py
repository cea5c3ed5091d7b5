"""Builds cuDNN's plans for GPUs that are not there and prints, as JSON, each plan's engine or why there is none.

A program of its own: cuDNN's engines link the driver's libcuda.so.1, and what stands for it (the argument: a library
whose functions all fail) must not be met by CuPy.
"""

import ctypes
import json
import re
import sys
from itertools import product

import cudnn

from xpnet import models
from xpnet.kernels.cudnn_plans import FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, Convolution, build
from xpnet.layers import Conv2D

OPERATIONS = (FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT)
NETWORKS = {"mnist_starter": 16, "lenet5": 128, "cifar10_starter": 128, "fer_cnn": 64, "resnet50": 64}  # batch sizes
OTHERS = {
    "dilated": ((16, 28, 28, 8), Conv2D(12, 3, padding=2, dilation=2)),
    "same with an even kernel": ((16, 28, 28, 8), Conv2D(12, (4, 2), padding="same")),
    "strides by axis": ((16, 28, 21, 3), Conv2D(5, (3, 2), (2, 3), (1, 0))),
    "groups": ((16, 14, 14, 32), Conv2D(64, 3, padding=1, groups=4)),
    "depthwise": ((16, 14, 14, 32), Conv2D(32, 3, padding=1, groups=32)),
    "a window in the padding": ((2, 1, 1, 4), Conv2D(4, 1, (1, 3), (0, 2))),
}
NUMBERS = (("float32", "float32"), ("float32", "tf32"), ("float16", "float32"))
# Figures of the data sheets, for an A100 and an H200.
COMMON = {
    "cudaDeviceId": 0,
    "driverVer": 13000,
    "smCountOrigin": 0,
    "maxGridSize": [2**31 - 1, 65535, 65535],
    "maxBlockSize": [1024, 1024, 64],
    "regsPerBlock": 65536,
    "warpSize": 32,
    "maxSharedMemoryPerBlock": 49152,
    "oversizedSharedMemoryPerBlock": 0,
    "reservedSharedMemoryPerBlock": 1024,
    "maxRegistersPerSM": 65536,
    "maxCtasPerSM": 32,
    "maxThreadsPerBlock": 1024,
    "maxThreadsPerSM": 2048,
    "pciDeviceId": 0,
    "isTccDriver": 0,
    "supportCoopLaunch": 1,
}
GPUS = {
    80: {
        "deviceName": "NVIDIA A100-SXM4-80GB",
        "multiProcessorCount": 108,
        "maxSharedMemoryPerBlockOptin": 166912,
        "smClockRateKHz": 1410000,
        "memClockRateKHz": 1593000,
        "memoryBusWidth": 5120,
        "l2CacheSize": 41943040,
        "totalGlobalMem": 85 * 10**9,
    },
    90: {
        "deviceName": "NVIDIA H200",
        "multiProcessorCount": 132,
        "maxSharedMemoryPerBlockOptin": 232448,
        "smClockRateKHz": 1980000,
        "memClockRateKHz": 3201000,
        "memoryBusWidth": 6144,
        "l2CacheSize": 62914560,
        "totalGlobalMem": 150 * 10**9,
    },
}


def convolutions():
    """Images and layers: all that are different in the networks, and others; by name."""
    found = {}
    for name, batch in NETWORKS.items():
        network = models.create(name)
        for part, layer, shape in network.layer.leaves(network.input_shape):
            if isinstance(layer, Conv2D):
                found.setdefault(((batch, *shape), layer), f"{name} {part}")
    return {name: case for case, name in found.items()} | OTHERS


def engine(convolution, sm_version):
    """The number of the engine in a plan, or why there is none."""
    device = cudnn.create_device_properties(json.dumps({**COMMON, **GPUS[sm_version], "deviceVer": 10 * sm_version}))
    try:
        plan = build(convolution, sm_version, device_property=device)
    except (cudnn.cudnnGraphNotSupportedError, RuntimeError) as error:
        return str(error)
    found = re.search(rb'"engineId":(\d+)', bytes(plan.serialize()))
    return int(found[1]) if found and plan.get_workspace_size() >= 0 else "a plan without an engine"


def main():
    ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
    rows = []
    for name, (images, layer) in convolutions().items():
        # Of some also the plans that give the same bits each time; of all would take twice as long.
        choices = (False, True) if name in OTHERS or name.startswith("mnist_starter") else (False,)
        weight = (layer.filters, *layer.window.kernel, images[3] // layer.groups)
        for sm_version in GPUS:
            for (dtype, precision), operation, deterministic in product(NUMBERS, OPERATIONS, choices):
                biased = operation == FORWARD and layer.bias
                convolution = Convolution(
                    operation, images, weight, layer.window, dtype, precision, biased, deterministic
                )
                found = engine(convolution, sm_version)
                rows.append((name, operation, dtype, precision, deterministic, sm_version, found))
    json.dump(rows, sys.stdout)


main()
