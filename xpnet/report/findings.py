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
        """What ``plots.misclassified`` takes; None for inputs that are not images."""
        images = self.dataset.test_inputs
        if len(images.shape) != 4 or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
            return None
        evaluation = self.evaluation
        return {
            "images": images,
            "labels": evaluation.targets,
            "predictions": evaluation.probabilities.argmax(axis=1),
            "class_names": [printable(name) for name in self.dataset.class_names or ()],
            "probabilities": evaluation.probabilities,
        }


def find(folder: RunFolder, config: RunConfig) -> Findings:
    """Evaluate the network of a finished run again, on this machine's CPU.

    Raises InputError if its weights or its data cannot be read.
    """
    Runtime().configure()
    network = Network.load(folder.weights_path)
    dataset = config.load_data()
    return Findings(network, dataset, cast(Evaluation, network.evaluate(dataset)))
