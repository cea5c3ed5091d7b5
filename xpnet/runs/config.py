"""Everything that is needed to repeat a run: which model, on which data, trained and computed how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xpnet import datasets, models
from xpnet.datasets import Dataset
from xpnet.datasets.augment import Cutout, HorizontalFlip, RandomCrop
from xpnet.errors import InputError
from xpnet.models.hub import is_remote
from xpnet.network import Network
from xpnet.optimizers import OPTIMIZERS
from xpnet.runtime import Runtime
from xpnet.schedules import SCHEDULES, Warmup
from xpnet.serialization import from_config, to_config
from xpnet.training.config import TrainConfig
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.mixing import CutMix, Mixup
from xpnet.training.trainer import Trainer

FORMAT_VERSION = 2  # 1 had every setting of optimizers and schedules beside the others
VERSIONS = "versions"  # beside the settings in a file of them, which nothing reads: what they were used with


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run of a model by name on a data set by name.

    ``model_options`` are what ``models.create`` takes for the model. ``data_dir`` is where the data lie, ``image_size``
    the height and width that the images of a folder are brought to. ``weights`` is a file, a run's folder or a name
    to start from (see ``models.start_from``); with ``replace_head`` all but the last layer of it.

    Raises InputError for an unknown model, and for ``replace_head`` without ``weights``.
    """

    model: str
    data: str
    train: TrainConfig
    runtime: Runtime = Runtime(dtype="float32")
    model_options: Mapping[str, Any] = field(default_factory=dict)
    data_dir: str | None = None
    image_size: tuple[int, ...] | None = None
    weights: str | None = None
    replace_head: bool = False

    def __post_init__(self) -> None:
        models.recipe(self.model)
        for name in ("data", "data_dir", "weights"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value.isprintable()):
                raise InputError(f"Run: expected {name} to be printable text, got {value!r}. Change {name}.")
        for name, kind in (("train", TrainConfig), ("runtime", Runtime), ("model_options", Mapping)):
            if not isinstance(getattr(self, name), kind):
                raise InputError(
                    f"Run: expected {name} to be a {kind.__name__}, got {getattr(self, name)!r}. Change it."
                )
        if self.replace_head and self.weights is None:
            raise InputError(
                "Run: expected weights with replace_head, got none. Set weights, or leave replace_head out."
            )

    def to_json(self) -> dict[str, Any]:
        """What ``from_json`` reads, as JSON can hold it."""
        return {"version": FORMAT_VERSION, **{k: v for k, v in to_config(self).items() if k != "type"}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunConfig:
        """Inverse of ``to_json``.

        Raises InputError for settings of another version or of wrong types.
        """
        if not isinstance(values, Mapping) or values.get("version") != FORMAT_VERSION:
            found = values.get("version", 1) if isinstance(values, Mapping) else "none"
            raise InputError(
                f"settings: expected version {FORMAT_VERSION}, got {found!r}. Use the xpnet version that wrote them"
            )
        kinds = (TrainConfig, Runtime, EarlyStopping, RandomCrop, HorizontalFlip, Cutout, Mixup, CutMix, Warmup)
        others = (*kinds, *OPTIMIZERS.values(), *SCHEDULES.values())
        given = {name: value for name, value in values.items() if name not in ("version", VERSIONS)}
        settings = {name: from_config(value, others) for name, value in given.items()}
        try:
            return cls(**settings)
        except TypeError as error:
            raise InputError(f"settings: {error}. Use the xpnet version that wrote them") from error

    def load_data(self) -> Dataset:
        """The data set that the run is on. Raises InputError if it cannot be read."""
        return datasets.load(self.data, self.data_dir, self.image_size)

    def make_network(self, dataset: Dataset) -> Network:
        """The network as the run begins with it, with its ``weights`` if it names some.

        Raises InputError if they do not fit.
        """
        network = models.create(
            self.model,
            input_shape=dataset.input_shape,
            classes=dataset.classes,
            seed=self.train.seed,
            dtype=self.runtime.dtype or "float32",
            device=self.runtime.own_device or "cpu",
            backend=self.runtime.backend,
            **self.model_options,
        )
        if self.weights is not None:
            source = _weights_file(self.weights)
            models.start_from(network, source, replace_head=self.replace_head, model=self.model)
        return network

    def make_trainer(self, dataset: Dataset | None = None) -> Trainer:
        """A trainer for the run, on its data set or another that was read already."""
        self.runtime.configure()
        dataset = dataset or self.load_data()
        return Trainer(self.make_network(dataset), dataset, self.train, self.runtime)


def _weights_file(source: str) -> Any:
    from xpnet.runs.folder import RunFolder  # which reads and writes configurations

    return source if is_remote(source) else RunFolder.weights_in(source)
