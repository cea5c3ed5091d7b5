"""The scikit-learn estimators: what they learn, beside scikit-learn's own and in its tools."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", "1.9")

from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xpnet import Network
from xpnet.errors import InputError
from xpnet.layers import Conv2D, Dense, MaxPool2D, ReLU
from xpnet.losses import Focal, Huber, SoftmaxCrossEntropy
from xpnet.optimizers import Momentum
from xpnet.schedules import Cosine
from xpnet.sklearn import NetworkClassifier, NetworkRegressor

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:batch_size"),
]
ESTIMATORS = (NetworkClassifier, NetworkRegressor)


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


RATES = {
    "sgd": {"solver": "sgd", "momentum": 0.8},
    "sgd without momentum": {"solver": "sgd", "momentum": 0.0},
    "heavy ball": {"solver": "sgd", "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e9, "n_iter_no_change": 2},
    "adam": {"solver": "adam", "epsilon": 1e-30},  # beside which it does not matter that epsilon has another place
}


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", ["classes", "two classes", "labels", "real", "two real"])
def test_from_the_same_weights_it_learns_what_scikit_learns_own_does(rate, kind):
    X, y = load_iris(return_X_y=True)
    X, y = (X[:100], y[:100]) if kind == "two classes" else (X, y)
    X = StandardScaler().fit_transform(X)
    labels = np.stack([y > 0, X[:, 0] > 0], axis=1).astype(int)
    y = {"labels": labels, "real": X[:, 0] * 2 - 1, "two real": X[:, :2]}.get(kind, y)
    kinds = (MLPRegressor, NetworkRegressor) if "real" in kind else (MLPClassifier, NetworkClassifier)
    settings = {"hidden_layer_sizes": (7,), "activation": "tanh", "alpha": 0.5, "batch_size": 50, "shuffle": False}
    settings |= {"random_state": 0, "warm_start": True, "max_iter": 1, "n_iter_no_change": 100, **RATES[rate]}
    weights = np.tile(np.linspace(0.5, 1.5, 50), len(y) // 50)  # the same sum in each batch
    theirs, ours = (estimator(**settings).fit(X, y, weights) for estimator in kinds)
    tensors = {}
    for name, weight, bias in zip(("dense1", "dense2"), theirs.coefs_, theirs.intercepts_, strict=True):
        tensors |= {f"{name}.weight": weight.T, f"{name}.bias": bias}
    ours.network_.set_tensors(tensors)
    for model in (theirs, ours):
        model.t_ = 0
        model.set_params(max_iter=8).fit(X, y, weights)
    for a, b in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)
    assert theirs.t_ == ours.t_


def test_sparse_inputs_are_learned_as_dense_ones_are():
    X, y = load_digits(return_X_y=True)
    model = NetworkClassifier(max_iter=3, early_stopping=True, random_state=0)
    dense = clone(model).fit(X, y)
    sparse = clone(model).fit(csr_array(X), y)
    np.testing.assert_allclose(sparse.predict_proba(csr_array(X)), dense.predict_proba(X), rtol=1e-10)
    texts = make_pipeline(TfidfVectorizer(), NetworkClassifier(learning_rate_init=0.05, random_state=0))
    texts.fit(["good fun", "bad bore", "fun", "bore"], ["yes", "no", "yes", "no"])
    assert texts.predict(["good", "bad"]).tolist() == ["yes", "no"]
    lbfgs = NetworkClassifier((5,), solver="lbfgs", max_iter=5, random_state=0)
    np.testing.assert_allclose(clone(lbfgs).fit(csr_array(X), y).loss_, lbfgs.fit(X, y).loss_)


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


def test_one_layer_needs_no_list():
    X, y = load_iris(return_X_y=True)
    single, listed = (
        NetworkClassifier(layers=layers, max_iter=2, random_state=0, tol=0) for layers in (Dense(3), [Dense(3)])
    )
    with pytest.warns(ConvergenceWarning):
        np.testing.assert_array_equal(clone(single).fit(X, y).predict_proba(X), listed.fit(X, y).predict_proba(X))


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


def test_the_validation_score_is_weighted():
    X, y = load_iris(return_X_y=True)
    weights = np.ones(len(y))
    weights[::2], wrong = 0, y.copy()
    wrong[::2] = (y[::2] + 1) % 3  # labels that no weight is on
    settings = {"early_stopping": True, "validation_fraction": 0.3, "learning_rate_init": 0.02, "random_state": 0}
    model = NetworkClassifier(**settings, n_iter_no_change=40, max_iter=60)
    assert model.fit(X, wrong, weights).best_validation_score_ > 0.9


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


class Stopper:
    """A callback of scikit-learn's protocol that stops a fit after some iterations."""

    def __init__(self, after, error=None):
        self.after, self.error, self.ends = after, error, 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.ends += 1
        if self.error and self.ends == self.after:
            raise self.error
        return self.ends >= self.after

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_of_scikit_learn_are_told_and_may_stop(solver):
    X, y = load_iris(return_X_y=True)
    scores = ScoringMonitor(scoring="accuracy")
    model = NetworkClassifier(solver=solver, learning_rate_init=0.02, max_iter=20, random_state=0)
    model.set_callbacks(Stopper(12), scores)
    assert model.fit(X, y).n_iter_ == 12
    rows = scores.get_logs().data
    accuracies = [row["accuracy"] for row in rows if row["task_name"] == "iteration"]
    assert len(accuracies) == 12
    assert accuracies[-1] == model.score(X, y) > accuracies[0]  # each is of the network as it was then


