"""Squeeze and excitation: an input times what a branch makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from xpnet.backend import Array, array_namespace
from xpnet.layers.base import Cache, Layer, shape_holder
from xpnet.layers.branches import Branches
from xpnet.shapes import Shape


@dataclass(frozen=True)
class ScaleBy(Branches):
    r"""Each channel, or each value, of x times what a branch makes of x.

    Squeeze-and-excitation is ``ScaleBy(Sequential([GlobalAvgPool2D(), Dense(C // r), ReLU(), Dense(C), Sigmoid()]))``.

    Parameters
    ----------
    branch
        A layer that gives (N, C), or the shape of x.

    Raises
    ------
    InputError
        If the branch gives another shape.

    Notes
    -----
    .. math:: y = x \cdot s, \quad s = \mathrm{branch}(x)

    Backward, with g = dL/dy; ds is summed over all places where s has one value for them:

    .. math:: ds = g \cdot x, \quad dx = g \cdot s + d\mathrm{branch}(ds)

    Shapes: x (N, ..., C); y has the shape of x.

    References
    ----------
    Hu, Shen and Sun, CVPR 2018.
    """

    branch: Layer
    prefix: ClassVar[str] = "scale_by"

    def paths(self) -> list[tuple[str, Layer]]:
        return [("branch", self.branch)]

    def joined_shape(self, shapes: Mapping[str, Shape], input_shape: Shape) -> Shape:
        if shapes["branch"] not in (input_shape, input_shape[-1:]):
            raise self.error(
                f"the branch gives {shapes['branch']} for {input_shape}. "
                f"Let it give {input_shape[-1:]} or the shape of its input."
            )
        return input_shape

    def join(self, x: Array, outputs: Mapping[str, Array]) -> tuple[Array, Cache]:
        s = outputs["branch"]
        wide = array_namespace(s).reshape(s, (s.shape[0], *(1,) * (x.ndim - s.ndim), *s.shape[1:]))
        return x * wide, {"x": x, "s": wide, "output": shape_holder(s)}

    def part(self, dy: Array, joined: Cache) -> tuple[list[Array], Array | None]:
        xp, (x, s, output) = array_namespace(dy), (joined["x"], joined["s"], joined["output"])
        ds = dy * x
        if output.ndim < ds.ndim:
            ds = xp.sum(ds, axis=tuple(range(1, ds.ndim - 1)))
        return [ds], dy * s
