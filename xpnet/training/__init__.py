"""Training: the loop, its settings, its history, and what is measured at the end."""

from xpnet.training.config import TrainConfig
from xpnet.training.evaluation import Evaluation, Evaluator
from xpnet.training.history import Record
from xpnet.training.trainer import Trainer

__all__ = ["Evaluation", "Evaluator", "Record", "TrainConfig", "Trainer"]