class Keeper(Stopper):
    """Keeps the fitted estimator of each iteration."""

    def __init__(self):
        super().__init__(after=100)
        self.kept = []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.kept.append(fitted_estimator)


def test_a_callback_may_keep_the_estimator_of_an_iteration():
    X, y = load_iris(return_X_y=True)
    keeper = Keeper()
    model = NetworkClassifier(max_iter=3, random_state=0).set_callbacks(keeper).fit(X, y)
    first, last = keeper.kept[0], keeper.kept[-1]
    assert not np.allclose(first.predict_proba(X), last.predict_proba(X))
    np.testing.assert_array_equal(last.predict_proba(X), model.predict_proba(X))


def test_an_interruption_leaves_what_was_learned():
    X, y = load_iris(return_X_y=True)
    model = NetworkClassifier(max_iter=20, random_state=0)
    model.set_callbacks(Stopper(3, KeyboardInterrupt()))
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert model.n_iter_ == 3
    assert model.predict(X).shape == y.shape


def test_losses_of_xpnet():
    X, y = load_iris(return_X_y=True)
    focal = NetworkClassifier(loss=Focal(), learning_rate_init=0.02, random_state=0).fit(X, y)
    assert focal.score(X, y) > 0.9
    two = NetworkClassifier(loss=SoftmaxCrossEntropy(label_smoothing=0.1), max_iter=2, random_state=0)
    assert two.fit(X[:100], y[:100]).out_activation_ == "softmax"
    assert two.predict_proba(X).shape == (150, 2)
    target = X[:, 0].copy()
    target[::10] = 1e3  # outliers that half of the squared error would follow
    huber = NetworkRegressor(loss=Huber(), learning_rate_init=0.02, random_state=0).fit(X, target)
    assert np.median(np.abs(huber.predict(X) - X[:, 0])) < 1
    with pytest.raises(InputError, match="loss"):
        NetworkRegressor(loss=Focal()).fit(X, target)
    with pytest.raises(InputError, match="loss"):
        NetworkClassifier(loss=Huber()).fit(X, y)


@pytest.mark.parametrize("model", [NetworkClassifier(max_iter=2), NetworkRegressor(max_iter=2)])
def test_the_network_can_be_saved_and_loaded(model, tmp_path):
    X, y = load_iris(return_X_y=True)
    network = model.fit(X, y).network_
    network.save(tmp_path / "weights.safetensors")
    np.testing.assert_array_equal(Network.load(tmp_path / "weights.safetensors")(X), network(X))


def test_small_integers_are_computed_in_float32():
    X, y = load_digits(return_X_y=True)
    model = NetworkClassifier((8,), max_iter=1)
    assert model.fit(X.astype(np.uint8), y).network_.dtype == "float32"
    assert model.fit(X.astype(np.int64), y).network_.dtype == "float64"


def test_normalize_holds_for_every_solver():
    X, y = load_iris(return_X_y=True)
    for solver in ("adam", "lbfgs"):
        model = NetworkClassifier(normalize=True, solver=solver, max_iter=5, random_state=0).fit(X * 1e4, y)
        np.testing.assert_allclose(model.network_.state["normalize"]["mean"], X.mean(axis=0) * 1e4)


def test_it_says_how_it_goes(capsys):
    X, y = load_iris(return_X_y=True)
    NetworkClassifier(max_iter=1, verbose=True, early_stopping=True).fit(X, y)
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["Iteration", "Validation"]


WRONG = {
    "hidden_layer_sizes": ({"hidden_layer_sizes": (5, 0)}, "hidden_layer_sizes"),
    "layers": ({"layers": ["relu"]}, "layers"),
    "layers with dropout": ({"layers": [ReLU()], "dropout": 0.5}, "dropout"),
    "layers that do not fit": ({"layers": [Conv2D(4, 3)]}, "Conv2D"),
    "lbfgs with dropout": ({"solver": "lbfgs", "dropout": 0.5}, "lbfgs"),
    "lbfgs with a schedule": ({"solver": "lbfgs", "schedule": Cosine()}, "schedule"),
    "class_weight": ({"class_weight": {7: 1.0}}, "7"),
    "a negative class_weight": ({"class_weight": {0: -1.0}}, "class_weight: expected finite weights of at least 0"),
    "optimizer": ({"optimizer": "adam"}, "optimizer"),
    "device": ({"device": "tpu"}, "tpu"),
}


@pytest.mark.parametrize(("settings", "word"), WRONG.values(), ids=list(WRONG))
def test_wrong_settings_are_named(settings, word):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=word):
        NetworkClassifier(**settings).fit(X, y)


def test_partial_fit_refuses_what_it_cannot_do():
    X, y = load_iris(return_X_y=True)
    assert not hasattr(NetworkClassifier(solver="lbfgs"), "partial_fit")
    for settings in ({"early_stopping": True}, {"class_weight": "balanced"}):
        with pytest.raises(ValueError, match=next(iter(settings)).split("_")[0]):
            NetworkClassifier(**settings).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes"):
        NetworkClassifier().partial_fit(X, y)
    model = NetworkClassifier().partial_fit(X, y, classes=[0, 1, 2])
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(InputError, match="5"):
        model.partial_fit(X[:2], [0, 5])
    with pytest.raises(InputError, match="targets"):
        NetworkRegressor().partial_fit(X, y).partial_fit(X, X)
    np.testing.assert_array_equal(model.predict_proba(X), before)  # nothing is lost
