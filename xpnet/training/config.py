"""Everything that decides how a training run goes."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from xpnet import models
from xpnet.errors import InputError
from xpnet.optimizers import Momentum
from xpnet.shapes import check_positive


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run; with the seed, all that is needed to repeat it.

    ``image_size`` is the height and width that the images of a folder are brought to.

    Either ``iterations`` or ``epochs`` says how long. ``limit`` is the number of images to train on (None: all that are
    not for validation), ``report_every`` the iterations between two lines of the history.

    Raises InputError if a setting is out of range.
    """

    model: str
    data: str
    data_dir: str | None = None
    image_size: list[int] | None = None
    device: str = "cpu"
    backend: str | None = None
    dtype: str = "float32"
    seed: int = 0
    iterations: int | None = None
    epochs: int | None = None
    batch_size: int = 16
    learning_rate: float = 0.1
    momentum: float = 0.9
    momentum_form: str = "moving-average"
    weight_decay: float = 0.0
    pixel_scale: float = 1 / 255
    validation_images: int = 2000
    limit: int | None = None
    report_every: int = 100

    def __post_init__(self) -> None:
        for name in ("batch_size", "validation_images", "report_every"):
            check_positive("Training", name, getattr(self, name))
        for name in ("iterations", "epochs", "limit"):
            if getattr(self, name) is not None:
                check_positive("Training", name, getattr(self, name))
        if (self.iterations is None) == (self.epochs is None):
            raise InputError("Training: expected either iterations or epochs, got both or none. Give one of them.")
        if not (math.isfinite(self.pixel_scale) and self.pixel_scale > 0):
            raise InputError(f"Training: expected a pixel_scale above 0, got {self.pixel_scale}. Try 1/255.")
        self.optimizer()  # checks its own settings

    @classmethod
    def for_model(cls, model: str, **overrides: Any) -> TrainConfig:
        """The model's published settings, but for those given as other than None.

        Raises InputError for an unknown model.
        """
        settings = dataclasses.asdict(models.recipe(model))
        settings["limit"] = settings.pop("train_images")
        overrides = {name: value for name, value in overrides.items() if value is not None}
        if "epochs" in overrides:
            del settings["iterations"]
        if overrides.get("data", settings["data"]) != settings["data"]:
            settings["limit"] = None  # the published number of images belongs to the published data
        return cls(model=model, **{**settings, **overrides})

    def optimizer(self) -> Momentum:
        """The optimizer that these settings describe."""
        return Momentum(self.learning_rate, self.momentum, self.weight_decay, self.momentum_form)  # type: ignore[arg-type]
