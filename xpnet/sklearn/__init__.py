"""scikit-learn estimators: multilayer perceptrons by scikit-learn's own settings, or any layers of xpnet.

``NetworkClassifier`` and ``NetworkRegressor`` take the settings of ``MLPClassifier`` and ``MLPRegressor`` by the same
names, with the same defaults and meaning, and beyond them layers, losses, optimizers, schedules and devices of xpnet.
Fitted on arrays of PyTorch, JAX or CuPy, with scikit-learn's ``array_api_dispatch``, they stay on these and predict
them. Callbacks are scikit-learn's own: ``set_callbacks``.
"""

from xpnet.sklearn.classifier import NetworkClassifier
from xpnet.sklearn.regressor import NetworkRegressor

__all__ = ["NetworkClassifier", "NetworkRegressor"]
