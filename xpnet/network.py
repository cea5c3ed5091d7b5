"""A network: layers, the flat vector θ of all their parameters, and a loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import backend as backends
from xpnet import summary, weights
from xpnet.backend import Array
from xpnet.checks import pick
from xpnet.function import LayeredFunction
from xpnet.layers.base import State
from xpnet.losses import Loss
from xpnet.runtime import Runtime, configure_once
from xpnet.shapes import check_positive
from xpnet.torch_weights import torch_name

if TYPE_CHECKING:
    from xpnet.datasets import Dataset
    from xpnet.datasets.augment import Augmentation
    from xpnet.optimizers import Optimizer
    from xpnet.schedules import Schedule
    from xpnet.training import AnyEvaluation, Callback, EarlyStopping, History
    from xpnet.training.mixing import Mixing


class Network(LayeredFunction):
    """Layers with values: parameters in one flat vector ``theta`` and, apart from it, the layers' ``state``.

    ``fit``, ``predict`` and ``evaluate`` are all that most need. ``forward`` and ``loss_and_gradient`` are pure
    functions of the arrays they are given, for those who write their own loops. ``class_names`` are those of the data
    it was fitted to.

    Parameters
    ----------
    layers
        A list of layers, or of pairs (name, layer), or one layer.
    input_shape
        Of one example without the batch: (H, W, C) for images, (F,) for vectors.
    seed
        What initial values depend on, whatever the device and library; None: they are 0, for those of a file.
    dtype
        "float32" or "float64".
    device, backend
        Where to compute, such as "cuda:1", and the library; None: in NumPy, until ``fit`` moves it to its data.
    loss
        None: cross-entropy, until ``fit`` finds other targets.

    Raises
    ------
    InputError
        If the layers do not fit the input shape or each other, naming the layer.

    Examples
    --------
    >>> from xpnet import datasets, layers
    >>> digits = datasets.load("mnist")
    >>> network = Network([layers.Flatten(), layers.Dense(10)], digits.input_shape)
    >>> history = network.fit(digits, iterations=100, progress=False)
    >>> network.evaluate(digits).accuracy > 0.8
    True
    >>> network.predict(digits).shape
    (10000,)
    """

    def fit(
        self,
        x: Array | Dataset | Iterable[tuple[Array, ...]],
        y: Array | None = None,
        *,
        validation: float | tuple[Array, Array] | None = None,
        sample_weight: Array | None = None,
        epochs: int | None = None,
        iterations: int | None = None,
        batch_size: int = 32,
        accumulate: int = 1,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        loss: Loss | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        augmentation: Sequence[Augmentation] = (),
        mixing: Mixing | None = None,
        normalize: bool | float = True,
        clip_norm: float | None = None,
        ema: float | None = None,
        early_stopping: EarlyStopping | None = None,
        report_every: int | None = None,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        progress: bool = True,
        runtime: Runtime | None = None,
    ) -> History:
        """Train on a data set, on arrays, or on an iterable of batches (x, y); going on if it is called again.

        An untrained network gets a ``Normalize`` in front, with mean and scale of the training data, so that it takes
        inputs as they come from then on (unless ``normalize`` is False).

        After Ctrl-C, or any other error, the network has the values of the last complete step; after
        TrainingDivergedError those of the last report, or of before.

        Parameters
        ----------
        x
            Vectors (N, F), images (N, H, W, C) or (N, H, W), or whatever the first layer takes, as arrays of NumPy,
            CuPy, PyTorch or JAX; or a ``Dataset`` with its targets and validation part; or batches (x, y).
        y
            Class numbers or names (N,), class numbers of pixels (N, H, W), real numbers (N,) or (N, K), or 0/1 (N, K).
            One-hot rows are 0/1 labels or real numbers too, and warned of. Real targets should be standardised: only
            the inputs are normalised.
        validation, sample_weight
            A fraction or number of examples to set apart, or data (x, y); and weights (N,) of the examples.
        epochs, iterations, batch_size, accumulate, optimizer, schedule, loss, class_weight, augmentation, mixing
            As in ``TrainConfig``.
        normalize, clip_norm, ema, early_stopping, report_every, seed
            As in ``TrainConfig``.
        callbacks, progress, runtime
            What is called as training goes, whether to show a bar, and how to compute.

        Raises
        ------
        InputError
            If data and network do not fit together.
        TrainingDivergedError
            If the loss becomes infinite.
        """
        from xpnet.training.fit import fit  # which needs networks

        return fit(
            self,
            x,
            y,
            epochs=epochs,
            iterations=iterations,
            batch_size=batch_size,
            accumulate=accumulate,
            optimizer=optimizer,
            schedule=schedule,
            loss=loss,
            validation=validation,
            sample_weight=sample_weight,
            class_weight=class_weight,
            augmentation=augmentation,
            mixing=mixing,
            normalize=normalize,
            callbacks=callbacks,
            early_stopping=early_stopping,
            clip_norm=clip_norm,
            ema=ema,
            report_every=report_every,
            seed=seed,
            progress=progress,
            runtime=runtime,
        )

    def evaluate(self, x: Array | Dataset, y: Array | None = None) -> AnyEvaluation:
        """Loss and metrics on arrays, or on the test part of a data set."""
        from xpnet.training.fit import evaluate

        return evaluate(self, x, y)

    def __call__(self, x: Array | Dataset, *, batch_size: int = 256) -> Array:
        """Outputs for inputs, as an array of their library: a classifier's logits (N, classes).

        Inputs are what ``fit`` takes: arrays, lists, data frames, or a ``Dataset``, which stands for its test inputs.
        They are given as in training (pixels from 0 to 255, say); the network normalises them itself.

        Raises InputError if the inputs do not have the network's input shape, or hold anything but finite real numbers.
        """
        return self._in_batches(x, batch_size, lambda batch: self.forward(self.theta, self.state, batch).y)

    def predict(self, x: Array | Dataset, *, batch_size: int = 256) -> Array:
        """What the network takes targets to be: class numbers (N,), 0/1 (N, K), or real numbers (N,) or (N, K).

        ``[net.class_names[i] for i in net.predict(x)]`` are the names of classes.
        """
        outputs = self(x, batch_size=batch_size)
        with backends.backend_of(outputs).current(), np.errstate(over="ignore", invalid="ignore"):
            return self.loss.predictions(outputs)

    def predict_proba(self, x: Array | Dataset, *, batch_size: int = 256) -> Array:
        """Probabilities of the classes, (N, classes), or of 1 for 0/1 targets.

        Raises
        ------
        InputError
            As calling the network does, and of a network for real targets, which has none.
        """
        outputs = self(x, batch_size=batch_size)
        with backends.backend_of(outputs).current(), np.errstate(over="ignore", invalid="ignore"):
            return self.loss.probabilities(outputs)

    def features(self, x: Array | Dataset, name: str, *, batch_size: int = 256) -> Array:
        """Output of the layer with a dotted name, such as ``conv1`` or ``layer1.0``; see ``layer_shapes`` for names.

        Raises
        ------
        InputError
            If there is no such layer.
        """
        pick("Network, layer", self.layer_shapes(), name)
        params = self.layout.unflatten(self.theta)

        def output(batch: Array) -> Array:
            with self.backend.current():
                return next(y for path, y in self.layer.trace(params, self.state, batch) if path == name)

        return self._in_batches(x, batch_size, output)

    def __repr__(self) -> str:
        return summary.short(self)

    def summary(self) -> str:
        """The layers as a plain text table."""
        return summary.summary(self)

    def save(self, path: str | os.PathLike[str], *, values: tuple[Array, State] | None = None) -> None:
        """Write layers, parameters, state, loss and names of classes to a safetensors file that ``load`` reads.

        ``values`` are θ and the state to write instead of the network's own.
        """
        weights.save(self, path, values or (self.theta, self.state))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, device: str = "cpu", backend: str | None = None, loss: Loss | None = None
    ) -> Network:
        """Read a network that ``save`` wrote, on any device. A ``loss`` that is given takes the place of the file's.

        Raises
        ------
        InputError
            If the file is not one, if a tensor is missing, has another shape than the layers say, or holds NaN or
            infinity, or if the network was trained on a loss that is not xpnet's and none is given.
        """
        return weights.load(cls, path, device=device, backend=backend, loss=loss)

    @classmethod
    def from_onnx(cls, path: str | os.PathLike[str], *, device: str = "cpu", backend: str | None = None) -> Network:
        """Make a network of an ONNX file's graph, whose layers train like any others (needs onnx).

        Images are (N, H, W, C) here, whatever they are in the file. A softmax at the end is left out: ``predict_proba``
        computes it, and the loss is that of logits.

        Raises
        ------
        InputError
            If the file cannot be read, or, naming the node, if the graph is more than layers one after another and
            branches that part and meet again, or holds an operator that is not known.
        """
        from xpnet.onnx import importer

        return importer.load(cls, path, device=device, backend=backend)

    def to_onnx(self, path: str | os.PathLike[str], *, opset: int = 20) -> None:
        """Write an ONNX file that takes the network's inputs in any number and gives its outputs (needs onnx).

        Raises
        ------
        InputError
            For a layer or an opset that ONNX export does not know, or a file that cannot be written.
        """
        from xpnet.onnx import export

        export.save(self, path, opset)

    def load_tensors(
        self,
        path: str | os.PathLike[str],
        *,
        replace_head: bool = False,
        torch_name: Callable[[str], str] = torch_name,
    ) -> None:
        """Take over parameters and state from a file of a network with the same layers, xpnet's, PyTorch's or ONNX's.

        A file of PyTorch's is a saved state_dict (needs PyTorch) or a ``.safetensors`` file; ``torch_name`` gives its
        name for one of our tensors, by default torchvision's. Normalize is left alone then: PyTorch's files say nothing
        about pixels. An ``.onnx`` file must have tensors of the same shapes in the same order. With ``replace_head``
        the last layer with parameters keeps its own values, so that it may have other classes.

        Raises
        ------
        InputError
            If the file cannot be read, or, naming the tensor, if one is missing, left over, or has another shape than
            here.
        """
        weights.load_tensors(self, path, replace_head=replace_head, torch_name=torch_name)

    def _in_batches(self, x: Any, batch_size: int, function: Callable[[Array], Array]) -> Array:
        """Apply a function to inputs batch by batch; the result is an array of the inputs' own library."""
        from xpnet.datasets.prediction import in_batches, prediction_inputs  # importing a network needs no data sets

        x = prediction_inputs("Network, inputs", x, self.input_shape)
        self._check_shape(x.shape)
        check_positive("Network", "batch_size", batch_size)
        configure_once()
        return in_batches("Network, inputs", x, batch_size, self.backend, self.dtype, function)
