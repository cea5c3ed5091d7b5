"""How an estimator learns: epoch by epoch in batches, or by L-BFGS on all examples at once."""

from __future__ import annotations

import copy
import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from xpnet.backend import to_numpy
from xpnet.datasets import Dataset
from xpnet.errors import InputError
from xpnet.sklearn.examples import Examples, SparseRows, outputs_of
from xpnet.sklearn.settings import Adaptive
from xpnet.training.config import TrainConfig
from xpnet.training.data import Part
from xpnet.training.measure import weight_decay_loss
from xpnet.training.setup import normalize_inputs, weights_only
from xpnet.training.trainer import Trainer

if TYPE_CHECKING:
    from xpnet.sklearn.estimator import NetworkEstimator

_CALLER = 6  # frames from a warning up to who called fit


class FitTask:
    """A fit as scikit-learn's callbacks see it: a task with one subtask for each epoch or L-BFGS iteration."""

    def __init__(self, model: NetworkEstimator, X: Any, y: Any, weights: Any, *, max_subtasks: int) -> None:
        self._model = model
        metadata = None if weights is None else {"sample_weight": weights}
        self._about = {"estimator": model, "X": X, "y": y, "metadata": metadata}
        self._context = model._init_callback_context(max_subtasks=max_subtasks)
        self._context.call_on_fit_task_begin(**self._about)
        self._subtask: Any = None

    def begin_iteration(self) -> None:
        """Tell callbacks that an iteration begins."""
        self._subtask = self._context.subcontext(task_name="iteration")
        self._subtask.call_on_fit_task_begin(**self._about, reconstruction_attributes=self._fitted)

    def end_iteration(self) -> bool:
        """Tell callbacks that it is over; whether one of them stops the fit."""
        return self._subtask.call_on_fit_task_end(**self._about, reconstruction_attributes=self._fitted)

    def end(self) -> None:
        """Tell callbacks that the fit is over."""
        self._context.call_on_fit_task_end(**self._about, reconstruction_attributes=self._fitted)

    def _fitted(self) -> dict[str, Any]:
        """What makes a copy of the estimator one that predicts with today's values."""
        return {"network_": copy.copy(self._model.network_)}


def fit_in_batches(
    model: NetworkEstimator, examples: Examples, held_out: Examples | None, task: FitTask, *, incremental: bool
) -> None:
    """Train for ``max_iter`` epochs at most (for one if incremental), and stop as scikit-learn's perceptrons do.

    The penalty alpha/2·Σw² is divided by the weight of a batch, as the loss is: of one of ``batch_size`` examples with
    the mean weight.
    """
    count, epochs = len(examples.targets), 1 if incremental else model.max_iter
    batch_size = _batch_size(model, count)
    batches = -(-count // batch_size)
    batch_weight = batch_size * (1.0 if examples.weights is None else float(np.mean(examples.weights)))
    schedule = model.make_schedule(batches, count, model.t_)
    config = TrainConfig(
        iterations=epochs * batches,
        batch_size=batch_size,
        optimizer=model.make_optimizer(model.alpha / batch_weight),
        schedule=schedule,
        loss=model._training_loss,
        decay_biases=False,
        normalize=model.normalize,
        shuffle=model.shuffle,
        seed=model._next_seed(),
    )
    trainer = Trainer(
        model.network_,
        Dataset(type(model).__name__, examples.X, examples.beside(examples.targets), class_names=model._class_names()),
        config,
        sample_weight=examples.beside(examples.weights),
    )
    best, is_over = None, False
    try:
        for _ in range(epochs):
            task.begin_iteration()
            _train_epoch(model, trainer, batches)
            if held_out:
                best = _validate(model, held_out, best)
            is_over = _has_stood_still(model, schedule)
            if task.end_iteration() or is_over:
                break
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=_CALLER)
    finally:
        trainer.publish()
    if best:
        model.network_.theta, model.network_.state = best
    if not (incremental or is_over) and model.n_iter_ == epochs:
        warnings.warn(
            f"Maximum iterations ({epochs}) reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=_CALLER,
        )


