"""What only the network and the data of a run can show: the images that it gets wrong, and its filters."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np

from xpnet.backend import to_numpy
from xpnet.datasets import Dataset
from xpnet.errors import printable
from xpnet.network import Network
from xpnet.report.start import LayerWork, layers_of
from xpnet.runs import RunConfig
from xpnet.runs.folder import RunFolder
from xpnet.runtime import Runtime
from xpnet.training import Evaluation


class Findings(NamedTuple):
    """A network, with its evaluation on the test images of a data set."""

    network: Network
    dataset: Dataset
    evaluation: Evaluation

    @property
    def class_names(self) -> list[str]:
        """What its classes are called, in letters that can be printed."""
        return [printable(name) for name in self.dataset.class_names or ()]

    @property
    def layers(self) -> list[LayerWork]:
        """The layers of the network."""
        return layers_of(self.network)

    @property
    def filters(self) -> np.ndarray | None:
        """The weight (O, kh, kw, C) of the first convolution, if there is one."""
        weights = [weight for weight in self.network.parameters().values() if weight.ndim == 4]
        return to_numpy(weights[0]) if weights else None

    @property
    def mistakes(self) -> dict[str, Any] | None:
        """What ``plots.misclassified`` takes; None where it is not images that have classes."""
        if self.dataset.target_shape or not self._has_images:
            return None
        evaluation = self.evaluation
        return {
            "images": self.dataset.test_inputs,
            "labels": evaluation.targets,
            "predictions": evaluation.probabilities.argmax(axis=1),
            "class_names": self.class_names,
            "probabilities": evaluation.probabilities,
        }

    @property
    def pixels(self) -> dict[str, Any] | None:
        """What ``plots.segmentation`` takes; None where it is not the pixels of images that have classes."""
        targets = self.dataset.test_targets
        if not self.dataset.target_shape or not self._has_images:
            return None
        return {
            "images": self.dataset.test_inputs,
            "targets": targets,
            "predictions": self.evaluation.probabilities.argmax(axis=1).reshape(targets.shape),
            "class_names": self.class_names,
        }

    @property
    def _has_images(self) -> bool:
        images = self.dataset.test_inputs
        return len(images.shape) == 4 and images.shape[3] in (1, 3) and images.dtype == np.uint8


def find(folder: RunFolder, config: RunConfig) -> Findings:
    """Evaluate the network of a finished run again, on this machine's CPU.

    Raises InputError if its weights or its data cannot be read.
    """
    Runtime().configure()
    network = Network.load(folder.weights_path)
    dataset = config.load_data()
    return Findings(network, dataset, cast(Evaluation, network.evaluate(dataset)))
