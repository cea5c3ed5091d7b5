"""The checks of shapes that layers share, with errors in the layer's name."""

from __future__ import annotations

from xpnet.layers.errors import LayerError, batched
from xpnet.shapes import Pair, Shape, Window


class ShapeChecks:
    """The part of a layer that refuses shapes, all without the batch."""

    def error(self, message: str) -> LayerError:
        """An InputError that begins with this layer's kind and, once it has left all containers, dotted path."""
        return LayerError(self, message)

    def check_features(self, shape: Shape) -> int:
        """The number of features of a vector or sequence shape."""
        if len(shape) not in (1, 2):
            raise self.error(
                f"expected vectors (N, features) or sequences (N, T, features), got shape {batched(shape)}. "
                "Add a Flatten before it."
            )
        return shape[-1]

    def check_groups(self, channels: int, groups: int) -> None:
        """Raise InputError unless the channels can be cut into so many equal groups."""
        if channels % groups:
            raise self.error(f"expected channels to be a multiple of {groups} groups, got {channels}. Change groups.")

    def check_sequences(self, shape: Shape) -> Pair:
        """Length and channels of a sequence shape."""
        if len(shape) != 2:
            raise self.error(f"expected sequences (N, T, C), got shape {batched(shape)}. Reshape it.")
        return shape[0], shape[1]

    def check_images(self, shape: Shape) -> tuple[int, int, int]:
        """Height, width and channels of an image shape."""
        if len(shape) != 3:
            raise self.error(
                f"expected images (N, H, W, C), got shape {batched(shape)}. "
                + ("Reshape the input to (N, H, W, C)." if len(shape) == 1 else "Add the missing axis.")
            )
        return shape[0], shape[1], shape[2]

    def check_fits(self, window: Window, height: int, width: int) -> Pair:
        """Positions of a window in an image, at least one along each axis."""
        rows, columns = window.output_size(height, width)
        if rows < 1 or columns < 1:
            (top, bottom), (left, right) = window.padding
            raise self.error(
                f"window {window.extent[0]}x{window.extent[1]} is larger than its padded input "
                f"{height + top + bottom}x{width + left + right}. Use a smaller window or more padding."
            )
        return rows, columns
