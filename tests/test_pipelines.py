"""The filter among other people's tools: pipelines, searches, frames, routing."""

import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy
import sklearn
from packaging.version import Version
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.datasets import load_iris, make_blobs
from sklearn.ensemble import (
    AdaBoostClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from epic_sklearn import (
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    LastLayerGradients,
    LogitGradients,
    trace,
)
from epic_sklearn.rules import IsolatedMedoids, NeighborVotes


class Recorder(LogisticRegression):
    """Remembers what each fit was given, clones included."""

    seen = []  # noqa: RUF012

    def fit(self, X, y, sample_weight=None):
        Recorder.seen.append((X, y, sample_weight))
        return super().fit(X, y, sample_weight)


@pytest.fixture(autouse=True)
def seen():
    Recorder.seen.clear()
    return Recorder.seen


@pytest.fixture
def data():
    """Two classes in the plane that overlap, with isolated points between."""
    return make_blobs([40, 60], 2, centers=[[0, 0], [3, 1]], random_state=0)


@pytest.fixture
def mixed(data):
    """Numbers and strings, index out of order."""
    X, y = data
    index = np.random.RandomState(0).permutation(100) + 1000
    frame = pd.DataFrame(X, columns=["width", "height"], index=index)
    frame["colour"] = pd.Series(np.where(X[:, 1] > 0, "red", "blue"), index=index)
    return frame, pd.Series(np.where(y == 1, "yes", "no"), index=index, name="bought")


def encoder():
    return make_column_transformer(
        (StandardScaler(), ["width", "height"]),
        (OneHotEncoder(sparse_output=False), ["colour"]),
        verbose_feature_names_out=False,
    )


def on_frames():
    """A classifier that takes the mixed frame as it is."""
    return make_pipeline(encoder(), LogisticRegression())


NEW = np.random.RandomState(1).randn(33, 2) * 20


def test_plain_pipeline_trains_on_sanitised_rows_and_predicts_every_row(data, seen):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), EPICFilter(), Recorder()).fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    sanitised = EPICFilter().fit_transform(scaled, y)
    assert (sanitised != scaled).any()
    np.testing.assert_array_equal(seen[-1][0], sanitised)
    np.testing.assert_array_equal(seen[-1][1], y)
    np.testing.assert_array_equal(
        pipeline.predict(NEW), pipeline[-1].predict(pipeline[0].transform(NEW))
    )


def test_filter_in_imbalanced_learns_pipeline_does_the_same(data):
    pipelines = pytest.importorskip("imblearn.pipeline")
    plain = make_pipeline(StandardScaler(), EPICFilter(), LogisticRegression())
    theirs = pipelines.Pipeline([(n, clone(step)) for n, step in plain.steps])
    np.testing.assert_array_equal(
        theirs.fit(*data).predict_proba(NEW), plain.fit(*data).predict_proba(NEW)
    )


def test_resampler_in_imbalanced_learns_pipeline_drops_rows_at_fit_only(data, seen):
    pipelines = pytest.importorskip("imblearn.pipeline")
    X, y = data
    pipeline = pipelines.make_pipeline(
        EPICResampler(rule=IsolatedMedoids()), Recorder()
    ).fit(X, y)
    keep = EPICFilter(rule=IsolatedMedoids()).fit(X, y).keep_
    assert not keep.all()
    np.testing.assert_array_equal(seen[-1][0], X[keep])
    np.testing.assert_array_equal(seen[-1][1], y[keep])
    np.testing.assert_array_equal(pipeline.predict(NEW), pipeline[-1].predict(NEW))
    search = GridSearchCV(
        pipeline, {"epicresampler__rule__subset_size": [0.1, 0.2]}, cv=3
    )
    assert search.fit(X, y).best_score_ > 0.8


def test_filtered_classifier_fits_kept_rows_and_predicts_every_row(data, seen):
    X, y = data
    model = make_pipeline(StandardScaler(), FilteredClassifier(Recorder())).fit(X, y)
    scaled = StandardScaler().fit_transform(X)
    keep = EPICFilter().fit(scaled, y).keep_
    assert not keep.all()
    np.testing.assert_array_equal(model[-1].keep_, keep)
    np.testing.assert_array_equal(seen[-1][0], scaled[keep])
    np.testing.assert_array_equal(seen[-1][1], y[keep])
    alone = LogisticRegression().fit(scaled[keep], y[keep])
    new = model[0].transform(NEW)
    for method in ("predict", "predict_proba", "decision_function"):
        np.testing.assert_array_equal(
            getattr(model, method)(NEW), getattr(alone, method)(new)
        )


