"""Neural networks whose layers are written once against the Python Array API standard.

>>> import xpnet
>>> net = xpnet.models.create("mnist_starter", seed=1)
>>> net.parameter_count
14682
"""

__version__ = "0.1.0"

from xpnet import datasets, layers, losses, metrics, models, optimizers, schedules, training
from xpnet.datasets import Dataset
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.network import Network
from xpnet.runtime import Runtime

__all__ = [
    "Dataset",
    "InputError",
    "Network",
    "Runtime",
    "TrainingDivergedError",
    "__version__",
    "datasets",
    "layers",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "schedules",
    "training",
]
