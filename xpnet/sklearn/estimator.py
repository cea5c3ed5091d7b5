"""What the classifier and the regressor share: the checks, the network, the fit, and what is known after it."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from sklearn.callback import CallbackSupportMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._array_api import check_same_namespace
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xpnet.backend import Array, to_numpy
from xpnet.layers import Dense
from xpnet.losses import Loss
from xpnet.network import Network
from xpnet.sklearn.examples import Examples, as_rows, dtype_name, float_dtypes, home, outputs_of
from xpnet.sklearn.settings import Settings
from xpnet.sklearn.solvers import FitTask, fit_by_lbfgs, fit_in_batches


class NetworkEstimator(CallbackSupportMixin, Settings):
    """A network that is fitted by scikit-learn's rules; a subclass knows the targets."""

    n_outputs_: int
    loss_: float

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
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
        parameters, leaves = self.network_.parameters(), self.network_.layer.leaves(self.network_.input_shape)
        return [parameters[f"{leaf.name}.{kind}"] for leaf in leaves if isinstance(leaf.layer, Dense)]

    def _outputs(self, X: Any, method: str) -> Array:
        """The network's outputs for inputs, as an array of their library."""
        check_is_fitted(self, "network_")
        if self.device is None:
            check_same_namespace(X, self, attribute="theta_", method=method)
        X = validate_data(self, X, reset=False, dtype=float_dtypes(X), **self._shape_rules())
        return outputs_of(self.network_, as_rows(X))

    def _shape_rules(self) -> dict[str, Any]:
        return {"accept_sparse": "csr", "allow_nd": self.layers is not None}

    def _validated(self, X: Any, y: Any, *, reset: bool, **rules: Any) -> tuple[Any, np.ndarray]:
        """Inputs where they are, and targets on the host."""
        dtypes, rules = float_dtypes(X), {**rules, **self._shape_rules(), "multi_output": True}
        X, y = validate_data(self, X, y, reset=reset, dtype=dtypes, **rules)
        y = y.toarray() if hasattr(y, "toarray") else y
        return X, np.asarray(y) if isinstance(y, list) else to_numpy(y)

    def _weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return to_numpy(_check_sample_weight(sample_weight, X, ensure_non_negative=True))

    def _fit(
        self, X: Any, y: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, *, incremental: bool
    ) -> Self:
        """Train on inputs and targets as the loss takes them; callbacks get ``y``."""
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        examples, held_out = Examples(as_rows(X), targets, weights), None
        self._begin(examples.X, incremental)
        task = FitTask(self, X, y, weights, max_subtasks=1 if incremental else self.max_iter)
        if self._is_lbfgs:
            fit_by_lbfgs(self, examples, task)
        else:
            if self.early_stopping:
                examples, held_out = self._split(examples)
            fit_in_batches(self, examples, held_out, task, incremental=incremental)
        # Not the one trained on, of which a file would know the name only.
        self.network_.loss = self.network_.own_loss = self._loss
        task.end()
        return self

    @property
    def _is_lbfgs(self) -> bool:
        return self.solver == "lbfgs" and self.optimizer is None

    def _can_go_on(self) -> bool:
        if self._is_lbfgs:
            raise AttributeError(f"{type(self).__name__}: solver='lbfgs' has no partial_fit. Use solver='adam'.")
        return True

    def _begin(self, X: Any, incremental: bool) -> None:
        """Make a new network, unless this goes on with the one there is."""
        if not hasattr(self, "network_") or not (self.warm_start or incremental):
            self._seeds = check_random_state(self.random_state)
            self.network_, self.t_ = self._make_network(X), 0
            self.loss_curve_: list[float] = []
            self.validation_scores_: list[float] | None = [] if self.early_stopping else None
            self.best_loss_: float | None = None if self.early_stopping else math.inf
            self.best_validation_score_: float | None = -math.inf if self.early_stopping else None
            self._no_improvement = 0
        if not incremental:
            self.network_.optimizer_memory = None
        self.n_iter_ = 0
        self.n_layers_ = sum(len(slot.shape) > 1 for slot in self.network_.layout.slots().values()) + 1

    def _make_network(self, X: Any) -> Network:
        shape = tuple(X.shape[1:])
        layers = self.make_layers(shape, self.n_outputs_)
        network = Network(layers, shape, seed=self._next_seed(), dtype=dtype_name(X), loss=self._loss)
        return network.move(home(X)) if self.device is None else network.to(self.device)

    def _next_seed(self) -> int:
        return int(self._seeds.randint(np.iinfo(np.int32).max))

    def _split(self, examples: Examples) -> tuple[Examples, Examples]:
        """Examples to train on, and those that are held out."""
        parts: Any = train_test_split(
            np.arange(len(examples.targets)),
            test_size=self.validation_fraction,
            random_state=self._seeds,
            stratify=self._strata(examples.targets),
        )
        if len(parts[1]) < 2:
            raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of the data.")
        return examples.rows(parts[0]), examples.rows(parts[1])

    # What a subclass says of its targets.

    @property
    def _loss(self) -> Loss:
        """The loss for them, one of xpnet's or the user's."""
        raise NotImplementedError

    @property
    def _training_loss(self) -> Loss:
        """The loss that is trained on: scikit-learn's, a multiple of xpnet's, unless the user gave one."""
        raise NotImplementedError

    def _class_names(self) -> tuple[str, ...] | None:
        return None

    def _strata(self, targets: np.ndarray) -> np.ndarray | None:
        """What held-out examples should have in the same proportions as the others."""
        return None

    def _score_outputs(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """The score of outputs, by which training is stopped early."""
        raise NotImplementedError
