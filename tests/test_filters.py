"""EPICFilter and EPICResampler: what they find, replace, drop and refuse."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris, load_wine, make_blobs
from sklearn.ensemble import StackingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from epic_sklearn import (
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    OuterProductGradients,
    PrecomputedGradients,
    find_medoids,
    isolation_score,
)
from epic_sklearn.rules import IsolatedMedoids, Judgement, Rule


class NeverFitted(LogisticRegression):
    """Fails the test when anything is trained before input is checked."""

    def fit(self, X, y, sample_weight=None):
        raise AssertionError("fit was reached")


class Recorder(LogisticRegression):
    """Remembers what each fit was given, clones included."""

    seen = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None):
        Recorder.seen.append((X, y, sample_weight))
        return super().fit(X, y, sample_weight)


@pytest.fixture
def seen():
    Recorder.seen.clear()
    return Recorder.seen


@pytest.fixture
def data():
    """Two classes in the plane that overlap, with isolated points between."""
    return make_blobs([40, 60], 2, centers=[[0, 0], [3, 1]], random_state=0)


@pytest.fixture
def three():
    """Three classes in four dimensions that overlap more."""
    return make_blobs(150, 4, centers=3, center_box=(-2, 2), random_state=0)


@pytest.fixture
def planted():
    """Gradients: two tight classes, three far points in each; their rows."""
    rng = np.random.RandomState(0)
    y = np.repeat([0, 1], 50)
    G = rng.randn(100, 3) * 0.1 + y[:, None] * 2
    rows = np.array([3, 20, 49, 50, 77, 99])
    G[rows] += np.vstack([np.eye(3), -np.eye(3)]) * 50
    return G, y, rows


def test_planted_isolated_points_are_found(planted):
    G, y, rows = planted
    detector = EPICFilter(PrecomputedGradients(), rule=IsolatedMedoids(0.1)).fit(G, y)
    assert set(rows) <= set(detector.isolated_indices_)
    # They also rank first, in front of singletons that are less far away.
    assert set(np.argsort(-detector.isolation_score_)[: len(rows)]) == set(rows)


@pytest.mark.parametrize("subset_size", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("threshold", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_clean_data_lose_at_most_the_medoids_clusters(subset_size, threshold, seed):
    X, y = make_blobs([50, 70, 90], 2, cluster_std=0.5, random_state=seed)
    rule = IsolatedMedoids(subset_size, threshold)
    detector = EPICFilter(rule=rule, min_class_fraction=0).fit(X, y)
    for label in (0, 1, 2):
        bound = threshold * np.ceil(subset_size * (y == label).sum())
        assert (~detector.keep_[y == label]).sum() <= bound


def test_fitted_attributes_are_those_of_the_medoids_of_the_gradients(data):
    X, y = data
    detector = EPICFilter(rule=IsolatedMedoids()).fit(X, y)
    gradients = detector.extractor_.compute(X, y)
    medoids = find_medoids(gradients, y)
    details = detector.details_
    np.testing.assert_array_equal(details["medoid"], medoids.assigned_to)
    np.testing.assert_array_equal(details["cluster_size"], medoids.cluster_size)
    np.testing.assert_array_equal(detector.isolation_score_, isolation_score(medoids))
    np.testing.assert_array_equal(detector.keep_, medoids.cluster_size > 1)
    isolated = np.flatnonzero(~detector.keep_)
    np.testing.assert_array_equal(detector.isolated_indices_, isolated)
    np.testing.assert_array_equal(detector.classes_, [0, 1])
    rho = abs(
        np.linalg.norm(gradients[detector.keep_].mean(axis=0))
        - np.linalg.norm(gradients.mean(axis=0))
    )
    assert detector.rho_ == pytest.approx(rho, rel=1e-12) != 0
    assert [record.rho for record in detector.rounds_] == [detector.rho_]


def test_fit_predict_is_one_where_kept_as_outlier_detectors_say_it(data):
    detector = EPICFilter()
    predicted = detector.fit_predict(*data)
    np.testing.assert_array_equal(predicted, np.where(detector.keep_, 1, -1))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("make", [LogitGradients, LastLayerInputGradients])
def test_isolated_rows_become_the_nearest_kept_of_their_class(three, metric, make):
    X, y = three
    given = X.copy()
    detector = EPICFilter(make(), rule=IsolatedMedoids(0.3, metric=metric))
    sanitised = detector.fit_transform(X, y)
    np.testing.assert_array_equal(X, given)
    assert sanitised.shape == X.shape
    keep, gradients = detector.keep_, detector.extractor_.compute(X, y)
    np.testing.assert_array_equal(sanitised[keep], X[keep])
    if metric == "cosine":
        gradients = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    assert len(detector.isolated_indices_) >= 5
    for i in detector.isolated_indices_:
        candidates = np.flatnonzero(keep & (y == y[i]))
        away = np.linalg.norm(gradients[candidates] - gradients[i], axis=1)
        (source,) = np.flatnonzero((X[candidates] == sanitised[i]).all(axis=1))
        assert away[source] <= away.min() + 1e-4  # distances are float32


def test_on_isolated_keep_leaves_every_row(data):
    X, y = data
    detector = EPICFilter(on_isolated="keep")
    np.testing.assert_array_equal(detector.fit_transform(X, y), X)
    assert len(detector.isolated_indices_)


def test_transform_gives_new_rows_back(data):
    detector = EPICFilter().fit(*data)
    new = np.random.RandomState(1).randn(500, 2) * 100
    np.testing.assert_array_equal(detector.transform(new), new)


def test_new_gradients_are_as_wide_as_those_of_the_fit(tmp_path):
    X, y = load_iris(return_X_y=True)
    gradients = LastLayerGradients(LogisticRegression(max_iter=1000)).fit(X, y)
    found = gradients.compute(X, y)
    detector = EPICFilter(PrecomputedGradients()).fit(found, y)
    assert detector.transform(found[:9]).shape == (9, 15)
    assert detector.report(found, y, tmp_path / "a.html").exists()  # no table of them
    narrow = OuterProductGradients(found.errors, found.inputs[:, :2])
    with pytest.raises(ValueError, match="has 6 features, but EPICFilter is exp"):
        detector.transform(narrow)
    assert detector.fit(narrow, y).n_features_in_ == 6


def test_resampler_drops_what_the_filter_finds(data):
    X, y = data
    keep = EPICFilter().fit(X, y).keep_
    sampler = EPICResampler()
    X_kept, y_kept = sampler.fit_resample(X, y)
    np.testing.assert_array_equal(X_kept, X[keep])
    np.testing.assert_array_equal(y_kept, y[keep])
    np.testing.assert_array_equal(sampler.sample_indices_, np.flatnonzero(keep))


@pytest.mark.parametrize("cluster_on", ["all", "kept"])
def test_each_round_fits_a_new_model_on_what_is_left(three, seen, cluster_on):
    X, y = three
    w = np.random.RandomState(0).rand(len(y)) + 0.5
    rule = IsolatedMedoids(0.3, cluster_on=cluster_on)
    masks = [
        EPICFilter(Recorder(), rule=rule, n_rounds=n).fit(X, y, w).keep_
        for n in (1, 2, 3)
    ]
    masks_before = [np.ones(150, bool), *masks[:2]]
    for keep, (X_fit, y_fit, w_fit) in zip(masks_before, seen[-3:], strict=True):
        np.testing.assert_array_equal(X_fit, X[keep])
        np.testing.assert_array_equal(y_fit, y[keep])
        np.testing.assert_array_equal(w_fit, w[keep])
    assert 150 > masks[0].sum() > masks[2].sum()
    assert not (masks[1] & ~masks[0]).any() and not (masks[2] & ~masks[1]).any()


def test_the_floor_holds_and_one_warning_names_the_class(data):
    X, y = data
    detector = EPICFilter(rule=IsolatedMedoids(1.0), n_rounds=3, min_class_fraction=0.6)
    with pytest.warns(
        UserWarning, match=r"class 0 \(of 40\), 1 \(of 60\) are flagged"
    ) as caught:
        detector.fit(X, y)
    assert len(caught) == 1
    assert detector.keep_[y == 0].sum() == 24 and detector.keep_[y == 1].sum() == 36
    for label in (0, 1):
        score, keep = detector.isolation_score_[y == label], detector.keep_[y == label]
        assert score[~keep].min() > score[keep].max()


LABELS = {
    "strings": np.array(["benign", "malware"]),
    "strings in the other order": np.array(["no", "maybe"]),
    "negative ints": np.array([-7, -2]),
    "bools": np.array([False, True]),
    "objects": np.array(["a", "b"], dtype=object),
    "floats": np.array([0.0, 1.0]),
}


@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("box", [np.asarray, list, pd.Series, pd.Categorical])
def test_the_same_rows_are_dropped_whatever_the_labels_are(data, kind, box):
    X, y = data
    expected, detector = EPICFilter().fit(X, y), EPICFilter()
    labels = LABELS[kind][y]
    sanitised = detector.fit_transform(X, box(labels))
    np.testing.assert_array_equal(detector.keep_, expected.keep_)
    np.testing.assert_array_equal(sanitised, EPICFilter().fit_transform(X, y))
    assert set(detector.classes_) == set(LABELS[kind])
    y_kept = EPICResampler().fit_resample(X, pd.Series(labels, index=y + 5))[1]
    np.testing.assert_array_equal(y_kept, labels[expected.keep_])


@pytest.mark.parametrize("box", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_sparse_input_stays_sparse_and_drops_the_same_rows(data, box):
    X, y = data
    expected, detector = EPICFilter(), EPICFilter()
    dense = expected.fit_transform(X, y)
    sanitised = detector.fit_transform(box(X), y)
    np.testing.assert_array_equal(detector.keep_, expected.keep_)
    assert sp.issparse(sanitised) and sp.issparse(detector.transform(box(X)))
    np.testing.assert_array_equal(sanitised.toarray(), dense)
    X_kept = EPICResampler().fit_resample(box(X), y)[0]
    assert X_kept.format == box(X).format
    np.testing.assert_array_equal(X_kept.toarray(), X[expected.keep_])


def test_lists_go_in_and_come_out_of_the_resampler(data):
    X, y = data
    X_kept, y_kept = EPICResampler().fit_resample(X.tolist(), y.tolist())
    keep = EPICFilter().fit(X.tolist(), y.tolist()).keep_
    assert X_kept == X[keep].tolist() and y_kept == y[keep].tolist()


@pytest.mark.parametrize("shape", [(2, 3), (1, 2, 3)])
def test_images_with_a_torch_module_or_a_function(shape):
    X = np.random.RandomState(0).randn(90, *shape).astype(np.float32) * 3
    y = np.arange(90) % 3
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(6, 3)
        )
    before = {name: p.clone() for name, p in module.state_dict().items()}
    gradients = LastLayerGradients(module).fit(X, y).compute(X, y)
    expected = EPICFilter(lambda X, y: gradients).fit(X, y).keep_
    assert not expected.all()
    for extractor in (module, lambda X, y: gradients):
        detector = EPICFilter(extractor)
        sanitised = detector.fit_transform(X, y)
        np.testing.assert_array_equal(detector.keep_, expected)
        assert sanitised.shape == X.shape and sanitised.dtype == X.dtype
        np.testing.assert_array_equal(sanitised[expected], X[expected])
        np.testing.assert_array_equal(detector.transform(X[:7]), X[:7])
    assert module.training
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    "box", [np.ndarray.tolist, pd.DataFrame, sp.coo_array, torch.from_numpy]
)
def test_a_function_may_give_any_kind_of_array(planted, box):
    G, y, _ = planted
    expected = EPICFilter(PrecomputedGradients()).fit_transform(G, y)
    detector = EPICFilter(lambda X, y: box(G))
    np.testing.assert_array_equal(detector.fit_transform(G, y), expected)
    assert type(detector.extractor_(G + 1, y)) is type(box(G))  # the function's


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (LogisticRegression(C=0.01), LastLayerGradients),
        (make_pipeline(StandardScaler(), LogisticRegression()), LastLayerGradients),
        (GaussianNB(), LogitGradients),
    ],
)
def test_the_default_reads_the_last_layer_where_there_is_one(data, given, read):
    one, other = (EPICFilter(e).fit(*data) for e in (given, read(given)))
    np.testing.assert_array_equal(one.isolation_score_, other.isolation_score_)
    assert not hasattr(given, "coef_")


@pytest.mark.parametrize("optimizer", ["lazy", "naive", "stochastic", "sample"])
def test_one_seed_one_result_whatever_n_jobs(data, optimizer):
    rule = IsolatedMedoids(optimizer=optimizer)
    params = {"rule": rule, "random_state": 3, "n_rounds": 2}
    first, *others = (EPICFilter(**params, n_jobs=n).fit(*data) for n in (None, 1, 2))
    for other in others:
        np.testing.assert_array_equal(first.keep_, other.keep_)
        np.testing.assert_array_equal(first.isolation_score_, other.isolation_score_)
        np.testing.assert_equal(first.details_, other.details_)


@pytest.mark.parametrize("random_state", [None, 0])
def test_fit_leaves_global_random_states_and_parameters_alone(data, random_state):
    extractor = LogitGradients(LogisticRegression())
    rule = IsolatedMedoids(optimizer="stochastic")
    detector = EPICFilter(extractor, rule=rule, random_state=random_state)
    params = {k: repr(v) for k, v in detector.get_params().items()}
    before = [*np.random.get_state(), torch.get_rng_state().numpy()]
    detector.fit_transform(*data)
    after = [*np.random.get_state(), torch.get_rng_state().numpy()]
    np.testing.assert_equal(after, before)
    assert {k: repr(v) for k, v in detector.get_params().items()} == params
    assert detector.rule is rule and detector.extractor is extractor
    assert not hasattr(extractor, "classifier_")


def test_silent_unless_asked(data, capfd):
    EPICFilter(n_rounds=2).fit(*data)
    assert capfd.readouterr() == ("", "")
    detector = EPICFilter(n_rounds=2, verbose=1).fit(*data)
    shown = "".join(capfd.readouterr())
    assert f"round 2: dropped {detector.rounds_[1].n_dropped} of 100" in shown


class NoProbabilities(BaseEstimator):
    def fit(self, X, y):
        raise AssertionError("fit was reached")


X_OK = np.arange(20.0).reshape(10, 2)
Y_OK = np.arange(10) % 2
WITH_NAN, WITH_INF = X_OK.copy(), X_OK.copy()
WITH_NAN[3, 1], WITH_INF[3, 1] = np.nan, np.inf
BAD_DATA = {
    "nan": (WITH_NAN, Y_OK, {}, "NaN"),
    "infinity": (WITH_INF, Y_OK, {}, "infinity"),
    "nan in sparse": (sp.csr_array(WITH_NAN), Y_OK, {}, "NaN"),
    "nan column": (pd.DataFrame(WITH_NAN, columns=["a", "b"]), Y_OK, {}, r"\['b'\]"),
    "infinite column": (pd.DataFrame(WITH_INF), Y_OK, {}, r"infinity.*\[1\]"),
    "NA column": (pd.DataFrame(WITH_NAN).astype("Float64"), Y_OK, {}, r"NaN.*\[1\]"),
    "no columns": (pd.DataFrame(X_OK)[[]], Y_OK, {}, "0 feature"),
    "one class": (X_OK, np.full(10, "a"), {}, "only one class, 'a'"),
    "lengths": (X_OK, Y_OK[:-1], {}, "inconsistent numbers of samples"),
    "empty": (X_OK[:0], Y_OK[:0], {}, "0 sample"),
    "empty frame": (pd.DataFrame(X_OK[:0]), Y_OK[:0], {}, "empty"),
    "no y": (X_OK, None, {}, "requires y"),
    "nan label": (X_OK, np.where(Y_OK, np.nan, 1.0), {}, "NaN or None in 5 of 10"),
    "None label": (X_OK, [None, "a", "b", *"aabbaab"], {}, "NaN or None in 1 of 10"),
    "NA label": (X_OK, pd.Series([pd.NA, *"abababaab"]), {}, "NaN or None in 1 of 10"),
    "mixed labels": (X_OK, np.array([1, "a"] * 5, object), {}, "cannot be sorted"),
    "continuous": (X_OK, np.linspace(0, 1, 10), {}, "continuous"),
    "two targets": (X_OK, np.c_[Y_OK, Y_OK], {}, "1d array"),
    "weights' length": (X_OK, Y_OK, {"sample_weight": np.ones(3)}, "sample_weight"),
    "zero weights": (X_OK, Y_OK, {"sample_weight": np.zeros(10)}, "(?i)zero"),
    "negative": (X_OK, Y_OK, {"sample_weight": -np.ones(10)}, "Negative"),
    "nan weights": (X_OK, Y_OK, {"sample_weight": np.full(10, np.nan)}, "NaN"),
}


@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.parametrize("estimator", [EPICFilter, EPICResampler])
def test_bad_data_are_refused_before_anything_is_trained(estimator, case):
    X, y, params, message = BAD_DATA[case]
    with pytest.raises(ValueError, match=message):
        estimator(NeverFitted()).fit(X, y, **params)


def test_weights_reach_the_last_step_of_a_pipeline(data):
    X, y = data
    weights = np.random.RandomState(0).rand(len(y))
    model = make_pipeline(StandardScaler(), LogisticRegression())
    found = EPICFilter(model).fit(X, y, sample_weight=weights)
    theirs = model.fit(X, y, logisticregression__sample_weight=weights)
    expected = EPICFilter(FrozenEstimator(theirs)).fit(X, y)
    np.testing.assert_array_equal(found.keep_, expected.keep_)
    np.testing.assert_allclose(found.isolation_score_, expected.isolation_score_)


@pytest.mark.parametrize("kind", ["datetime64[D]", "timedelta64[s]"])
def test_times_without_a_frame_are_refused_with_the_way_out(kind):
    with pytest.raises(TypeError, match=f"X has dtype {re.escape(kind)}; give a Data"):
        EPICFilter().fit(X_OK.astype(int).astype(kind), Y_OK)


BAD_PARAMETERS = [
    ("subset_size", [0, -0.1, 1.1, np.nan, "a", None]),
    ("threshold", [0, -1, 1.0, "1", None]),
    ("metric", ["manhattan", None]),
    ("optimizer", ["adam", None]),
    ("cluster_on", ["left", None]),
    ("max_class_size", [1, 2.5, "all"]),
]
BAD_OF_FILTER = [
    ("n_rounds", [0, -1, 2.0, "1", None]),
    ("min_class_fraction", [-0.1, 1.1, np.nan, "half", None]),
    ("random_state", ["seed", -1, 0.5]),
    ("on_isolated", ["remove", None]),
]


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in BAD_OF_FILTER for v in values]
)
def test_parameters_out_of_range_are_refused_before_anything_is_trained(name, value):
    for fit in ("fit", "fit_transform", "fit_predict"):
        with pytest.raises(ValueError, match=f"'{name}' parameter of EPICFilter"):
            getattr(EPICFilter(NeverFitted(), **{name: value}), fit)(X_OK, Y_OK)


@pytest.mark.parametrize(
    ("name", "value"), [(name, v) for name, values in BAD_PARAMETERS for v in values]
)
def test_a_rules_parameters_are_checked_before_anything_is_trained(name, value):
    rule = IsolatedMedoids(**{name: value})
    with pytest.raises(ValueError, match=f"'{name}' parameter of IsolatedMedoids"):
        EPICFilter(NeverFitted(), rule=rule).fit(X_OK, Y_OK)


@pytest.mark.parametrize("rule", ["IsolatedMedoids", IsolatedMedoids, 3])
def test_what_is_no_rule_is_refused_before_anything_is_trained(rule):
    with pytest.raises(TypeError, match="give an instance of a rule"):
        EPICFilter(NeverFitted(), rule=rule).fit(X_OK, Y_OK)


@pytest.mark.parametrize(
    ("extractor", "message"),
    [
        ("logit", "extractor is 'logit'; give"),
        (3, "extractor is 3; give"),
        (LogisticRegression, "class LogisticRegression; give an instance"),
        (LogitGradients, "class LogitGradients; give an instance"),
        (NoProbabilities(), "NoProbabilities has no predict_proba"),
        (LogitGradients(NoProbabilities()), "NoProbabilities has no predict_proba"),
    ],
)
def test_what_gives_no_gradients_is_refused(extractor, message):
    with pytest.raises(TypeError, match=message):
        EPICFilter(extractor).fit(X_OK, Y_OK)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X, y: X[:-1], "9 rows for 10"),
        (lambda X, y: X[:, 0], "shape"),
        (lambda X, y: X[:, :0], "at least one feature"),
        (lambda X, y: X * np.nan, "NaN or infinity in 10 of 10"),
        (lambda X, y: None, "real numbers"),
    ],
)
def test_wrong_gradients_of_a_function_are_refused(function, message):
    with pytest.raises(ValueError, match=message):
        EPICFilter(function).fit(X_OK, Y_OK)


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_column_that_outweighs_all_others_is_said(as_frame):
    X, y = load_wine(return_X_y=True, as_frame=as_frame)
    with pytest.warns(UserWarning, match="Column 12 of X varies .* times as much"):
        EPICFilter().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EPICFilter(make_pipeline(StandardScaler(), LogisticRegression())).fit(X, y)


def test_one_row_far_away_does_not_make_the_default_blind():
    rng = np.random.RandomState(0)
    X = np.c_[rng.randn(2000, 4), rng.normal(50000, 5000, 2000)]
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    wrong = np.arange(1, 2000, 20)
    y[wrong] = 1 - y[wrong]
    X[0, 4] = 0.0
    with pytest.warns(UserWarning, match="Column 4 of X"):
        kept = EPICFilter(random_state=0).fit(X, y).keep_
    assert (~kept[wrong]).mean() > 0.7


def test_new_rows_may_have_gaps_where_those_of_the_fit_had_none():
    X, y = load_iris(return_X_y=True)
    model = FilteredClassifier().fit(X, y)
    gaps = X.copy()
    gaps[0, 0] = np.nan
    np.testing.assert_array_equal(model.predict(gaps)[1:], model.predict(X)[1:])
    assert np.isfinite(model.predict_proba(gaps)).all()
    alone = FilteredClassifier(LogisticRegression(max_iter=1000)).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), alone.predict_proba(X))


def test_details_that_a_rule_gives_in_some_rounds_only_stay():
    class Once(Rule):
        """Says more of a row in the first round than later."""

        def judge(self, gradients, codes, memory):
            is_first = "seen" not in memory
            memory["seen"] = np.array(True)
            score = np.linspace(0, 1, len(codes)) * memory.keep
            details = {"x": np.full(len(codes), 7)} if is_first else {}
            return Judgement(score, score > (0.99 if is_first else 0.97), details)

    X, y = load_iris(return_X_y=True)
    detector = EPICFilter(PrecomputedGradients(), rule=Once(), n_rounds=2).fit(X, y)
    of_first = detector.dropped_at_round_ == 1
    assert of_first.any() and (detector.dropped_at_round_ == 2).any()
    np.testing.assert_array_equal(detector.details_["x"], np.where(of_first, 7, 0))


def test_a_stack_tells_what_it_can_when_it_is_fitted():
    X, y = load_iris(return_X_y=True)
    stack = StackingClassifier([("bayes", GaussianNB())])
    assert EPICFilter(stack).fit(X, y).keep_.shape == (150,)
    assert FilteredClassifier(stack).fit(X, y).score(X, y) > 0.9


def test_weights_reach_the_default_model_with_metadata_routing():
    X, y = load_iris(return_X_y=True)
    weights = 1.0 + (np.arange(150) % 3 == 0)
    frame = pd.DataFrame(X).assign(kind=pd.Categorical(X[:, 0] > 5))
    frame.columns = frame.columns.map(str)
    for table in (X, frame):
        without = EPICFilter(random_state=0).fit(table, y, sample_weight=weights)
        with config_context(enable_metadata_routing=True):
            routed = EPICFilter(random_state=0).fit(table, y, sample_weight=weights)
        np.testing.assert_array_equal(routed.isolation_score_, without.isolation_score_)


def test_labels_that_are_objects_are_named_where_columns_are_in_another_order():
    X, y = load_iris(return_X_y=True)
    net = torch.nn.Linear(4, 3)
    with torch.no_grad():
        fitted = LogisticRegression(max_iter=1000).fit(X, y)
        net.weight.copy_(torch.tensor(fitted.coef_))
        net.bias.copy_(torch.tensor(fitted.intercept_))
    names = pd.Series(np.array(["virginica", "setosa", "versicolor"])[y])
    with pytest.warns(UserWarning, match="label 'setosa' taken for column 0 fits 1"):
        EPICFilter(net).fit(X, names)
