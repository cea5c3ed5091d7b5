"""The scikit-learn estimators, judged by scikit-learn's own checks."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9")

from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ProgressBar
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from xpnet.layers import Conv2D, MaxPool2D, ReLU
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.sklearn import NetworkClassifier, NetworkRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:batch_size"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning"),
]
ESTIMATORS = (NetworkClassifier, NetworkRegressor)


@parametrize_with_checks([NetworkClassifier(), NetworkRegressor()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_it_does_as_well_as_mlp_classifier(solver):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    settings = {"solver": solver, "learning_rate_init": 0.01, "max_iter": 150, "random_state": 0}
    theirs = MLPClassifier(**settings).fit(X, y)
    ours = NetworkClassifier(**settings).fit(X, y)
    assert ours.score(X, y) >= theirs.score(X, y) - 0.02
    assert ours.n_layers_ == theirs.n_layers_
    assert ours.out_activation_ == theirs.out_activation_
    assert [w.shape for w in ours.coefs_] == [w.shape for w in theirs.coefs_]
    assert [b.shape for b in ours.intercepts_] == [b.shape for b in theirs.intercepts_]


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["classes", "two classes", "real"])
def test_a_step_is_scikit_learns_own(solver, kind):
    """From the same weights, an epoch in one batch gives the same weights: loss, penalty and update are theirs."""
    X, y = load_iris(return_X_y=True)
    X, y = (X[:100], y[:100]) if kind == "two classes" else (X, y)
    y = X[:, 0] * 2 - 1 if kind == "real" else y
    theirs_kind, ours_kind = (MLPRegressor, NetworkRegressor) if kind == "real" else (MLPClassifier, NetworkClassifier)
    settings = {"hidden_layer_sizes": (7,), "solver": solver, "alpha": 0.1, "batch_size": len(y), "random_state": 0}
    theirs = theirs_kind(**settings, warm_start=True, max_iter=1).fit(X, y)
    ours = ours_kind(**settings, warm_start=True, max_iter=1).fit(X, y)
    tensors = {}
    for name, weight, bias in zip(("dense1", "dense2"), theirs.coefs_, theirs.intercepts_, strict=True):
        tensors |= {f"{name}.weight": weight.T, f"{name}.bias": bias}
    ours.network_.set_tensors(tensors)
    ours.network_.optimizer_memory = None
    theirs_fresh = theirs_kind(**settings, warm_start=True, max_iter=1)
    theirs_fresh.__dict__.update({k: v for k, v in vars(theirs).items() if k != "_optimizer"})
    theirs_fresh.fit(X, y)
    ours.fit(X, y)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs_fresh.coefs_ + theirs_fresh.intercepts_, strict=True):
        np.testing.assert_allclose(
            a, b, rtol=1e-7, atol=1e-9 if solver == "sgd" else 1e-5
        )  # Adam: epsilon has another place
    np.testing.assert_allclose(ours.loss_, theirs_fresh.loss_, rtol=2e-3)  # theirs is of before the step


def test_regression_in_a_pipeline_and_a_search():
    X, y = load_diabetes(return_X_y=True)
    model = make_pipeline(StandardScaler(), NetworkRegressor(solver="lbfgs", max_iter=60, random_state=0))
    search = GridSearchCV(model, {"networkregressor__hidden_layer_sizes": [(5,), (10, 5)]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.3


def test_cross_validation_calibration_clone_and_pickle():
    X, y = load_iris(return_X_y=True)
    model = NetworkClassifier(learning_rate_init=0.02, max_iter=60, random_state=0)
    assert cross_val_score(model, X, y, cv=3).mean() > 0.9
    assert CalibratedClassifierCV(model, cv=3).fit(X, y).score(X, y) > 0.9
    fitted = model.fit(X, y)
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict_proba(X), fitted.predict_proba(X))
    assert not hasattr(clone(fitted), "network_")


def test_layers_on_images_with_objects_for_optimizer_and_schedule():
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8, 1)
    model = NetworkClassifier(
        layers=[Conv2D(8, 3, padding=1), ReLU(), MaxPool2D(2)],
        optimizer=Momentum(0.1),
        schedule=Cosine(),
        normalize=True,
        max_iter=30,
        random_state=0,
    )
    assert model.fit(images[:1200], y[:1200]).score(images[1200:], y[1200:]) > 0.9


def test_dropout_and_batch_norm_are_put_into_hidden_layers():
    X, y = load_iris(return_X_y=True)
    model = NetworkClassifier((8, 8), dropout=0.1, batch_norm=True, learning_rate_init=0.02, random_state=0).fit(X, y)
    kinds = [info.kind for info in model.network_.layer_info()]
    assert kinds.count("Dropout") == kinds.count("BatchNorm") == 2
    assert model.score(X, y) > 0.9


def test_multilabel_targets():
    X, Y = make_multilabel_classification(n_samples=200, n_classes=4, random_state=0)
    model = NetworkClassifier(learning_rate_init=0.01, max_iter=100, random_state=0).fit(X, Y)
    assert model.predict(X).shape == model.predict_proba(X).shape == Y.shape
    assert (model.predict(X) == Y).mean() > 0.85


def test_class_weights_and_sample_weights_are_one():
    X, y = load_iris(return_X_y=True)
    settings = {"max_iter": 30, "learning_rate_init": 0.01, "batch_size": 150, "random_state": 0}
    by_class = NetworkClassifier(**settings, class_weight={0: 1, 1: 5, 2: 1}).fit(X, y)
    by_sample = NetworkClassifier(**settings).fit(X, y, sample_weight=np.where(y == 1, 5.0, 1.0))
    np.testing.assert_allclose(by_class.predict_proba(X), by_sample.predict_proba(X), rtol=1e-10)
    assert not np.allclose(by_class.predict_proba(X), NetworkClassifier(**settings).fit(X, y).predict_proba(X))


def test_early_stopping_keeps_the_best_and_says_how_it_went():
    X, y = load_digits(return_X_y=True)
    model = NetworkClassifier(early_stopping=True, n_iter_no_change=3, max_iter=60, random_state=0).fit(X, y)
    assert len(model.validation_scores_) == model.n_iter_ == len(model.loss_curve_)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.best_loss_ is None


def test_partial_fit_and_warm_start_go_on():
    X, y = load_iris(return_X_y=True)
    model = NetworkClassifier(learning_rate_init=0.02, random_state=0)
    for _ in range(60):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert model.score(X, y) > 0.9
    assert model.n_iter_ == 1  # of the last call, as scikit-learn counts
    assert model.t_ == 60 * len(X)
    assert len(model.loss_curve_) == 60
    before = model.loss_
    again = NetworkClassifier(learning_rate_init=0.02, max_iter=5, warm_start=True, random_state=0).fit(X, y)
    first = again.loss_
    assert again.fit(X, y).loss_ < first
    assert model.partial_fit(X, y).loss_ < before * 1.5
    assert len(model.partial_fit(X[:5], y[:5]).loss_curve_) == 62  # examples of one class only
    assert len(again.loss_curve_) == 10


def test_not_converged_is_a_warning():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\)"):
        NetworkClassifier(max_iter=2, random_state=0).fit(X, y)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_an_unfitted_estimator_says_so(estimator):
    with pytest.raises(NotFittedError):
        estimator().predict(np.zeros((2, 2)))


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="class"):
        NetworkClassifier().fit(np.zeros((4, 2)), np.zeros(4))


def test_scikit_learns_callbacks_are_called():
    X, y = load_iris(return_X_y=True)

    class Counter(ProgressBar):
        ends = 0

        def setup(self, estimator, context):
            pass

        def on_fit_task_begin(self, *args, **kwargs):
            pass

        def on_fit_task_end(self, *args, **kwargs):
            Counter.ends += 1
            return Counter.ends >= 3

        def teardown(self, estimator, context):
            pass

    model = NetworkClassifier(max_iter=20, random_state=0)
    model.set_callbacks(Counter())
    assert model.fit(X, y).n_iter_ == 3


def test_arrays_of_pytorch_stay_pytorchs():
    torch = pytest.importorskip("torch", exc_type=ImportError)
    X, y = load_iris(return_X_y=True)
    X, y = torch.asarray(X, dtype=torch.float32, device="cpu"), torch.asarray(y, device="cpu")
    with config_context(array_api_dispatch=True):
        model = make_pipeline(StandardScaler(), NetworkClassifier(learning_rate_init=0.02, random_state=0)).fit(X, y)
        predicted = model.predict(X)
        assert isinstance(predicted, torch.Tensor)
        assert model[-1].network_.backend.name == "torch"
        assert float((predicted == y).to(torch.float32).mean()) > 0.9