def test_filtered_classifier_takes_an_outlier_detector_as_filter(data, seen):
    X, y = data
    forest = IsolationForest(contamination=0.1, random_state=0)
    model = FilteredClassifier(Recorder(), forest).fit(X, y)
    np.testing.assert_array_equal(model.keep_, forest.fit_predict(X) == 1)
    np.testing.assert_array_equal(seen[-1][0], X[model.keep_])


def test_filtered_classifier_offers_what_its_classifier_does():
    assert not hasattr(FilteredClassifier(LinearSVC()), "predict_proba")
    assert hasattr(FilteredClassifier(LinearSVC()), "decision_function")
    with pytest.raises(NotFittedError):
        FilteredClassifier().predict(NEW)


@pytest.mark.parametrize(
    ("model", "grid"),
    [
        (
            Pipeline(
                [
                    (
                        "filter",
                        EPICFilter(
                            LogitGradients(LogisticRegression()),
                            rule=IsolatedMedoids(),
                        ),
                    ),
                    ("model", LogisticRegression()),
                ]
            ),
            {
                "filter__rule__threshold": [1, 2],
                "filter__rule__subset_size": [0.1, 0.2],
                "filter__extractor__classifier__C": [0.1, 1.0],
            },
        ),
        (
            FilteredClassifier(
                LogisticRegression(), EPICFilter(rule=IsolatedMedoids())
            ),
            {
                "filter__rule__threshold": [1, 2],
                "filter__rule__subset_size": [0.1, 0.2],
            },
        ),
        (
            FilteredClassifier(LogisticRegression(), EPICFilter()),
            {"filter__rule": [None, IsolatedMedoids(0.1), NeighborVotes()]},
        ),
    ],
    ids=["pipeline", "filtered", "rules"],
)
def test_grid_search_reaches_the_filters_parameters(data, model, grid):
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(*data)
    assert len(search.cv_results_["params"]) == np.prod([len(v) for v in grid.values()])
    best = search.best_estimator_.get_params()
    assert repr({n: best[n] for n in search.best_params_}) == repr(search.best_params_)
    assert search.best_score_ > 0.85
    scores = cross_val_score(search.best_estimator_, *data, cv=3, error_score="raise")
    assert scores.mean() == pytest.approx(search.best_score_)


def test_parameters_of_a_rule_that_is_none_say_to_give_one(data):
    model = FilteredClassifier(LogisticRegression(), EPICFilter())
    with pytest.raises(
        ValueError, match=r"rule__threshold.*rule is None.*NeighborVotes\(\)"
    ):
        model.set_params(filter__rule__threshold=2)
    model.set_params(filter__rule=IsolatedMedoids(), filter__rule__threshold=2)
    assert model.filter.rule.threshold == 2


def test_column_transformer_before_the_filter_keeps_frame_and_index(mixed):
    X, y = mixed
    pipeline = make_pipeline(encoder(), EPICFilter()).set_output(transform="pandas")
    sanitised = pipeline.fit_transform(X, y)
    assert isinstance(sanitised, pd.DataFrame)
    assert sanitised.index.equals(X.index)
    names = ["width", "height", "colour_blue", "colour_red"]
    assert sanitised.columns.tolist() == names
    assert pipeline.get_feature_names_out().tolist() == names
    keep = pipeline[-1].keep_
    before = encoder().set_output(transform="pandas").fit_transform(X)
    pd.testing.assert_frame_equal(sanitised[keep], before[keep])
    assert (sanitised[~keep] != before[~keep]).any(axis=None)
    pd.testing.assert_frame_equal(pipeline.transform(X), before)


