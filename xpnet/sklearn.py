"""scikit-learn estimators: multilayer perceptrons by scikit-learn's own settings, or any layers of xpnet.

``NetworkClassifier`` and ``NetworkRegressor`` take the settings of ``MLPClassifier`` and ``MLPRegressor`` by the same
names, with the same defaults and meaning, and beyond them ``layers``, ``optimizer``, ``schedule``, ``dropout``,
``batch_norm``, ``normalize`` and ``device``. Fitted on arrays of PyTorch, JAX or CuPy, with scikit-learn's
``array_api_dispatch``, they stay on these and predict them. Callbacks are scikit-learn's own: ``set_callbacks``.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, compute_sample_weight
from sklearn.utils._array_api import check_same_namespace, get_namespace
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data

from xpnet.backend import Array, backend_of, is_array, to_numpy
from xpnet.datasets import Dataset
from xpnet.initializers import VarianceScaling
from xpnet.layers import BatchNorm, Dense, Dropout, Flatten, Layer, ReLU, Sigmoid, Tanh
from xpnet.losses import BinaryCrossEntropy, Loss, MeanSquaredError, SoftmaxCrossEntropy
from xpnet.network import Network
from xpnet.optimizers import SGD, Adam, Momentum, Optimizer
from xpnet.runtime import Runtime
from xpnet.schedules import Constant, Schedule
from xpnet.training.config import TrainConfig
from xpnet.training.trainer import Trainer

_ACTIVATIONS: dict[str, type[Layer] | None] = {"identity": None, "logistic": Sigmoid, "tanh": Tanh, "relu": ReLU}
_LEAST_RATE = 1e-6  # at which an adaptive learning rate has come to its end


@dataclasses.dataclass(frozen=True)
class _InverseScaling:
    """The factor (n·epoch + 1)^-power, with n the number of examples."""

    power: float
    batches: int
    examples: int
    seen: int  # examples before

    def factor(self, step: int) -> float:
        """The factor of a step."""
        return (self.seen + self.examples * (step // self.batches) + 1) ** -self.power


class _Adaptive:
    """A factor that is divided by 5 whenever the training loss stands still."""

    def __init__(self) -> None:
        self.value = 1.0

    def factor(self, step: int) -> float:
        """The factor as it is now."""
        return self.value


class _NetworkEstimator(CallbackSupportMixin, BaseEstimator):
    """What classifier and regressor share: settings, the fit, and what is known after it."""

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_ACTIVATIONS))],
        "layers": [list, tuple, None],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
        "normalize": ["boolean"],
        "optimizer": [None, object],
        "schedule": [None, object],
        "device": [str, None],
    }
    classes_: Any
    n_outputs_: int
    out_activation_: str

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        layers: Sequence[Layer] | None = None,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        batch_norm: bool = False,
        normalize: bool = False,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        device: str | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.layers = layers
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.normalize = normalize
        self.optimizer = optimizer
        self.schedule = schedule
        self.device = device

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    @property
    def theta_(self) -> Array:
        """All parameters as one vector."""
        check_is_fitted(self, "network_")
        return self.network_.theta

    @property
    def coefs_(self) -> list[Array]:
        """Weight matrices of the dense layers, (inputs, outputs) each, as scikit-learn has them."""
        return [tensor.T for tensor in self._dense_tensors("weight")]

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of the dense layers."""
        return self._dense_tensors("bias")

    def _dense_tensors(self, kind: str) -> list[Array]:
        check_is_fitted(self, "network_")
        dense = [p.name for p in self.network_.layer.leaves(self.network_.input_shape) if isinstance(p.layer, Dense)]
        return [self.network_.parameters()[f"{name}.{kind}"] for name in dense]

    def _outputs(self, X: Any, method: str) -> Array:
        """The network's outputs for inputs, as an array of their library."""
        check_is_fitted(self, "network_")
        if self.device is None:
            check_same_namespace(X, self, attribute="theta_", method=method)
        return self.network_(self._validated(X, reset=False))

    def _validated(self, X: Any, *, reset: bool) -> Any:
        return validate_data(self, X, reset=reset, dtype=_float_dtypes(X), **self._shape_rule())

    def _shape_rule(self) -> dict[str, Any]:
        return {} if self.layers is None else {"allow_nd": True}

    def _validated_pair(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        rules = {"multi_output": True, "y_numeric": not is_classifier(self), **self._shape_rule()}
        checked: Any = validate_data(self, X, y, reset=reset, dtype=_float_dtypes(X), **rules)
        return checked

    def _make_network(self, X: Any, seed: int) -> Network:
        """Hidden layers as the settings say, or ``layers``, and a dense layer that gives the outputs.

        Initial weights are uniform with scikit-learn's bounds, √(6/(n_in + n_out)), or √(2/(n_in + n_out)) for the
        logistic function.
        """
        init = VarianceScaling(1 / 3 if self.activation == "logistic" else 1.0, "average", "uniform")
        layers = list(self.layers) if self.layers is not None else self._hidden(init)
        shape = tuple(X.shape[1:])
        for layer in layers:
            shape = layer.output_shape(shape)
        if len(shape) > 1:
            layers.append(Flatten())
        layers.append(Dense(self.n_outputs_, weight_init=init))
        network = Network(layers, tuple(X.shape[1:]), seed=seed, dtype=_dtype(X), loss=self._loss)
        return network.to(self.device) if self.device is not None else network.move(backend_of(X))

    def _hidden(self, init: VarianceScaling) -> list[Layer]:
        sizes, layers = np.atleast_1d(np.asarray(self.hidden_layer_sizes, dtype=object)).tolist(), list[Layer]()
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {list(sizes)}.")
        activation = _ACTIVATIONS[self.activation]
        for size in sizes:
            layers.append(Dense(int(size), weight_init=init))
            layers += [BatchNorm()] if self.batch_norm else []
            layers += [activation()] if activation else []
            layers += [Dropout(self.dropout)] if self.dropout else []
        return layers

    def _make_optimizer(self, weight_decay: float) -> Optimizer:
        if self.optimizer is not None:
            return self.optimizer
        if self.solver == "adam":
            return Adam(self.learning_rate_init, weight_decay, self.beta_1, self.beta_2, self.epsilon)
        if self.momentum == 0:
            return SGD(self.learning_rate_init, weight_decay)
        form = "nesterov" if self.nesterovs_momentum else "heavy-ball"
        return Momentum(self.learning_rate_init, self.momentum, weight_decay, form)

    def _make_schedule(self, batches: int, examples: int) -> Any:
        if self.schedule is not None:
            return self.schedule
        if self.solver == "sgd" and self.learning_rate == "invscaling":
            return _InverseScaling(self.power_t, batches, examples, self.t_)
        return _Adaptive() if self.solver == "sgd" and self.learning_rate == "adaptive" else Constant()

    def _begin(self, X: Any, incremental: bool) -> None:
        """Make a new network, unless this goes on with the one there is."""
        self._validate_params()
        is_new = not hasattr(self, "network_") or not (self.warm_start or incremental)
        if is_new:
            self._seeds = check_random_state(self.random_state)
            self.network_ = self._make_network(X, _seed(self._seeds))
            self.t_ = 0
        if is_new or not incremental:
            self.loss_curve_: list[float] = []
            self.best_loss_: float | None = math.inf
            self.validation_scores_: Any = [] if self.early_stopping else None
            self.best_validation_score_: Any = -math.inf if self.early_stopping else None
            self.n_iter_, self._no_improvement = 0, 0
        self.n_layers_ = sum(isinstance(p.layer, Dense) for p in self.network_.layer.leaves(X.shape[1:])) + 1

    def _fit(self, X: Any, targets: np.ndarray, sample_weight: Any, *, incremental: bool = False) -> Any:
        """Train on inputs, and targets as the loss takes them."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        self._begin(X, incremental)
        held_out = None
        if self.early_stopping:
            X, targets, sample_weight, held_out = self._split(X, targets, sample_weight)
        if self.solver == "lbfgs" and self.optimizer is None:
            self._fit_lbfgs(X, targets, sample_weight)
        else:
            self._fit_in_batches(X, targets, sample_weight, held_out, 1 if incremental else self.max_iter)
        return self

    def _split(self, X: Any, targets: np.ndarray, weights: Any) -> tuple[Any, ...]:
        """Examples to train on, and inputs and targets that are held out."""
        stratify = targets if is_classifier(self) and targets.ndim == 1 else None
        indices = np.arange(len(targets))
        parts: Any = train_test_split(
            indices, test_size=self.validation_fraction, random_state=self._seeds, stratify=stratify
        )
        kept, held = parts
        if len(held) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of the data.")
        weights = None if weights is None else weights[kept]
        return _rows(X, kept), targets[kept], weights, (_rows(X, held), targets[held])

    def _fit_in_batches(
        self, X: Any, targets: np.ndarray, weights: Any, held_out: tuple[Any, Any] | None, epochs: int
    ) -> None:
        count = len(targets)
        batch_size = min(200, count) if self.batch_size == "auto" else int(self.batch_size)
        if batch_size > count:
            warnings.warn(f"batch_size={batch_size} is larger than the {count} samples. It is clipped.", stacklevel=4)
            batch_size = count
        batches = -(-count // batch_size)
        schedule = self._make_schedule(batches, count)
        # scikit-learn divides the penalty by the batch's weight, as it does the loss.
        of_batch = batch_size * (1.0 if weights is None else max(float(np.mean(weights)), 1e-300))
        config = TrainConfig(
            iterations=epochs * batches,
            batch_size=batch_size,
            optimizer=self._make_optimizer(self.alpha / of_batch),
            schedule=schedule,
            decay_biases=False,
            normalize=self.normalize,
            shuffle=self.shuffle,
            seed=_seed(self._seeds),
        )
        data = Dataset(type(self).__name__, X, _beside(X, targets), class_names=self._class_names())
        trainer = Trainer(
            self.network_, data, config, Runtime(dtype=self.network_.dtype), sample_weight=_beside(X, weights)
        )
        context = self._init_callback_context(max_subtasks=epochs)
        context.call_on_fit_task_begin(estimator=self, X=X, y=targets)
        best = None
        try:
            for epoch in range(epochs):
                task = context.subcontext(task_name=f"epoch {epoch}")
                task.call_on_fit_task_begin(estimator=self, X=X, y=targets)
                self._epoch(trainer, batches)
                if held_out:
                    best = self._validate(held_out, best)
                is_last = self._is_over(schedule) or epoch + 1 == epochs
                if task.call_on_fit_task_end(estimator=self, X=X, y=targets) or is_last:
                    break
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            trainer.publish()
        if best:
            self.network_.theta, self.network_.state = best
        if epochs > 1 and self.n_iter_ == epochs and self._no_improvement <= self.n_iter_no_change:
            warnings.warn(
                f"Maximum iterations ({epochs}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )
        context.call_on_fit_task_end(estimator=self, X=X, y=targets)

    def _epoch(self, trainer: Trainer, batches: int) -> None:
        """Train on every batch once, and note the mean loss with its penalty."""
        xp, sizes, losses = self.network_.backend.xp, [], []
        for _ in range(batches):
            before = trainer.progress.examples_seen
            losses.append(trainer.step().loss)
            sizes.append(trainer.progress.examples_seen - before)
        trainer.publish()
        loss = float(np.average(to_numpy(xp.stack(losses)), weights=sizes)) + trainer.weight_decay_loss()
        if not math.isfinite(loss):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        self.loss_ = loss
        self.n_iter_ += 1
        self.t_ += sum(sizes)
        self.loss_curve_.append(loss)
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {loss:.8f}")
        if self.best_loss_ is not None:
            self._no_improvement = self._no_improvement + 1 if loss > self.best_loss_ - self.tol else 0
            self.best_loss_ = min(self.best_loss_, loss)

    def _validate(self, held_out: tuple[Any, Any], best: Any) -> Any:
        """Score the held-out examples; returns the values of the best score so far."""
        X, targets = held_out
        score = self._score_targets(to_numpy(self.network_(X)), targets)
        self.best_loss_ = None
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        self._no_improvement = self._no_improvement + 1 if score < self.best_validation_score_ + self.tol else 0
        if score > self.best_validation_score_ or best is None:
            self.best_validation_score_ = score
            return self.network_.theta, self.network_.state
        return best

    def _is_over(self, schedule: Any) -> bool:
        """Whether the loss or score has stood still for long enough; an adaptive rate falls first."""
        if self._no_improvement <= self.n_iter_no_change:
            return False
        if isinstance(schedule, _Adaptive) and self.learning_rate_init * schedule.value > _LEAST_RATE:
            schedule.value /= 5
            self._no_improvement = 0
            return False
        return True

    def _fit_lbfgs(self, X: Any, targets: np.ndarray, weights: Any) -> None:
        """Minimise the loss of all examples at once by SciPy's L-BFGS: all parameters are one vector.

        Source: Liu and Nocedal, "On the limited memory BFGS method", Mathematical Programming 45, 1989.
        """
        network = self.network_
        move = network.backend.asarray
        x, y = move(X, network.dtype), move(targets)
        w = None if weights is None else move(weights, network.dtype)
        total = float(len(targets) if weights is None else np.sum(weights))
        slots = network.layout.slots()
        decay = self.alpha / total * network.mask(lambda name: len(slots[name].shape) > 1)

        def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
            theta = move(point, network.dtype)
            result = network.loss_and_gradient(theta, network.state, x, y, w)
            penalty = float((decay * theta * theta).sum()) / 2
            return float(result.loss) + penalty, to_numpy(result.gradient + decay * theta).astype(np.float64)

        options = {"maxfun": self.max_fun, "maxiter": self.max_iter, "gtol": self.tol}
        start = to_numpy(network.theta).astype(np.float64)
        found = minimize(objective, start, method="L-BFGS-B", jac=True, options=options)
        network.theta = move(found.x, network.dtype)
        self.loss_, self.n_iter_ = float(found.fun), int(found.nit)
        self.t_ += len(targets) * self.n_iter_
        self.best_loss_ = self.loss_
        if found.status == 1:
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s). Increase max_iter or scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _weights(self, sample_weight: Any, X: Any, y: np.ndarray) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return to_numpy(_check_sample_weight(sample_weight, X, ensure_non_negative=True))

    @property
    def _loss(self) -> Loss:
        raise NotImplementedError

    def _class_names(self) -> tuple[str, ...] | None:
        return None

    def _score_targets(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        raise NotImplementedError


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):
    """A neural network that classifies, as a scikit-learn estimator.

    The settings are ``MLPClassifier``'s, and mean the same:

        L = 1/n Σ loss + alpha/(2n) Σ w²   over a batch of n examples, w the weights but not the biases

    Beyond them: ``layers`` takes the place of the hidden layers, for images (n, H, W, C) too; a dense layer for the
    classes (with a ``Flatten`` before it where it is needed) is added. ``dropout`` and ``batch_norm`` are for each
    hidden layer. ``normalize`` shifts and scales inputs to mean 0 and standard deviation 1 for each channel.
    ``optimizer`` and ``schedule`` are objects of xpnet in place of ``solver`` and ``learning_rate``; ``device`` is
    where to compute, by default where X is. ``class_weight`` is a dict, "balanced" or None.

    Two classes and multi-label targets are learned by binary cross-entropy, several classes by cross-entropy.

    After ``fit``: ``network_`` (a ``xpnet.Network``), ``classes_``, ``loss_``, ``loss_curve_``, ``best_loss_``,
    ``validation_scores_``, ``best_validation_score_``, ``coefs_``, ``intercepts_``, ``n_iter_``, ``n_layers_``,
    ``n_outputs_``, ``out_activation_``, ``t_``, ``n_features_in_``.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> NetworkClassifier(learning_rate_init=0.01, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **_NetworkEstimator._parameter_constraints,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        layers: Sequence[Layer] | None = None,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        dropout: float = 0.0,
        batch_norm: bool = False,
        normalize: bool = False,
        optimizer: Optimizer | None = None,
        schedule: Schedule | None = None,
        device: str | None = None,
        class_weight: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            layers=layers,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            dropout=dropout,
            batch_norm=batch_norm,
            normalize=normalize,
            optimizer=optimizer,
            schedule=schedule,
            device=device,
        )
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkClassifier:
        """Train on inputs (n, features), or images for ``layers``, and classes (n,) or labels 0/1 (n, k).

        Raises ValueError for data that do not fit, as scikit-learn's checks do, and for a single class.
        """
        X, y = self._validated_pair(X, y, reset=True)
        y = self._checked_targets(y)
        if not (self.warm_start and hasattr(self, "network_")):
            self._set_classes(X, np.unique(y) if y.ndim == 1 else np.arange(y.shape[1]), y.ndim == 2)
        return self._fit(X, self._encode(y), self._weights(sample_weight, X, y))

    @with_callbacks
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> NetworkClassifier:
        """One epoch on these examples, going on from what was learned; the first call needs all ``classes``."""
        is_first = not hasattr(self, "network_")
        X, y = self._validated_pair(X, y, reset=is_first)
        y = self._checked_targets(y)
        if is_first:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self._set_classes(X, np.unique(to_numpy(classes) if is_array(classes) else classes), y.ndim == 2)
        elif classes is not None and not np.array_equal(np.unique(classes), to_numpy(self.classes_)):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}")
        return self._fit(X, self._encode(y), self._weights(sample_weight, X, y), incremental=True)

    def predict(self, X: Any) -> Any:
        """The most probable class of each example, or 0/1 (n, k) for multi-label targets."""
        outputs = self._outputs(X, "predict")
        xp = backend_of(outputs).xp
        if self._is_multilabel:
            return xp.astype(outputs > 0, xp.int64)
        chosen = xp.astype(outputs[:, 0] > 0, xp.int64) if self.n_outputs_ == 1 else xp.argmax(outputs, axis=1)
        if isinstance(self.classes_, np.ndarray):
            return self.classes_[to_numpy(chosen)]
        return xp.take(self.classes_, chosen, axis=0)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of the classes (n, classes), or of each label (n, k)."""
        return self._probabilities(X, "predict_proba")

    def _probabilities(self, X: Any, method: str) -> Any:
        outputs = self._outputs(X, method)
        probabilities = self._loss.probabilities(outputs)
        if self._is_multilabel or self.n_outputs_ > 1:
            return probabilities
        xp = backend_of(outputs).xp
        of_one = xp.reshape(probabilities, (-1, 1))
        return xp.concat([1 - of_one, of_one], axis=1)

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of ``predict_proba``."""
        probabilities = self._probabilities(X, "predict_log_proba")
        with np.errstate(divide="ignore"):  # a probability of 0
            return backend_of(probabilities).xp.log(probabilities)

    @property
    def _loss(self) -> Loss:
        return BinaryCrossEntropy() if self.out_activation_ == "logistic" else SoftmaxCrossEntropy()

    def _class_names(self) -> tuple[str, ...] | None:
        return tuple(map(str, range(self.n_outputs_))) if self.out_activation_ == "softmax" else None

    def _checked_targets(self, y: Any) -> np.ndarray:
        y = to_numpy(y) if is_array(y) else np.asarray(y)
        check_classification_targets(y)
        return column_or_1d(y, warn=True) if y.ndim == 1 or y.shape[1] == 1 else y

    def _set_classes(self, X: Any, classes: np.ndarray, is_multilabel: bool) -> None:
        if len(classes) < 2:
            raise ValueError(f"NetworkClassifier expects at least 2 classes, got only one class: {classes.tolist()}.")
        self._is_multilabel = is_multilabel
        self._known = classes.tolist()  # no array: attributes are where X is
        self.classes_ = classes if isinstance(X, np.ndarray) else _beside(X, classes)
        self.n_outputs_ = 1 if len(classes) == 2 and not is_multilabel else len(classes)
        self.out_activation_ = "logistic" if is_multilabel or self.n_outputs_ == 1 else "softmax"

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Targets as the loss takes them: class numbers, or 0/1 (n, k)."""
        if self._is_multilabel:
            return y.astype(bool)
        classes = np.asarray(self._known, dtype=y.dtype if y.dtype.kind != "U" else None)
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise ValueError(f"`y` has classes that are not in classes_: {unknown.tolist()}.")
        numbers = np.searchsorted(classes, y)
        return numbers[:, None] > 0 if self.n_outputs_ == 1 else numbers.astype(np.int32)

    def _weights(self, sample_weight: Any, X: Any, y: np.ndarray) -> np.ndarray | None:
        weights = super()._weights(sample_weight, X, y)
        if self.class_weight is None:
            return weights
        of_classes = compute_sample_weight(self.class_weight, y)
        return of_classes if weights is None else weights * of_classes

    def _score_targets(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        if self.out_activation_ == "logistic":
            return float(((outputs > 0) == targets).all(axis=1).mean())
        return float((outputs.argmax(axis=1) == targets).mean())


@dataclasses.dataclass(frozen=True)
class _HalfSquaredError(MeanSquaredError):
    """Half of the mean squared error, scikit-learn's loss: f = d²/2, f' = d."""

    def distance(self, d: Array) -> Array:
        return d * d / 2

    def slope(self, d: Array) -> Array:
        return d


class NetworkRegressor(RegressorMixin, _NetworkEstimator):
    """A neural network for real targets (n,) or (n, k), as a scikit-learn estimator.

    The settings are ``MLPRegressor``'s, and those beyond them and what is known after ``fit`` are
    ``NetworkClassifier``'s. The loss is half of the squared error, as scikit-learn has it:

        L = 1/(2nk) Σ (y - t)² + alpha/(2n) Σ w²

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> NetworkRegressor(solver="lbfgs", random_state=0).fit(X, y).score(X, y) > 0.5
    True
    """

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """Train on inputs (n, features), or images for ``layers``, and real targets (n,) or (n, k).

        Raises ValueError for data that do not fit, as scikit-learn's checks do.
        """
        X, y = self._validated_pair(X, y, reset=True)
        return self._learn(X, y, sample_weight, incremental=False)

    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """One epoch on these examples, going on from what was learned."""
        X, y = self._validated_pair(X, y, reset=not hasattr(self, "network_"))
        return self._learn(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Predicted targets (n,) or (n, k)."""
        outputs = self._outputs(X, "predict")
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool) -> NetworkRegressor:
        y = np.asarray(to_numpy(y) if is_array(y) else y, dtype=_dtype(X))
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        self.n_outputs_, self.out_activation_ = 1 if y.ndim == 1 else y.shape[1], "identity"
        return self._fit(X, y, self._weights(sample_weight, X, y), incremental=incremental)

    @property
    def _loss(self) -> Loss:
        return _HalfSquaredError()

    def _score_targets(self, outputs: np.ndarray, targets: np.ndarray) -> float:
        return float(r2_score(targets, outputs))


def _float_dtypes(X: Any) -> list[Any]:
    """What scikit-learn may leave as it is: float64 and float32 of the library that it will hand on."""
    xp, _ = get_namespace(X)
    return [xp.float64, xp.float32]


def _dtype(X: Any) -> str:
    return "float32" if "float32" in str(X.dtype) else "float64"


def _seed(random: np.random.RandomState) -> int:
    return int(random.randint(np.iinfo(np.int32).max))


def _rows(X: Any, indices: np.ndarray) -> Any:
    backend = backend_of(X)
    return backend.xp.take(X, backend.asarray(indices), axis=0)


def _beside(X: Any, values: np.ndarray | None) -> Any:
    """Host values where X is."""
    return None if values is None else backend_of(X).asarray(values)
