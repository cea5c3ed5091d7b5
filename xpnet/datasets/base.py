"""What every data set is once it is read: inputs and targets for training, and maybe for testing and validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xpnet.backend import Array, array_namespace, to_numpy
from xpnet.datasets.arrays import (
    Targets,
    as_inputs,
    as_targets,
    check_counts,
    check_finite,
    check_image_shapes,
    check_together,
)
from xpnet.datasets.image_files import ImageFiles
from xpnet.datasets.rows import HostRows
from xpnet.errors import InputError

Images = np.ndarray | ImageFiles
ARRAYS = "arrays"


@dataclass(frozen=True, eq=False, repr=False)  # arrays have no single truth value, so data sets compare by identity
class Dataset:
    """Examples to train on, and maybe some to test and validate on.

    Inputs are (N, features), images (N, H, W, C), or of any other shape with at least two axes, and of any real dtype:
    arrays of NumPy, CuPy, PyTorch or JAX, which stay where they are; memory maps and ``ImageFiles``, of which only the
    batches are read; or what ``numpy.asarray`` takes, such as lists and data frames. Integers (N, H, W) become images
    with one channel, (N, H, W, 1).

    Targets say what the task is:

    - "classes": integers (N,), kept as int32: class numbers from 0; text (N,): names of classes; or integers (N, H, W):
      the class of each pixel
    - "binary": booleans (N,) or (N, K), or integers (N, K) that are 0 or 1
    - "real": floating-point numbers (N,) or (N, K)

    Parameters
    ----------
    name
        What messages and plots call the data.
    train_inputs, train_targets, test_inputs, test_targets
        Both inputs and targets of a part, or neither.
    class_names
        Of classes alone; None: the sorted names, or the numbers "0" to the largest.
    validation_inputs, validation_targets
        None unless published with the data; training then may split a part off.

    Raises
    ------
    InputError
        Beginning with the part at fault, for other arrays and objects; an empty array; NaN or infinity (in memory maps
        they are found in the batches); numbers of examples that differ; a class that has no name; parts of different
        shapes or tasks; and arrays of two libraries or devices.

    Examples
    --------
    >>> Dataset.from_arrays([[0.0, 1.0], [1.0, 0.0]], ["up", "down"])
    <Dataset arrays: train (2, 2); 2 classes>
    """

    name: str
    train_inputs: Any
    train_targets: Any
    test_inputs: Any = None
    test_targets: Any = None
    class_names: tuple[str, ...] | None = None
    validation_inputs: Any = None
    validation_targets: Any = None

    def __post_init__(self) -> None:
        if self.class_names is not None:
            self._set("class_names", _checked_names(self.name, self.class_names))
        train = self._convert("train", self.class_names)
        self._set("class_names", train.class_names and _checked_names(self.name, train.class_names))
        for part in ("test", "validation"):
            given = [getattr(self, f"{part}_{values}") is not None for values in ("inputs", "targets")]
            if any(given) and not all(given):
                raise InputError(
                    f"{self.name} {part}: expected both inputs and targets or neither, got one of them. Pass both."
                )
            if all(given):
                self._check_alike(part, train, self._convert(part, train.class_names))

    @classmethod
    def from_arrays(
        cls,
        x: Any,
        y: Any,
        *,
        test: tuple[Any, Any] | None = None,
        validation: tuple[Any, Any] | None = None,
        class_names: tuple[str, ...] | None = None,
        name: str = ARRAYS,
    ) -> Dataset:
        """The data set of training inputs and targets.

        Parameters
        ----------
        x, y
            Inputs and targets to train on.
        test, validation
            Pairs (x, y).
        class_names, name
            As for the class.

        Raises
        ------
        InputError
            As the class does, and if all training examples are of one class.
        """
        pairs = {"test": test, "validation": validation}
        for part, pair in pairs.items():
            if pair is not None and not (isinstance(pair, tuple | list) and len(pair) == 2):
                raise InputError(
                    f"{name} {part}: expected a pair (x, y), got {type(pair).__name__}. Pass {part}=(x, y)."
                )
        test_x, test_y = test or (None, None)
        validation_x, validation_y = validation or (None, None)
        dataset = cls(name, x, y, test_x, test_y, class_names, validation_x, validation_y)
        if dataset.task != "real":
            _check_differ(dataset.name_of("targets"), to_numpy(dataset.train_targets), dataset.class_names)
        return dataset

    def __repr__(self) -> str:
        parts = {part: getattr(self, f"{part}_inputs") for part in ("train", "test", "validation")}
        shapes = [f"{part} {tuple(inputs.shape)}" for part, inputs in parts.items() if inputs is not None]
        targets = f"{self.classes} classes" if self.classes else f"{self.task} targets {self.target_shape}"
        return f"<Dataset {self.name}: {', '.join(shapes)}; {targets}>"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, such as (H, W, C)."""
        return tuple(self.train_inputs.shape[1:])

    @property
    def target_shape(self) -> tuple[int, ...]:
        """Shape of one target: (), (K,), or (H, W) for pixels."""
        return tuple(self.train_targets.shape[1:])

    @property
    def classes(self) -> int | None:
        """Number of classes; None if the targets are not classes."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def task(self) -> Literal["classes", "binary", "real"]:
        """What the targets are."""
        if self.class_names is not None:
            return "classes"
        return "real" if _is_real(self.train_targets) else "binary"

    def name_of(self, values: Literal["inputs", "targets"], part: str = "train") -> str:
        """What messages call the inputs or targets of a part: x and y where the data set has no name of its own."""
        if self.name != ARRAYS:
            return f"{self.name} {part}_{values}"
        name = "x" if values == "inputs" else "y"
        return name if part == "train" else f"{part} {name}"

    def _convert(self, part: str, class_names: tuple[str, ...] | None) -> Targets:
        """Put converted inputs and targets of a part in place."""
        inputs_name, targets_name = self.name_of("inputs", part), self.name_of("targets", part)
        inputs = as_inputs(inputs_name, getattr(self, f"{part}_inputs"))
        if not isinstance(inputs, ImageFiles | HostRows | np.memmap):
            check_finite(inputs_name, inputs)
        targets = as_targets(targets_name, getattr(self, f"{part}_targets"), inputs, class_names)
        check_counts(inputs_name, inputs, targets_name, targets.on_host)
        self._set(f"{part}_inputs", inputs)
        self._set(f"{part}_targets", targets.values)
        return targets

    def _check_alike(self, part: str, train: Targets, targets: Targets) -> None:
        """Raise InputError unless a part is of the training part's place, input shape and kind of targets."""
        inputs_name, targets_name = self.name_of("inputs", part), self.name_of("targets", part)
        inputs = getattr(self, f"{part}_inputs")
        check_together(inputs_name, inputs, self.train_inputs)
        check_image_shapes(self.name_of("inputs"), self.train_inputs, inputs_name, inputs)
        kinds = [
            (one.class_names is not None, _is_real(one.on_host), one.on_host.shape[1:]) for one in (train, targets)
        ]
        if kinds[0] != kinds[1]:
            texts = [f"{one.on_host.dtype} of shape {one.on_host.shape}" for one in (train, targets)]
            raise InputError(
                f"{targets_name}: expected targets of the same kind as in {self.name_of('targets')} ({texts[0]}), got "
                f"{texts[1]}. Convert them."
            )

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def _is_real(targets: Array) -> bool:
    return array_namespace(targets).isdtype(targets.dtype, "real floating")


def _checked_names(name: str, class_names: Any) -> tuple[str, ...]:
    names = (class_names,) if isinstance(class_names, str) else tuple(class_names)
    for one in names:
        if not isinstance(one, str) or not one.isprintable():
            raise InputError(
                f"{name} class_names: expected text that can be printed, got {one!r:.80}. Change this name."
            )
    if not names or len(set(names)) < len(names):
        raise InputError(
            f"{name} class_names: expected different names, at least one, got {names!r:.80}. Name each class once."
        )
    return names


def _check_differ(where: str, targets: np.ndarray, class_names: tuple[str, ...] | None) -> None:
    if (targets == targets[:1]).all():
        value = targets.flat[0]
        raise InputError(
            f"{where}: expected two classes or more, got {repr(class_names[value]) if class_names else value} for all "
            f"{len(targets)} examples. Add examples of another class."
        )
