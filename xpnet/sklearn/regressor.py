"""A regressor with scikit-learn's interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.callback import with_callbacks
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import column_or_1d

from xpnet.errors import InputError
from xpnet.losses import Loss, MeanSquaredError
from xpnet.sklearn.estimator import NetworkEstimator
from xpnet.sklearn.examples import dtype_name
from xpnet.sklearn.losses import HalfSquaredError
from xpnet.sklearn.settings import Settings


@dataclass(eq=False, repr=False)
class NetworkRegressor(RegressorMixin, NetworkEstimator):
    """A neural network for real targets (n,) or (n, k), as a scikit-learn estimator.

    The settings are ``MLPRegressor``'s, and those beyond them and what is known after ``fit`` are
    ``NetworkClassifier``'s. The loss is half of the squared error, summed over the k targets, with the same penalty:

        L = 1/(2n) Σ (y - t)² + alpha/(2n) Σ w²

    Parameters
    ----------
    hidden_layer_sizes, activation
        As in ``MLPRegressor``.
    loss
        "squared_error", or one of xpnet's for real targets, such as ``Huber()``.
    solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter, shuffle, random_state, tol
        As in ``MLPRegressor``.
    verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon
        As in ``MLPRegressor``.
    n_iter_no_change, max_fun
        As in ``MLPRegressor``.
    layers, dropout, batch_norm, normalize, optimizer, schedule, device
        As in ``NetworkClassifier``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> NetworkRegressor(solver="lbfgs", random_state=0).fit(X, y).score(X, y) > 0.5
    True
    """

    loss: Loss | str = "squared_error"

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **Settings._parameter_constraints,
        "loss": [StrOptions({"squared_error"}), HasMethods("backward")],
    }

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """Train on inputs (n, features), or images for ``layers``, and real targets (n,) or (n, k).

        Raises ValueError for data that do not fit, as scikit-learn's checks do.
        """
        return self._learn(X, y, sample_weight, incremental=False)

    @available_if(lambda self: self._can_go_on())
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """One epoch on these examples, going on from what was learned."""
        return self._learn(X, y, sample_weight, incremental=True)

    def predict(self, X: Any) -> Any:
        """Predicted targets (n,) or (n, k)."""
        outputs = self._outputs(X, "predict")
        return outputs[:, 0] if self.n_outputs_ == 1 else outputs

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, incremental: bool) -> NetworkRegressor:
        self._validate_params()
        is_first = not (incremental and hasattr(self, "network_"))
        X, y = self._validated(X, y, reset=is_first, y_numeric=True)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        outputs = 1 if y.ndim == 1 else y.shape[1]
        if hasattr(self, "network_") and (incremental or self.warm_start) and outputs != self.n_outputs_:
            raise InputError(
                f"NetworkRegressor: expected {self.n_outputs_} targets as before, got {outputs}. Fit a new one."
            )
        self.n_outputs_, self.out_activation_ = outputs, "identity"
        targets = y.astype(dtype_name(X), copy=False)
        return self._fit(X, y, targets, self._weights(sample_weight, X), incremental=incremental)

    @property
    def _loss(self) -> Loss:
        if isinstance(self.loss, str):
            return MeanSquaredError()
        if self.loss.target != "real":
            raise InputError(
                f"NetworkRegressor: expected a loss of real targets, got {type(self.loss).__name__}. "
                "Use a regression loss such as Huber(), or NetworkClassifier."
            )
        return self.loss

    @property
    def _training_loss(self) -> Loss:
        return HalfSquaredError() if isinstance(self.loss, str) else self.loss

    def _score_outputs(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        return float(r2_score(targets, outputs, sample_weight=weights))