def test_raw_frame_with_strings_needs_only_a_model_that_takes_it(mixed):
    X, y = mixed
    given, detector = X.copy(), EPICFilter(on_frames())
    sanitised = detector.fit_transform(X, y)
    pd.testing.assert_frame_equal(X, given)
    keep = detector.keep_
    assert not keep.all()
    assert sanitised.index.equals(X.index) and (sanitised.dtypes == X.dtypes).all()
    pd.testing.assert_frame_equal(sanitised[keep], X[keep])
    for label in ("no", "yes"):
        kept_rows = set(map(tuple, X[keep & (y == label).to_numpy()].to_numpy()))
        rows = sanitised[~keep & (y == label).to_numpy()].to_numpy()
        assert len(rows) and all(tuple(row) in kept_rows for row in rows)
    pd.testing.assert_frame_equal(detector.transform(X), X)

    X_kept, y_kept = EPICResampler(on_frames()).fit_resample(X, y)
    pd.testing.assert_frame_equal(X_kept, X[keep])
    pd.testing.assert_series_equal(y_kept, y[keep])

    model = FilteredClassifier(on_frames(), EPICFilter(on_frames())).fit(X, y)
    np.testing.assert_array_equal(model.keep_, keep)
    expected = on_frames().fit(X[keep], y[keep]).predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X), expected)
    assert model.feature_names_in_.tolist() == ["width", "height", "colour"]


def test_frame_with_other_columns_than_in_fit_is_refused(mixed):
    X, y = mixed
    detector = EPICFilter(on_frames()).fit(X, y)
    with pytest.raises(ValueError, match="feature names"):
        detector.transform(X.rename(columns={"width": "depth"}))


def test_polars_frames_go_in_and_come_out(data):
    pl = pytest.importorskip("polars")
    X, y = data
    keep = EPICFilter().fit(X, y).keep_
    frame = pl.DataFrame(X, schema=["a", "b"])
    labels = pl.Series("label", np.where(y == 1, "yes", "no"))
    sanitised = EPICFilter().fit_transform(frame, labels)
    assert isinstance(sanitised, pl.DataFrame)
    np.testing.assert_array_equal(sanitised, EPICFilter().fit_transform(X, y))
    X_kept, y_kept = EPICResampler().fit_resample(frame, labels)
    assert X_kept.equals(frame.filter(keep)) and y_kept.equals(labels.filter(keep))
    model = FilteredClassifier().fit(frame, labels)
    assert model.predict(frame).shape == (100,) and (model.keep_ == keep).all()
    nulls = frame.with_columns(c=pl.Series([None] + [1] * 99))
    with pytest.raises(ValueError, match=r"NaN.*\['c'\]"):
        EPICFilter(LogisticRegression()).fit(nulls, labels)


@pytest.fixture
def weights():
    return np.random.RandomState(0).rand(100) + 0.5


def test_weights_are_filtered_with_their_rows_without_routing(data, weights, seen):
    X, y = data
    tags = list(range(100))
    model = FilteredClassifier(Recorder()).fit(X, y, sample_weight=weights.tolist())
    assert not model.keep_.all()
    np.testing.assert_array_equal(seen[-1][2], weights[model.keep_])
    pipeline = make_pipeline(FilteredClassifier(Recorder()))
    pipeline.fit(X, y, filteredclassifier__sample_weight=weights)
    np.testing.assert_array_equal(seen[-1][2], weights[model.keep_])

    class TakesMore(LogisticRegression):
        def fit(self, X, y, tags=None, mode=None):
            self.given_ = tags, mode
            return super().fit(X, y)

    model = FilteredClassifier(TakesMore()).fit(X, y, tags=tags, mode="m" * 100)
    assert model.classifier_.given_ == (np.flatnonzero(model.keep_).tolist(), "m" * 100)


def test_weights_are_routed_to_filter_and_classifier(data, weights, seen):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=True):
        detector = EPICFilter(Recorder()).set_fit_request(sample_weight=True)
        model = FilteredClassifier(
            Recorder().set_fit_request(sample_weight=True), detector
        )
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        make_pipeline(scaler, model).fit(X, y, sample_weight=weights)
    scaled = StandardScaler().fit_transform(X)
    keep = EPICFilter().fit(scaled, y, weights).keep_
    assert not keep.all()
    (_, _, of_filter), (X_kept, _, of_classifier) = seen
    np.testing.assert_array_equal(of_filter, weights)
    np.testing.assert_array_equal(of_classifier, weights[keep])
    np.testing.assert_array_equal(X_kept, scaled[keep])


