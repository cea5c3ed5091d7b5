"""A classifier with scikit-learn's interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import accuracy_score
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import column_or_1d

from xpnet.backend import backend_of, to_numpy
from xpnet.errors import InputError
from xpnet.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from xpnet.sklearn.estimator import NetworkEstimator
from xpnet.sklearn.examples import as_rows, home
from xpnet.sklearn.losses import SummedBinaryCrossEntropy
from xpnet.sklearn.settings import Settings
from xpnet.training.weights import check_class_weight


@dataclass(eq=False, repr=False)
class NetworkClassifier(ClassifierMixin, NetworkEstimator):
    """A neural network that classifies, as a scikit-learn estimator.

    The settings are ``MLPClassifier``'s, and mean the same:

        L = 1/n Σ loss + alpha/(2n) Σ w²   over a batch of n examples, w the weights but not the biases

    Two classes and multi-label targets (n, k) are learned by binary cross-entropy, of labels the sum, several classes
    by cross-entropy. Inputs are dense or sparse; they are computed with in float32 if that holds them (float32, 8 and
    16 bits), else in float64.

    After ``fit``: ``network_`` (a ``xpnet.Network``), ``classes_``, ``loss_``, ``loss_curve_``, ``best_loss_``,
    ``validation_scores_``, ``best_validation_score_``, ``coefs_``, ``intercepts_``, ``n_iter_``, ``n_layers_``,
    ``n_outputs_``, ``out_activation_``, ``t_``, ``n_features_in_``.

    Parameters
    ----------
    hidden_layer_sizes, activation
        As in ``MLPClassifier``.
    loss
        One of xpnet's for classes, such as ``Focal()``.
    class_weight
        A dict, "balanced" or None.
    solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol
        As in ``MLPClassifier``.
    verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon
        As in ``MLPClassifier``.
    n_iter_no_change, max_fun
        As in ``MLPClassifier``.
    layers
        In place of the hidden layers, for images (n, H, W, C) too; a dense layer for the classes, with a ``Flatten``
        before it where that is needed, is added.
    dropout, batch_norm
        For each hidden layer.
    normalize
        Shifts and scales inputs to mean 0 and standard deviation 1 for each channel, as ``StandardScaler`` does for
        vectors.
    optimizer
        In place of ``solver``, ``alpha`` and the settings of both.
    schedule
        In place of ``learning_rate``.
    device
        Where to compute, by default where X is.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> NetworkClassifier(learning_rate_init=0.01, random_state=0).fit(X, y).score(X, y) > 0.95
    True
    """

    loss: Loss | None = None
    class_weight: Any = None

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Settings._parameter_constraints,
        "loss": [HasMethods("backward"), None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkClassifier:
        """Train on inputs (n, features), or images for ``layers``, and classes (n,) or labels 0/1 (n, k).

        Raises ValueError for data that do not fit, as scikit-learn's checks do, and for a single class.
        """
        self._validate_params()
        X, y = self._checked(X, y, reset=True)
        if not (self.warm_start and hasattr(self, "network_")):
            self._set_classes(X, unique_labels(y), y.ndim == 2)
        return self._learn(X, y, sample_weight, incremental=False)

    @available_if(lambda self: self._can_go_on())
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> NetworkClassifier:
        """One epoch on these examples, going on from what was learned; the first call needs all ``classes``.

        Raises ValueError for classes that are not those of the first call, and for class_weight="balanced", which needs
        all examples.
        """
        self._validate_params()
        is_first = not hasattr(self, "network_")
        if self.class_weight == "balanced":
            raise InputError(
                'NetworkClassifier: expected class_weight to be a dict for partial_fit, got "balanced". '
                "Pass the weights as a dict."
            )
        if is_first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        X, y = self._checked(X, y, reset=is_first)
        if is_first:
            self._set_classes(X, unique_labels(classes), y.ndim == 2)
        elif classes is not None and not np.array_equal(unique_labels(classes), to_numpy(self.classes_)):
            raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit: {self.classes_!r}")
        return self._learn(X, y, sample_weight, incremental=True)

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

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of ``predict_proba``."""
        probabilities = self._probabilities(X, "predict_log_proba")
        with np.errstate(divide="ignore"):  # a probability of 0
            return backend_of(probabilities).xp.log(probabilities)

    def _probabilities(self, X: Any, method: str) -> Any:
        outputs = self._outputs(X, method)
        probabilities = self._loss.probabilities(outputs)
        if self._is_multilabel or self.n_outputs_ > 1:
            return probabilities
        xp = backend_of(outputs).xp
        of_one = xp.reshape(probabilities, (-1, 1))
        return xp.concat([1 - of_one, of_one], axis=1)

    def _learn(self, X: Any, y: np.ndarray, sample_weight: Any, *, incremental: bool) -> NetworkClassifier:
        targets, weights = self._encode(y), self._weights(sample_weight, X)
        if self.class_weight is not None:
            of_classes = compute_sample_weight(self._checked_class_weight(), y)
            weights = of_classes if weights is None else weights * of_classes
        return self._fit(X, y, targets, weights, incremental=incremental)

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, np.ndarray]:
        X, y = self._validated(X, y, reset=reset)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True) if y.ndim == 1 or y.shape[1] == 1 else y

    def _set_classes(self, X: Any, classes: np.ndarray, is_multilabel: bool) -> None:
        if len(classes) < 2:
            raise InputError(
                f"NetworkClassifier: expected at least 2 classes, got only one class, {classes.tolist()[0]!r}. "
                "Add examples of another."
            )
        self._is_multilabel = is_multilabel
        # Text is NumPy's alone.
        self.classes_ = home(as_rows(X)).asarray(classes) if classes.dtype.kind in "biuf" else classes
        fitting = ["binary"] if is_multilabel else ["classes"] if len(classes) > 2 else ["binary", "classes"]
        target = self.loss.target if self.loss else fitting[0]
        if target not in fitting:
            raise InputError(
                f"NetworkClassifier: expected a loss for {'labels' if is_multilabel else 'classes'}, got "
                f"{type(self.loss).__name__}. Leave it out."
            )
        self.n_outputs_ = 1 if target == "binary" and not is_multilabel else len(classes)
        self.out_activation_ = "softmax" if target == "classes" else "logistic"

    def _encode(self, y: np.ndarray) -> np.ndarray:
        """Targets as the loss takes them: class numbers, or 0/1 (n, k)."""
        if self._is_multilabel != (y.ndim == 2):
            raise InputError("NetworkClassifier: expected y of the same kind as before, got another. Fit a new one.")
        if self._is_multilabel:
            return y.astype(bool)
        classes = to_numpy(self.classes_)
        unknown = np.setdiff1d(y, classes)
        if len(unknown):
            raise InputError(
                f"NetworkClassifier: expected the classes {classes.tolist()}, got {unknown.tolist()} in y. "
                "Leave these examples out, or fit a new one."
            )
        numbers = np.searchsorted(classes, y)
        return numbers[:, None] > 0 if self.n_outputs_ == 1 else numbers.astype(np.int32)

    def _checked_class_weight(self) -> Any:
        classes = to_numpy(self.classes_).tolist()
        unknown = (
            [key for key in self.class_weight if key not in classes] if isinstance(self.class_weight, dict) else []
        )
        if unknown and not self._is_multilabel:
            raise InputError(f"class_weight: expected the classes {classes}, got {unknown}. Change class_weight.")
        if isinstance(self.class_weight, dict):
            for key, value in self.class_weight.items():
                check_class_weight(key, value)
        return self.class_weight

    @property
    def _loss(self) -> Loss:
        return self.loss or (BinaryCrossEntropy() if self.out_activation_ == "logistic" else SoftmaxCrossEntropy())

    @property
    def _training_loss(self) -> Loss:
        return self.loss or (SummedBinaryCrossEntropy() if self.out_activation_ == "logistic" else self._loss)

    def _class_names(self) -> tuple[str, ...] | None:
        return tuple(map(str, range(self.n_outputs_))) if self.out_activation_ == "softmax" else None

    def _strata(self, targets: np.ndarray) -> np.ndarray | None:
        return None if self._is_multilabel else targets

    def _score_outputs(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        predicted = outputs > 0 if self.out_activation_ == "logistic" else outputs.argmax(axis=1)
        return float(accuracy_score(targets, predicted, sample_weight=weights))
