"""scikit-learn's own checks, and arrays of other libraries by its array API dispatch."""

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9")

from sklearn import config_context
from sklearn.datasets import load_diabetes, load_iris
from sklearn.metrics import r2_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpnet.backend import namespace_name, to_numpy
from xpnet.layers import Dense, ReLU
from xpnet.sklearn import NetworkClassifier, NetworkRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
    pytest.mark.filterwarnings("ignore:batch_size"),
]


@parametrize_with_checks(
    [
        NetworkClassifier(),
        NetworkRegressor(),
        NetworkClassifier(layers=[Dense(50), ReLU()], learning_rate_init=0.01),
        NetworkRegressor(layers=[Dense(50), ReLU()], solver="lbfgs"),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(params=["torch", "jax"])
def asarray(request):
    """Puts NumPy's values into arrays of a library."""
    library = pytest.importorskip(request.param, exc_type=ImportError)
    if request.param == "torch":
        return lambda values: library.asarray(values, device="cpu")
    return library.numpy.asarray


def test_arrays_stay_where_they_are(asarray):
    X, y = load_iris(return_X_y=True)
    X = asarray(X.astype(np.float32))
    with config_context(array_api_dispatch=True):
        model = NetworkClassifier(learning_rate_init=0.02, random_state=0).fit(X, asarray(y))
        for values in (model.predict(X), model.predict_proba(X), model.predict_log_proba(X), *model.coefs_):
            assert namespace_name(values) == namespace_name(X)
        assert model.network_.backend.name == namespace_name(X)
        assert np.mean(to_numpy(model.predict(X)) == y) > 0.9
        names = np.asarray(["a", "b", "c"])[y]
        model.fit(X, names)
        assert np.mean(model.predict(X) == names) > 0.9  # text is NumPy's alone
        X, y = load_diabetes(return_X_y=True)
        real = NetworkRegressor(solver="lbfgs", max_iter=50, random_state=0).fit(asarray(X), asarray(y))
        predicted = to_numpy(real.predict(asarray(X)))
    assert r2_score(y, predicted) > 0.4  # scikit-learn's own metrics write into arrays, which JAX's do not let them


def test_arrays_of_pytorch_in_a_pipeline():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    X, y = load_iris(return_X_y=True)
    X, y = torch.asarray(X, dtype=torch.float32, device="cpu"), torch.asarray(y, device="cpu")
    with config_context(array_api_dispatch=True):
        model = make_pipeline(
            StandardScaler(), NetworkClassifier(learning_rate_init=0.02, early_stopping=True, random_state=0)
        )
        assert isinstance(model.fit(X, y).predict(X), torch.Tensor)
        assert model.score(X, y) > 0.9
        assert cross_val_score(model, X, y, cv=3).mean() > 0.8
        with pytest.raises(ValueError, match="namespace"):
            model[-1].predict(np.zeros((2, 4)))