def test_weights_go_only_where_they_are_requested(data, weights, seen):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=True):
        detector = EPICFilter(Recorder()).set_fit_request(sample_weight=False)
        classifier = Recorder().set_fit_request(sample_weight=True)
        FilteredClassifier(classifier, detector).fit(X, y, sample_weight=weights)
        # The default filter, on which nobody could set a request, asks for none.
        FilteredClassifier(classifier).fit(X, y, sample_weight=weights)
        unsaid = FilteredClassifier(classifier, EPICFilter(Recorder()))
        with pytest.raises(ValueError, match="sample_weight"):
            unsaid.fit(X, y, sample_weight=weights)
    keep = EPICFilter().fit(X, y).keep_
    for of_filter, of_classifier in (seen[:2], seen[2:4]):
        assert of_filter[2] is None
        np.testing.assert_array_equal(of_classifier[2], weights[keep])


def test_weights_are_routed_through_a_pipeline_to_the_filter(data, weights, seen):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=True):
        make_pipeline(
            EPICFilter(Recorder()).set_fit_request(sample_weight=True),
            Recorder().set_fit_request(sample_weight=True),
        ).fit(X, y, sample_weight=weights)
    for _, _, given in seen:
        np.testing.assert_array_equal(given, weights)
    np.testing.assert_array_equal(
        seen[1][0], EPICFilter().fit_transform(X, y, sample_weight=weights)
    )


