"""Neural networks whose layers are written once against the Python Array API standard.

>>> import xpnet
>>> net = xpnet.models.create("mnist_starter", seed=1)
>>> net.parameter_count
14682
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xpnet import datasets, layers, losses, metrics, models, optimizers, schedules, training
    from xpnet.datasets import Dataset
    from xpnet.errors import InputError, TrainingDivergedError
    from xpnet.network import Network
    from xpnet.runtime import Runtime

__version__ = "0.2.0"

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

_HOMES = {
    "Dataset": "datasets",
    "InputError": "errors",
    "Network": "network",
    "Runtime": "runtime",
    "TrainingDivergedError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it first is: to predict with a network takes no data sets and no training."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, name)}")
    value = globals()[name] = getattr(home, name) if name in _HOMES else home
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
