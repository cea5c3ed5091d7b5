"""What cuDNN is asked to compute, and the execution plan it makes of that; neither an array nor a GPU is needed.

cuDNN counts dimensions as (N, C, H, W) wherever they lie in memory: here in the order of (N, H, W, C), for weights
(O, C, kh, kw) in that of (O, kh, kw, C).

Source: documentation and headers of nvidia-cudnn-frontend 1.26.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cudnn

from xpnet.shapes import Shape, Window

FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = "forward", "input gradient", "weight gradient"
IMAGES, WEIGHT, BIAS, OUTPUT = range(1, 5)  # numbers by which a plan knows its arrays; a gradient has that of its array
RESULTS = {FORWARD: OUTPUT, INPUT_GRADIENT: IMAGES, WEIGHT_GRADIENT: WEIGHT}
# Not float64: cudnn-frontend 1.26 hands cuDNN the factor 1 in float32 there, which it reads as 5e-315. Source:
# https://github.com/NVIDIA/cudnn-frontend/pull/423, and seen on an H200.
DTYPES = {"float16": cudnn.data_type.HALF, "float32": cudnn.data_type.FLOAT}
# What rounds more than float32 does. Without tensor cores cuDNN may still choose Winograd's products of sums.
_INEXACT = (
    cudnn.numerical_note.TENSOR_CORE,
    cudnn.numerical_note.DOWN_CONVERT_INPUTS,
    cudnn.numerical_note.WINOGRAD,
)


class Convolution(NamedTuple):
    """A convolution or one of its gradients: all that a plan depends on beside the GPU.

    Images are (N, H, W, C), the weight (O, kh, kw, C / groups). The precision (float32, tf32) matters to float32 alone.
    """

    operation: str
    images: Shape
    weight: Shape
    window: Window
    dtype: str
    precision: str = "float32"
    biased: bool = False
    deterministic: bool = False

    def shapes(self) -> dict[int, Shape]:
        """The shape of each array by its number."""
        outputs = self.weight[0]
        shapes = {IMAGES: self.images, WEIGHT: self.weight, OUTPUT: self.output}
        return {**shapes, BIAS: (1, 1, 1, outputs)} if self.biased else shapes

    @property
    def output(self) -> Shape:
        """Shape of the convolution's result, (N, H', W', O)."""
        return self.images[0], *self.window.output_size(*self.images[1:3]), self.weight[0]


def build(convolution: Convolution, sm_version: int, **target: Any) -> Any:
    """The plan for a GPU, of compute capability ``sm_version`` / 10, that a ``handle`` or ``device_property`` names.

    Raises cudnnGraphNotSupportedError or RuntimeError where cuDNN has none.
    """
    graph = cudnn.pygraph(
        io_data_type=DTYPES[convolution.dtype],
        intermediate_data_type=cudnn.data_type.FLOAT,
        compute_data_type=cudnn.data_type.FLOAT,
        sm_version=sm_version,
        **target,
    )
    _describe(graph, convolution)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    if convolution.dtype == "float32" and convolution.precision == "float32":
        graph.deselect_numeric_notes(list(_INEXACT))
    if convolution.deterministic:
        graph.deselect_numeric_notes([cudnn.numerical_note.NONDETERMINISTIC])
    graph.check_support()
    graph.build_plans()
    return graph


def _describe(graph: Any, convolution: Convolution) -> None:
    """Put a convolution into a graph."""
    shapes = convolution.shapes()
    tensors = {
        uid: graph.tensor(**_layout(shape), uid=uid)
        for uid, shape in shapes.items()
        if uid != RESULTS[convolution.operation]
    }
    settings = _settings(convolution.window)
    if convolution.operation == FORWARD:
        result = graph.conv_fprop(tensors[IMAGES], tensors[WEIGHT], **settings)
        if convolution.biased:
            result = graph.bias(result, tensors[BIAS])
    elif convolution.operation == INPUT_GRADIENT:
        result = graph.conv_dgrad(tensors[OUTPUT], tensors[WEIGHT], **settings)
    else:
        result = graph.conv_wgrad(tensors[IMAGES], tensors[OUTPUT], **settings)
    uid = RESULTS[convolution.operation]
    layout = _layout(shapes[uid])
    result.set_output(True).set_uid(uid).set_dim(layout["dim"]).set_stride(layout["stride"])


def _layout(shape: Shape) -> dict[str, list[int]]:
    """Dimensions in cuDNN's order, and how far apart in memory neighbours along each of them are."""
    n, h, w, c = shape
    return {"dim": [n, c, h, w], "stride": [h * w * c, 1, w * c, c]}


def _settings(window: Window) -> dict[str, list[int]]:
    (top, bottom), (left, right) = window.padding
    return {
        "pre_padding": [top, left],
        "post_padding": [bottom, right],
        "stride": list(window.stride),
        "dilation": list(window.dilation),
    }