@pytest.mark.parametrize(
    "model",
    [
        EPICFilter(LogitGradients(), rule=IsolatedMedoids(0.3)),
        EPICResampler(),
        FilteredClassifier(
            LogisticRegression(C=3), EPICFilter(rule=IsolatedMedoids(threshold=2))
        ),
        make_pipeline(StandardScaler(), EPICFilter(), LogisticRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_clones_pickles_and_joblib_files_are_the_same(data, tmp_path, model):
    def results(of):
        last = of[1] if isinstance(of, Pipeline) else of
        return [last.keep_, of.predict(NEW) if hasattr(of, "predict") else 0]

    model = clone(model).fit(*data)
    joblib.dump(model, tmp_path / "model.joblib")
    again = clone(model).fit(*data)
    loaded = [pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")]
    for copy in [again, *loaded]:
        np.testing.assert_equal(results(copy), results(model))
    with pytest.raises(AttributeError):
        results(clone(model))


@pytest.mark.parametrize(
    "wrong",
    [
        make_pipeline(EPICResampler(), LogisticRegression()),
        FeatureUnion([("filter", EPICResampler())]),
        ColumnTransformer([("filter", EPICResampler(), [0])]),
    ],
    ids=lambda wrong: type(wrong).__name__,
)
def test_resampler_in_the_wrong_pipeline_says_which_class_to_use(data, wrong):
    with pytest.raises(TypeError, match=r"EPICFilter.*FilteredClassifier"):
        wrong.fit(*data)


def test_the_filter_says_which_class_drops_rows(data):
    message = "FilteredClassifier.*EPICResampler|EPICResampler.*FilteredClassifier"
    for fit in ("fit", "fit_transform", "fit_predict"):
        with pytest.raises(ValueError, match=message):
            getattr(EPICFilter(on_isolated="drop"), fit)(*data)
    with pytest.raises(AttributeError, match=message):
        EPICFilter().fit_resample(*data)
    with pytest.raises(AttributeError, match="EPICFilter"):
        EPICResampler().transform(data[0])
    for unpredicting in (EPICFilter(), EPICFilter().fit(*data)):
        with pytest.raises(AttributeError, match="FilteredClassifier"):
            unpredicting.predict(data[0])
        assert not hasattr(unpredicting, "predict")
    assert not hasattr(EPICFilter(), "fit_resample")
    assert not hasattr(EPICResampler(), "transform")


class NeverFitted(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise AssertionError("fit was reached")


BAD_RULE = EPICFilter(rule=IsolatedMedoids(threshold=0))


@pytest.mark.parametrize(
    ("classifier", "detector", "changed", "error", "message"),
    [
        (NeverFitted(), EPICFilter(NeverFitted()), {"y": None}, ValueError, "y"),
        (NeverFitted(), None, {"X": [[np.nan, 0]] * 10}, ValueError, "NaN"),
        (NeverFitted(), None, {"y": [0] * 9}, ValueError, "inconsistent"),
        (NeverFitted(), None, {"y": [0] * 10}, ValueError, "only one class"),
        (NeverFitted(), BAD_RULE, {}, ValueError, "threshold"),
        (NeverFitted(), LogisticRegression(), {}, TypeError, "no keep_"),
        (NeverFitted(), "filter", {}, TypeError, "'filter'"),
        ("classifier", EPICFilter(NeverFitted()), {}, TypeError, "'classifier'"),
        (StandardScaler(), EPICFilter(NeverFitted()), {}, TypeError, "no labels, and"),
        (EPICFilter(NeverFitted()), None, {}, TypeError, r"EPICF.* no labels.*; give"),
        *(
            (wrong, NeverFitted(), {}, TypeError, r"filter is NeverF.* are swapped: ")
            for wrong in (
                EPICFilter(NeverFitted()),
                EPICResampler(NeverFitted()),
                IsolationForest(),
            )
        ),
        *(
            (NeverFitted(), EPICFilter(NeverFitted()), {"w": w}, ValueError, message)
            for w, message in [
                ([1.0], "sample_weight"),
                ([0] * 10, "(?i)zero"),
                ([-1] * 10, "Negative"),
            ]
        ),
    ],
)
def test_bad_input_is_refused_before_anything_is_trained(
    classifier, detector, changed, error, message
):
    given = {"X": np.arange(20.0).reshape(10, 2), "y": [0, 1] * 5, "w": None, **changed}
    with pytest.raises(error, match=message):
        FilteredClassifier(classifier, detector).fit(
            given["X"], given["y"], sample_weight=given["w"]
        )


# ----------------------------------------------- what others' filters and frames say


class Says(BaseEstimator):
    """A filter whose keep_, or codes, are what it was given."""

    def __init__(self, keep=None):
        self.keep = keep

    def fit(self, X, y=None):
        self.keep_ = self.keep
        return self


class SaysCodes(Says):
    def fit_predict(self, X, y=None):
        return self.keep


@pytest.mark.parametrize(
    ("detector", "message"),
    [
        (Says(np.ones(99, bool)), r"shape \(99,\).*one bool a row, 100"),
        (Says(np.arange(100)), "array of int64"),
        (SaysCodes(np.arange(100) % 2), r"gives \[0, 1\].*1 \(keep\) or -1"),
        (SaysCodes(np.arange(100) % 3 - 1), r"gives \[-1, 0, 1\]"),
        (SaysCodes(np.ones(99, int)), "for 99 rows"),
    ],
)
def test_a_filter_that_says_something_else_is_refused(data, detector, message):
    with pytest.raises(ValueError, match=message):
        FilteredClassifier(NeverFitted(), detector).fit(*data)


def test_a_filter_that_empties_a_class_is_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"no row of the classes \[1\]"):
        FilteredClassifier(NeverFitted(), Says(y == 0)).fit(X, y)


def test_missing_values_pass_to_a_model_that_takes_them(data):
    X, y = data
    X[3, 1] = np.nan
    boosting = HistGradientBoostingClassifier(max_iter=5)
    model = FilteredClassifier(boosting, EPICFilter(boosting))
    assert get_tags(model).input_tags.allow_nan
    frame = pd.DataFrame(X, columns=["a", "b"])
    for given in (X, frame):
        detector = EPICFilter(boosting).fit(given, y)
        assert np.isnan(np.asarray(detector.transform(given))).sum() == 1
        assert model.fit(given, y).predict(given).shape == (100,)
    imputing = make_pipeline(SimpleImputer(), LogisticRegression())
    for default in (FilteredClassifier(boosting), FilteredClassifier(imputing)):
        assert default.fit(X, y).predict(X).shape == (100,)
    EPICFilter().fit(X, y)  # fills them in
    EPICFilter(GridSearchCV(imputing, {"logisticregression__C": [1, 10]})).fit(X, y)
    with pytest.raises(ValueError, match="NaN"):
        EPICFilter(LogisticRegression()).fit(X, y)


def test_texts_pass_to_a_model_that_takes_them():
    texts = ["a good film", "a bad film", "great and fine", "awful and bad"] * 10
    y = [1, 0] * 20
    reader = make_pipeline(TfidfVectorizer(), LogisticRegression())
    for given in (texts, np.array(texts), np.array(texts, dtype=object)):
        detector = EPICFilter(reader)
        assert list(detector.fit_transform(given, y)) == texts
        assert detector.keep_.shape == (40,)
        model = FilteredClassifier(reader, EPICFilter(reader)).fit(given, y)
        assert model.predict(texts[:2]).tolist() == [1, 0]
    with pytest.raises(TypeError, match="give what encodes them"):
        EPICFilter().fit(texts, y)


def test_lazy_frames_are_refused_by_name(data):
    frames = pytest.importorskip("dask.dataframe")
    X, y = data
    lazy = frames.from_pandas(pd.DataFrame(X, columns=["a", "b"]), npartitions=2)
    for estimator in (EPICFilter(), EPICResampler(), FilteredClassifier()):
        with pytest.raises(TypeError, match=r"lazy DataFrame of dask.*X\.compute\(\)"):
            estimator.fit(lazy, y)


WITH_DISPATCH = """
import sklearn, torch
from sklearn.datasets import load_iris
from epic_sklearn import EPICFilter, FilteredClassifier, TorchClassifier
X, y = load_iris(return_X_y=True)
keep = EPICFilter().fit(X, y).keep_
X, y = torch.tensor(X), torch.tensor(y)
with sklearn.config_context(array_api_dispatch=True):
    assert (EPICFilter().fit(X, y).keep_ == keep).all()
    assert (FilteredClassifier().fit(X, y).keep_ == keep).all()
    TorchClassifier(max_epochs=2).fit(X, y)
"""


@pytest.mark.skipif(
    Version(scipy.__version__) < Version("1.14"),
    reason="scikit-learn dispatches to array APIs from scipy 1.14 on",
)
def test_tensors_are_taken_with_array_api_dispatch():
    # scipy asks for the variable before it is imported.
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-c", WITH_DISPATCH]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_meta_estimators_find_sample_weight_in_the_signature(data):
    assert has_fit_parameter(FilteredClassifier(), "sample_weight")
    AdaBoostClassifier(FilteredClassifier(), n_estimators=2).fit(*data)


def test_a_keep_of_another_order_or_with_a_mask_is_refused():
    X, y = load_iris(return_X_y=True, as_frame=True)
    keep = pd.Series(np.arange(150) > 3)
    model = FilteredClassifier(filter=Says(keep)).fit(X, y)
    np.testing.assert_array_equal(model.keep_, keep)
    with pytest.raises(ValueError, match="keep_ has the index of X in another order"):
        FilteredClassifier(filter=Says(keep.sample(frac=1, random_state=0))).fit(X, y)
    masked = np.ma.array(keep.to_numpy(), mask=np.arange(150) == 9)
    with pytest.raises(ValueError, match="keep_ is a masked array"):
        FilteredClassifier(filter=Says(masked)).fit(X, y)


@pytest.mark.parametrize(
    "codes", [np.ones(150, bool), np.where(np.arange(150) < 3, None, 1)]
)
def test_codes_that_are_no_codes_are_refused(codes):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match="a filter must give 1"):
        FilteredClassifier(filter=SaysCodes(codes)).fit(X, y)


def test_a_filter_may_be_the_end_of_a_pipeline():
    X, y = load_iris(return_X_y=True)
    scaled = StandardScaler().fit_transform(X)
    alone = EPICFilter().fit(scaled, y)
    given = make_pipeline(StandardScaler(), EPICFilter())
    model = FilteredClassifier(filter=given).fit(X, y)
    np.testing.assert_array_equal(model.keep_, alone.keep_)


def test_names_of_an_earlier_fit_are_forgotten():
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = FilteredClassifier().fit(X, y)
    assert list(model.feature_names_in_) == list(X.columns)
    assert not hasattr(model.fit(X.to_numpy(), y), "feature_names_in_")


@pytest.mark.parametrize("asks", [True, False])
def test_a_score_is_weighted_where_it_asks(data, asks):
    X, y = data
    weights = np.where(y == 1, 100.0, 1.0)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = LogisticRegression().set_fit_request(sample_weight=asks)
        detector = EPICFilter().set_fit_request(sample_weight=False)
        model = FilteredClassifier(inner, detector)
        model.set_score_request(sample_weight=True)
        cv = [(np.arange(0, len(y), 2), np.arange(1, len(y), 2))]
        params = {"sample_weight": weights}
        (score,) = cross_val_score(model, X[:, :1], y, params=params, cv=cv)
        (train, test), fit_params = cv[0], {}
        if asks:
            fit_params = {"sample_weight": weights[train]}
        fitted = clone(model).fit(X[train, :1], y[train], **fit_params)
    expected = np.average(fitted.predict(X[test, :1]) == y[test], weights=weights[test])
    assert score == pytest.approx(expected)
    assert not hasattr(FilteredClassifier, "set_fit_request")


@pytest.mark.parametrize("change", ["bools", "numbered", "bools and gaps"])
def test_ordinary_frames_need_no_model(change):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X = X.assign(wide=X.iloc[:, 1] > 3, colour=["red", "blue"] * 75)
    if change == "numbered":
        X = X.set_axis(range(6), axis=1)
    if change == "bools and gaps":
        X.iloc[::9, 0] = np.nan
    for estimator in (EPICFilter(), FilteredClassifier()):
        keep = estimator.fit(X, y).keep_
        assert 0.8 < keep.mean() < 1


def test_samplers_inside_a_model_change_no_rows(data):
    pipeline = pytest.importorskip("imblearn.pipeline", reason="no imbalanced-learn")
    sampling = pytest.importorskip("imblearn.over_sampling")
    smote = sampling.SMOTE(random_state=0)
    model = pipeline.make_pipeline(StandardScaler(), smote, LogisticRegression())
    X, y = data
    extractor = LogitGradients(model).fit(X, y)
    errors = extractor.classifier_.predict_proba(X) - np.eye(2)[y]
    np.testing.assert_allclose(extractor.compute(X, y), errors, atol=1e-12)


def test_the_default_filter_says_that_its_model_is_another():
    forest = make_pipeline(TfidfVectorizer(), RandomForestClassifier(5))
    texts, y = ["cat dog", "car bus"] * 20, [0, 1] * 20
    with pytest.raises(TypeError, match=r"give filter=EPICFilter\(classifier\)"):
        FilteredClassifier(forest).fit(texts, y)
    with pytest.raises(ValueError, match=r"numbers of samples: .*[^.]$"):
        FilteredClassifier(forest).fit(texts, y[:-1])


def test_the_default_filter_judges_by_the_classifier_where_it_can():
    reader = make_pipeline(TfidfVectorizer(), LogisticRegression())
    texts, y = ["cat dog", "car bus", "cat cow", "bus van"] * 20, [0, 1] * 40
    y[0] = 1
    model, given = (
        FilteredClassifier(reader, each).fit(texts, y)
        for each in (None, EPICFilter(reader))
    )
    np.testing.assert_array_equal(model.keep_, given.keep_)
    assert not model.keep_[0]


def test_whatever_holds_texts_is_taken_and_gaps_are_named():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    reader = make_pipeline(TfidfVectorizer(), LogisticRegression())
    texts, y = ["cat dog", "car bus", "cat cow", "bus van"] * 20, [0, 1] * 40
    detector = EPICFilter(reader).set_output(transform="pandas")
    for given in (polars.Series(texts), [text.encode() for text in texts]):
        assert detector.fit(given, y).transform(given).shape == (80,)
    assert isinstance(detector.fit_transform(texts, y), np.ndarray)
    texts[3] = None
    with pytest.raises(ValueError, match="row 3 is None"):
        detector.fit(texts, y)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([np.nan, *[0.0, 1.0] * 49, 1.0], "NaN or None in 1 of 100"),
        ([None, *["a", "b"] * 49, "a"], "NaN or None in 1 of 100"),
        ([0, 1] * 20, "inconsistent numbers of samples"),
        (np.linspace(0, 1, 100), "Unknown label type"),
    ],
)
def test_labels_are_checked_whatever_the_filter(data, y, message):
    model = FilteredClassifier(filter=IsolationForest(random_state=0))
    with pytest.raises(ValueError, match=message):
        model.fit(data[0], np.array(y))


def test_regressors_are_refused(data):
    with pytest.raises(TypeError, match="predicts no labels"):
        FilteredClassifier(Ridge()).fit(*data)


def test_parameters_of_a_filter_that_is_none_say_to_give_one(data):
    for classifier, of_it in ((LogisticRegression(), "classifier, "), (None, "")):
        model = FilteredClassifier(classifier)
        search = GridSearchCV(model, {"filter__rule__cutoff": [1, 2]})
        with pytest.raises(ValueError, match=rf"filter=EPICFilter\({of_it}rule"):
            search.fit(*data)


def test_weights_reach_a_resampler_in_imbalanced_learns_pipeline():
    pipeline = pytest.importorskip("imblearn.pipeline", reason="imblearn is missing")
    logistic = LogisticRegression(max_iter=1000)
    X, y = load_iris(return_X_y=True)
    with sklearn.config_context(enable_metadata_routing=True):
        asked = {"sample_weight": True}
        sampler = EPICResampler(logistic).set_fit_request(**asked)
        sampler.set_fit_resample_request(**asked)
        last = clone(logistic).set_fit_request(sample_weight=False)
        steps = pipeline.make_pipeline(sampler, last)
        weights = np.where(np.arange(len(y)) % 2, 1.0, 3.0)
        fitted = steps.fit(X, y, sample_weight=weights)[0]
    alone = EPICResampler(logistic).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(fitted.isolation_score_, alone.isolation_score_)


def test_a_part_of_the_default_extractor_is_refused_with_what_it_stands_for():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=r"extractor=LogisticRegression\(max_iter=10"):
        EPICFilter().set_params(extractor__C=2)
    with pytest.raises(ValueError, match="classifier is None"):
        EPICFilter(LastLayerGradients()).set_params(extractor__classifier__C=2)
    with pytest.raises(TypeError, match="Give a classifier that has it"):
        EPICFilter(LinearRegression()).fit(X, y)
    with pytest.raises(NotFittedError):
        _ = EPICResampler().sample_indices_


