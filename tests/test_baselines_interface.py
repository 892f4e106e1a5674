"""The rivals in EPICFilter's place: training loops, models, pipelines, errors."""

import inspect
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from epic_sklearn import (
    EPICFilter,
    FilteredClassifier,
    LastLayerGradients,
    PrecomputedGradients,
    TorchClassifier,
)
from epic_sklearn.baselines import (
    ActivationClustering,
    DeepKNN,
    HighLoss,
    LastLayerInputs,
    LowConfidence,
    Probabilities,
    RandomDrop,
    SpectralSignatures,
)

RIVALS = [
    SpectralSignatures(),
    ActivationClustering(random_state=0),
    DeepKNN(),
    HighLoss(),
    LowConfidence(),
    RandomDrop(random_state=0),
]


def name_of(value):
    return type(value).__name__ if hasattr(value, "get_params") else None


every_rival = pytest.mark.parametrize("rival", RIVALS, ids=name_of)


def small_net():
    """Untrained, the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
        )


class NeverFitted(LogisticRegression):
    """Fails the test when anything is trained before input is checked."""

    def fit(self, X, y, sample_weight=None):
        raise AssertionError("fit was reached")


@pytest.fixture
def overlapping():
    """Three classes in four dimensions that overlap."""
    return make_blobs(150, 4, centers=3, center_box=(-3, 3), random_state=0)


# ----------------------------------------------------------- in a training loop


@every_rival
def test_flag_is_what_fit_does_on_plain_arrays(rival, overlapping):
    X, y = overlapping
    rival = clone(rival).set_params(min_class_fraction=0.2).fit(X, y)
    values = None
    if rival.uses != "labels":
        values = rival.extractor_.compute(X, y)
    for box in (np.asarray, torch.tensor, np.ndarray.tolist):
        boxed = None if values is None else box(values)
        np.testing.assert_array_equal(rival.flag(boxed, box(y)), ~rival.keep_)
    fitted = {k for k in vars(rival) if k.endswith("_")}
    fresh = clone(rival)
    fresh.flag(values, y)
    assert fitted and not any(k.endswith("_") for k in vars(fresh))


@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_a_training_loop_drops_with_what_each_rival_uses(overlapping):
    X, y = overlapping
    net = small_net()
    reads = {"features": LastLayerInputs, "probabilities": Probabilities}
    for rival in RIVALS:
        rival = clone(rival).set_params(min_class_fraction=0)
        keep = np.ones(len(y), dtype=bool)
        for _ in range(2):
            read = reads.get(rival.uses, lambda net: lambda X, y: None)
            keep &= ~rival.flag(read(net)(X, y), y)
        assert keep.dtype == bool and keep.shape == y.shape and keep.any()


def test_probability_columns_are_sorted_labels_or_numbers(overlapping):
    X, y = overlapping
    p = LogisticRegression().fit(X, y).predict_proba(X)
    rival = HighLoss(drop_fraction=0.2)
    expected = rival.flag(p, y)
    named = np.array(["a", "b", "c"])[y]
    np.testing.assert_array_equal(rival.flag(p, named), expected)
    some = y != 1  # only columns 0 and 2 occur: numbers say which
    np.testing.assert_array_equal(rival.flag(p[some], y[some]), expected[some])
    for labels in (named[some], y[some] + 5, y[some] - 1):
        with pytest.raises(ValueError, match="3 columns of probabilities and 2 labels"):
            rival.flag(p[some], labels)


def test_random_drop_draws_the_same_rows_at_each_call_of_an_integer():
    y = np.repeat([0, 1], 50)
    fixed, free = RandomDrop(random_state=3), RandomDrop()
    np.testing.assert_array_equal(fixed.flag(None, y), fixed.flag(None, y))
    assert any((free.flag(None, y) != free.flag(None, y)).any() for _ in range(5))
    assert [free.flag(None, y)[y == c].sum() for c in (0, 1)] == [5, 5]


# ------------------------------------------------------------- what they look at


def test_last_layer_inputs_are_the_activations_before_the_last_layer(overlapping):
    X, y = overlapping
    body = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU())
    net = torch.nn.Sequential(body, torch.nn.Dropout(0.5), torch.nn.Linear(6, 3))
    with torch.no_grad():
        expected = body(torch.tensor(X, dtype=torch.float32)).numpy()
    np.testing.assert_allclose(LastLayerInputs(net)(X, y), expected, rtol=1e-6)
    np.testing.assert_array_equal(LastLayerInputs(net)(X), LastLayerInputs(net)(X, y))
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    shuffled = torch.utils.data.DataLoader(data, batch_size=7, shuffle=True)
    np.testing.assert_allclose(LastLayerInputs(net)(shuffled), expected, rtol=1e-5)
    assert net.training
    model = TorchClassifier(net, max_epochs=2, random_state=0).fit(X, y)
    expected = LastLayerInputs(model.module_)(X, y)
    frozen = LastLayerInputs(FrozenEstimator(model)).fit(X, y)
    np.testing.assert_array_equal(frozen.compute(X, y), expected)


def test_last_layer_inputs_of_scikit_learn_models(overlapping):
    X, y = overlapping
    mlp = MLPClassifier(5, max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = LastLayerInputs(mlp).fit(X, y)
    fitted = read.classifier_
    hidden = np.maximum(X @ fitted.coefs_[0] + fitted.intercepts_[0], 0)
    np.testing.assert_allclose(read.compute(X, y), hidden)
    np.testing.assert_array_equal(LastLayerInputs().fit(X, y).compute(X), X)
    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    read = LastLayerInputs(scaled).fit(X, y)
    np.testing.assert_allclose(read.compute(X), StandardScaler().fit_transform(X))


def test_probabilities_are_the_models(overlapping):
    X, y = overlapping
    model = LogisticRegression().fit(X, y)
    read = Probabilities(LogisticRegression()).fit(X, y)
    np.testing.assert_array_equal(read.compute(X, y), model.predict_proba(X))
    net = torch.nn.Linear(4, 3)
    with torch.no_grad():
        expected = net(torch.tensor(X, dtype=torch.float32)).softmax(1).numpy()
    np.testing.assert_allclose(Probabilities(net)(X), expected, rtol=1e-5)
    torch_model = TorchClassifier(max_epochs=2, random_state=0).fit(X, y)
    np.testing.assert_array_equal(
        Probabilities(FrozenEstimator(torch_model)).fit(X, y).compute(X),
        torch_model.predict_proba(X),
    )


@pytest.mark.filterwarnings("ignore:So many examples of class")
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("rival", RIVALS[:-1], ids=name_of)
def test_a_bare_model_is_read_as_the_rival_needs_it(rival, overlapping):
    X, y = overlapping
    read = LastLayerInputs if rival.uses == "features" else Probabilities
    net = small_net()
    mlp = MLPClassifier(5, max_iter=5, random_state=0)
    for model in (net, mlp):
        bare = clone(rival).set_params(extractor=model).fit(X, y)
        wrapped = clone(rival).set_params(extractor=read(model)).fit(X, y)
        assert isinstance(bare.extractor_, read)
        np.testing.assert_array_equal(bare.isolation_score_, wrapped.isolation_score_)
        values = wrapped.extractor_.compute(X, y)
        for extractor, data in (
            (PrecomputedGradients(), values),
            (lambda X, y, values=values: values, X),
        ):
            same = clone(rival).set_params(extractor=extractor).fit(data, y)
            np.testing.assert_array_equal(same.keep_, bare.keep_)


# ------------------------------------------------------- among other people's tools


@every_rival
def test_no_base_class_has_parameters_that_the_rival_lacks(rival):
    known = {"self", "args", "kwargs", *rival.get_params(deep=False)}
    for base in type(rival).__mro__:
        assert set(inspect.signature(base.__init__).parameters) <= known, base


@every_rival
def test_in_epic_filters_place(rival, overlapping):
    X, y = overlapping
    model = FilteredClassifier(LogisticRegression(), clone(rival)).fit(X, y)
    keep = clone(rival).fit(X, y).keep_
    np.testing.assert_array_equal(model.keep_, keep)
    alone = LogisticRegression().fit(X[keep], y[keep])
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))
    for name in ("keep_", "isolated_indices_", "isolation_score_", "classes_"):
        ours, epics = (
            getattr(model.filter_, name),
            getattr(EPICFilter().fit(X, y), name),
        )
        assert ours.dtype == epics.dtype and ours.ndim == epics.ndim
    np.testing.assert_array_equal(clone(rival).fit_predict(X, y), np.where(keep, 1, -1))


def test_grid_search_over_rivals_and_their_parameters(overlapping):
    model = FilteredClassifier(LogisticRegression(), EPICFilter())
    grid = [
        {"filter": [SpectralSignatures()], "filter__eps": [0.01, 0.1]},
        {"filter": [DeepKNN()], "filter__k": [5, 1.0]},
        {"filter": [HighLoss(LogisticRegression())], "filter__extractor__C": [0.1, 1]},
        {"filter": [RandomDrop(random_state=0), EPICFilter()]},
    ]
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(*overlapping)
    assert search.best_score_ > 0.8 and len(search.cv_results_["params"]) == 8


@pytest.mark.parametrize("rival", RIVALS[:-1], ids=name_of)
def test_flagged_rows_become_the_nearest_kept_of_their_class(rival, overlapping):
    X, y = overlapping
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(150)[::-1] + 7)
    rival = clone(rival)
    sanitised = rival.fit_transform(frame, y)
    assert list(sanitised.index) == list(frame.index)
    changed = (sanitised.to_numpy() != X).any(axis=1)
    np.testing.assert_array_equal(changed, ~rival.keep_)
    values = rival.extractor_.compute(frame, y)
    for i in rival.isolated_indices_:
        candidates = np.flatnonzero(rival.keep_ & (y == y[i]))
        away = np.linalg.norm(values[candidates] - values[i], axis=1)
        expected = X[candidates[away.argmin()]]
        np.testing.assert_array_equal(sanitised.to_numpy()[i], expected)
    pd.testing.assert_frame_equal(rival.transform(frame), frame)


def test_frames_with_strings_reach_a_pipeline(overlapping):
    X, y = overlapping
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["colour"] = np.where(X[:, 0] > 0, "red", "blue")
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["colour"]), remainder="passthrough"),
        LogisticRegression(max_iter=1000),
    )
    for rival in (HighLoss(model), DeepKNN(model)):
        sanitised = rival.fit_transform(frame, np.array(["a", "b", "c"])[y])
        assert set(sanitised["colour"]) == {"red", "blue"}
        assert rival.keep_.mean() > 0.7
    with pytest.raises(ValueError, match="could not convert string"):
        DeepKNN().fit(frame, y)


def test_random_drop_replaces_rows_by_kept_ones_of_their_class(overlapping):
    X, y = overlapping
    rival = RandomDrop(drop_fraction=0.5, random_state=0)
    sanitised = rival.fit_transform(X, y)
    np.testing.assert_array_equal(sanitised[rival.keep_], X[rival.keep_])
    for i in rival.isolated_indices_:
        (source,) = np.flatnonzero((sanitised[i] == X).all(axis=1))
        assert rival.keep_[source] and y[source] == y[i]
    assert len(np.unique(sanitised, axis=0)) == rival.keep_.sum()


@every_rival
def test_sparse_input_and_images_are_read(rival, overlapping):
    X, y = overlapping
    keep = clone(rival).fit(X, y).keep_
    sparse = clone(rival)
    sanitised = sparse.fit_transform(sp.csr_array(X), y)
    np.testing.assert_array_equal(sparse.keep_, keep)
    assert sp.issparse(sanitised) and sp.issparse(sparse.transform(sp.csc_array(X)))
    if rival.uses != "probabilities":  # logistic regression takes no images
        images = X.reshape(150, 1, 2, 2)
        assert clone(rival).fit_transform(images, y).shape == images.shape
        np.testing.assert_array_equal(clone(rival).fit(images, y).keep_, keep)


@every_rival
def test_pickled_rivals_are_the_same(rival, overlapping):
    fitted = clone(rival).fit(*overlapping)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.keep_, fitted.keep_)


def test_sample_weights_reach_the_model(overlapping):
    X, y = overlapping
    weights = np.random.RandomState(0).rand(150)
    weighted = HighLoss(LogisticRegression()).fit(X, y, weights).isolation_score_
    p = LogisticRegression().fit(X, y, weights).predict_proba(X)
    np.testing.assert_allclose(weighted, -np.log(p[np.arange(150), y]))


# ----------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "rival, message",
    [
        (SpectralSignatures(eps=0.7), "eps is 0.7; .* in .0, 0.666667"),
        (SpectralSignatures(eps=True), "eps is True"),
        (ActivationClustering(nb_dims=0), "nb_dims is 0; .* an integer"),
        (ActivationClustering(nb_dims=2.5), "nb_dims is 2.5; .* an integer"),
        (ActivationClustering(reduce="pca"), "reduce is 'pca'; choose one of .'PCA'"),
        (ActivationClustering(cluster_analysis=None), "cluster_analysis is None"),
        (ActivationClustering(size_threshold=0.6), "size_threshold is 0.6"),
        (ActivationClustering(silhouette_threshold=2), "silhouette_threshold is 2"),
        (DeepKNN(k=0), "k is 0; it must be an integer >= 1"),
        (DeepKNN(k=0.0), "k is 0.0; .* or a float > 0"),
        (DeepKNN(k=float("nan")), "k is nan"),
        (DeepKNN(k="5"), "k is '5'"),
        (HighLoss(drop_fraction=-0.1), "drop_fraction is -0.1"),
        (LowConfidence(drop_fraction=float("nan")), "drop_fraction is nan"),
        (RandomDrop(drop_fraction="all"), "drop_fraction is 'all'"),
        (RandomDrop(min_class_fraction=1.5), "min_class_fraction is 1.5"),
    ],
)
def test_parameters_out_of_range_are_refused_before_any_work(
    rival, message, overlapping
):
    X, y = overlapping
    if "extractor" in rival.get_params():
        rival.set_params(extractor=NeverFitted())
    with pytest.raises(ValueError, match=message):
        rival.fit(X, y)
    with pytest.raises(ValueError, match=message):
        rival.flag(X, y)


def test_more_neighbours_than_other_examples_are_refused(overlapping):
    X, y = overlapping
    message = r"k is 150 and there are 150 examples, .* integer in \[1, 149\]"
    with pytest.raises(ValueError, match=message):
        DeepKNN(NeverFitted(), k=150).fit(X, y)
    with pytest.raises(ValueError, match=message):
        DeepKNN(k=150).flag(X, y)


def test_arrays_that_cannot_be_judged_are_refused(overlapping):
    X, y = overlapping
    broken = X.copy()
    broken[3, 1] = np.nan
    for values, labels, message in (
        (broken, y, "features contains NaN"),
        (X[:-1], y, "149 rows of features for 150 labels"),
        (X[:, 0], y, "Expected 2D array"),
        (X, np.zeros(150), "only one class"),
    ):
        with pytest.raises(ValueError, match=message):
            SpectralSignatures().flag(values, labels)
    with pytest.raises(ValueError, match="of logits, take the softmax"):
        LowConfidence().flag(X, y)
    with pytest.raises(ValueError, match="requires y"):
        DeepKNN().fit(X, None)
    with pytest.raises(TypeError, match="give an instance"):
        DeepKNN(LastLayerInputs).fit(X, y)
    with pytest.raises(TypeError, match="looks at features, not at last-layer grad"):
        DeepKNN(LastLayerGradients()).fit(X, y)