def fit_by_lbfgs(model: NetworkEstimator, examples: Examples, task: FitTask) -> None:
    """Minimise the loss of all examples at once by SciPy's L-BFGS: all parameters are one vector.

    Raises InputError for layers that draw random numbers, and for a schedule.
    Source: Liu and Nocedal, "On the limited memory BFGS method", Mathematical Programming 45, 1989.
    """
    network = model.network_
    if network.layer.is_random or model.schedule is not None:
        raise InputError(
            f"{type(model).__name__}: expected no dropout and no schedule with solver='lbfgs', got one. "
            "Leave it out, or use adam."
        )
    X = examples.X[:] if isinstance(examples.X, SparseRows) else examples.X
    normalize_inputs(network, Part(X, examples.targets), TrainConfig(normalize=model.normalize))
    asarray, weights = network.backend.asarray, examples.weights
    x, y = asarray(X, network.dtype), asarray(examples.targets)
    w = None if weights is None else asarray(weights, network.dtype)
    decay = model.alpha / (len(examples.targets) if weights is None else float(weights.sum())) * weights_only(network)
    network.loss = model._training_loss

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        theta = asarray(point, network.dtype)
        loss, gradient, _, network.state = network.loss_and_gradient(theta, network.state, x, y, w)
        with network.backend.current():
            decayed = to_numpy(gradient + decay * theta)
            penalty = float(network.backend.xp.sum(decay * theta * theta)) / 2
        return float(loss) + penalty, decayed.astype(np.float64)

    def report(intermediate_result: Any) -> None:
        network.theta = asarray(intermediate_result.x, network.dtype)
        model.loss_ = float(intermediate_result.fun)
        task.begin_iteration()
        if task.end_iteration():
            raise StopIteration

    found = minimize(
        objective,
        to_numpy(network.theta).astype(np.float64),
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol},
        callback=report,
    )
    network.theta = asarray(found.x, network.dtype)
    model.loss_, model.n_iter_ = float(found.fun), int(found.nit)
    model.t_ += len(examples.targets) * model.n_iter_
    model.best_loss_ = model.loss_
    _check_loss(model.loss_)
    if found.status == 1:
        warnings.warn(
            f"lbfgs failed to converge after {model.n_iter_} iteration(s). Increase max_iter or scale the data.",
            ConvergenceWarning,
            stacklevel=_CALLER,
        )


def _batch_size(model: NetworkEstimator, count: int) -> int:
    if model.batch_size == "auto":
        return min(200, count)
    if int(model.batch_size) > count:
        warnings.warn(
            f"batch_size={model.batch_size} is larger than the {count} samples. It is clipped.", stacklevel=_CALLER + 1
        )
    return min(int(model.batch_size), count)


def _train_epoch(model: NetworkEstimator, trainer: Trainer, batches: int) -> None:
    """Train on every batch once, and note the mean loss with its penalty."""
    sizes, losses = [], []
    for _ in range(batches):
        before = trainer.progress.examples_seen
        losses.append(trainer.step().loss)
        sizes.append(trainer.progress.examples_seen - before)
    trainer.publish()
    mean = np.average(to_numpy(trainer.backend.xp.stack(losses)), weights=sizes)
    model.loss_ = loss = float(mean) + weight_decay_loss(trainer.network, trainer.config, trainer.decay_mask)
    _check_loss(loss)
    model.n_iter_ += 1
    model.t_ += sum(sizes)
    model.loss_curve_.append(loss)
    if model.verbose:
        print(f"Iteration {model.n_iter_}, loss = {loss:.8f}")
    if model.best_loss_ is not None:
        model._no_improvement = model._no_improvement + 1 if loss > model.best_loss_ - model.tol else 0
        model.best_loss_ = min(model.best_loss_, loss)


def _validate(model: NetworkEstimator, held_out: Examples, best: Any) -> Any:
    """Score the held-out examples; returns the values of the best score so far."""
    network = model.network_
    score = model._score_outputs(to_numpy(outputs_of(network, held_out.X)), held_out.targets, held_out.weights)
    model.validation_scores_ = [*(model.validation_scores_ or ()), score]
    if model.verbose:
        print(f"Validation score: {score:f}")
    previous = -math.inf if model.best_validation_score_ is None else model.best_validation_score_
    model._no_improvement = model._no_improvement + 1 if score < previous + model.tol else 0
    if best is None or score > previous:
        model.best_validation_score_ = score
        return network.theta, network.state
    return best


def _has_stood_still(model: NetworkEstimator, schedule: Any) -> bool:
    """Whether the loss or score has stood still for long enough; an adaptive rate falls first."""
    if model._no_improvement <= model.n_iter_no_change:
        return False
    if isinstance(schedule, Adaptive) and schedule.fall(model.learning_rate_init):
        model._no_improvement = 0
        return False
    return True


def _check_loss(loss: float) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
            "preprocessed."
        )