@pytest.mark.parametrize("y", [np.zeros((75, 2)), np.zeros((1, 150)), None])
def test_labels_of_another_shape_are_refused_behind_any_filter(y):
    X = load_iris().data
    model = FilteredClassifier(LogisticRegression(), IsolationForest(random_state=0))
    with pytest.raises(ValueError, match=r"should be a 1d array|requires y to be pass"):
        model.fit(X, y)


@pytest.mark.parametrize(
    "model",
    [LinearSVC(), GridSearchCV(LogisticRegression(), {"C": [1]}, refit=False)],
    ids=["svc", "search"],
)
def test_what_lacks_probabilities_is_told_what_gives_them(model):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(TypeError, match=r"CalibratedClassifierCV\.|give refit=True"):
        EPICFilter(model).fit(X, y)


def test_a_forest_is_traced_as_its_refusal_says():
    X, y = load_iris(return_X_y=True)
    forest = RandomForestClassifier(9, random_state=0).fit(X, y)
    with pytest.raises(TypeError, match=r"LogitGradients\(FrozenEstimator\(model\)\)"):
        trace(forest, X, y, X[:1])
    assert trace(LogitGradients(FrozenEstimator(forest)), X, y, X[:1]).n_rows == 150


def test_a_validation_set_of_as_many_rows_is_not_cut():
    class Validated(LogisticRegression):
        def fit(self, X, y, X_val=None, eval_set=None, owner=None):
            if X_val is not None:  # the filter fits one, too
                self.n_given_ = len(X_val), len(eval_set), len(owner)
            return super().fit(X, y)

    X, y = load_iris(return_X_y=True)
    X[0] = X[100]
    of_rows = {"X_val": X + 0.1, "eval_set": [*X], "owner": np.arange(150)}
    model = FilteredClassifier(Validated(max_iter=1000)).fit(X, y, **of_rows)
    assert model.classifier_.n_given_ == (150, 150, model.keep_.sum()) != (150,) * 3


def test_no_filter_is_told_how_to_keep_every_row():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(TypeError, match="RandomDrop"):
        FilteredClassifier(LogisticRegression(), "passthrough").fit(X, y)


def test_weights_reach_the_last_step_of_any_pipeline():
    imblearn = pytest.importorskip("imblearn", reason="imbalanced-learn is missing")
    X, y = load_iris(return_X_y=True)
    steps = imblearn.pipeline.make_pipeline(StandardScaler(), Recorder())
    model = FilteredClassifier(steps, EPICFilter()).fit(X, y, np.ones(150))
    assert len(Recorder.seen[-1][2]) == model.keep_.sum()


def test_a_fit_whose_classifier_fails_leaves_the_last_one_whole():
    X, y = load_iris(return_X_y=True)
    model = FilteredClassifier(LogisticRegression(max_iter=1000), EPICFilter())
    frame = model.fit(X, y).to_frame()
    model.set_params(classifier__C=-1.0, filter__rule=IsolatedMedoids(0.5))
    with pytest.raises(ValueError, match="'C' parameter"):
        model.fit(X, y)
    assert model.to_frame().equals(frame)
    model.set_params(classifier__C=1.0).refit(X, y)
    np.testing.assert_array_equal(model.keep_, frame["keep"])
