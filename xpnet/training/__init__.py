"""Training: settings, the step, the loop, callbacks, early stopping, history and evaluation."""

from xpnet.training.callbacks import Callback
from xpnet.training.config import TrainConfig
from xpnet.training.early_stopping import EarlyStopping
from xpnet.training.evaluation import AnyEvaluation, BinaryEvaluation, Evaluation, Evaluator, RegressionEvaluation
from xpnet.training.history import History, Record
from xpnet.training.mixing import CutMix, Mixup
from xpnet.training.trainer import Trainer

__all__ = [
    "AnyEvaluation",
    "BinaryEvaluation",
    "Callback",
    "CutMix",
    "EarlyStopping",
    "Evaluation",
    "Evaluator",
    "History",
    "Mixup",
    "Record",
    "RegressionEvaluation",
    "TrainConfig",
    "Trainer",
]
