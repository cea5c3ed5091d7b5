"""What every dataset is once it is read: uint8 images and int32 labels for training, testing and maybe validation."""

from dataclasses import dataclass

import numpy as np

from xpnet.datasets.image_files import ImageFiles
from xpnet.errors import InputError

Images = np.ndarray | ImageFiles


@dataclass(frozen=True, eq=False)  # arrays have no single truth value, so datasets compare by identity
class Dataset:
    """Labelled images for training and testing, in host memory or in files that are decoded when indexed.

    The validation part is None unless it was published with the data; the trainer then splits one off.

    Shapes: images uint8 (N, H, W, C), labels int32 (N,) with values in [0, classes).

    Raises InputError where an array breaks this, is empty, or the parts have images of different shapes.
    """

    name: str
    train_inputs: Images
    train_targets: np.ndarray
    test_inputs: Images
    test_targets: np.ndarray
    class_names: tuple[str, ...]
    validation_inputs: Images | None = None
    validation_targets: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not self.class_names:
            raise InputError(f"{self.name} class_names: expected at least one name, got none. Name each class.")
        if (self.validation_inputs is None) != (self.validation_targets is None):
            raise InputError(
                f"{self.name} validation: expected both images and labels or none, got one of them. Give both."
            )
        for part in ("train", "test") if self.validation_inputs is None else ("train", "test", "validation"):
            images_name, labels_name = f"{self.name} {part}_inputs", f"{self.name} {part}_targets"
            images, labels = getattr(self, f"{part}_inputs"), getattr(self, f"{part}_targets")
            _check_array(images_name, images, "uint8", ("N", "H", "W", "C"))
            _check_array(labels_name, labels, "int32", ("N",))
            check_counts(images_name, images, labels_name, labels)
            check_labels(labels_name, labels, self.classes)
            check_image_shapes(f"{self.name} train_inputs", self.train_inputs, images_name, images)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one image, (H, W, C)."""
        height, width, channels = self.train_inputs.shape[1:]
        return height, width, channels

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


# The checks below take the names of what they check, so that a reader of files can name the file at fault.


def check_counts(images_name: str, images: Images, labels_name: str, labels: np.ndarray) -> None:
    """Raise InputError unless there is one label for each image."""
    if len(images) != len(labels):
        raise InputError(
            f"{labels_name}: expected {len(images)} labels, one for each image of {images_name}, "
            f"got {len(labels)}. Use images and labels that belong together."
        )


def check_labels(labels_name: str, labels: np.ndarray, classes: int) -> None:
    """Raise InputError unless every label is in [0, classes). There must be at least one label."""
    for label in (labels.min(), labels.max()):
        if not 0 <= label < classes:
            raise InputError(
                f"{labels_name}: expected labels from 0 to {classes - 1}, got {label}. "
                f"Use labels that count the {classes} classes from 0."
            )


def check_image_shapes(train_name: str, train: Images, other_name: str, other: Images) -> None:
    """Raise InputError unless the images of another part have the shape of the training images."""
    if train.shape[1:] != other.shape[1:]:
        raise InputError(
            f"{other_name}: expected images of shape {train.shape[1:]} as in {train_name}, "
            f"got {other.shape[1:]}. Use images of the same dataset."
        )


def _check_array(name: str, array: Images, dtype: str, axes: tuple[str, ...]) -> None:
    expected = f"{name}: expected a non-empty {dtype} array ({', '.join(axes)})"
    if not isinstance(array, Images):
        raise InputError(f"{expected}, got {type(array).__name__}. Convert it to a NumPy array.")
    if array.dtype != dtype or array.ndim != len(axes) or array.size == 0:
        raise InputError(f"{expected}, got {array.dtype} of shape {array.shape}. Convert it before.")
