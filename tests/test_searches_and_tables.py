"""What searches, settings of pandas and failing fits do to filters."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.datasets import load_iris
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from epic_sklearn import (
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    FilteredClassifier,
    attack_report,
)
from epic_sklearn.attacks import LabelFlip
from epic_sklearn.rules import Judgement, Rule

X, y = load_iris(return_X_y=True)
LOGISTIC = LogisticRegression(max_iter=1000)


def search_of_steps(kind, name):
    models = [LOGISTIC, KNeighborsClassifier()]
    steps = Pipeline([("scale", StandardScaler()), ("model", LOGISTIC)])
    how = {"n_iter": 2, "random_state": 0} if kind is RandomizedSearchCV else {}
    return kind(
        steps, {"model": models} if name is dict else [{"model": models}], **how
    )


def search_of_losses():
    model = SGDClassifier(loss="log_loss", random_state=4)
    return GridSearchCV(model, {"loss": ["log_loss", "hinge"], "alpha": [1e-4, 1e-2]})


@pytest.mark.parametrize("kind", [GridSearchCV, RandomizedSearchCV])
@pytest.mark.parametrize("name", [dict, list])
def test_a_search_of_other_kinds_of_models_is_judged_by_its_probabilities(kind, name):
    search = search_of_steps(kind, name)
    extractor = EPICFilter(search, random_state=0).fit(X, y).extractor_
    assert type(extractor).__name__ == "LogitGradients"
    assert FilteredClassifier(search).fit(X, y).filter_.extractor is None
    # One among models of one kind is not.
    same = GridSearchCV(search.estimator, {"model__C": [1, 2]})
    assert FilteredClassifier(same)._filter().extractor is same


def test_what_a_grid_sets_inside_the_models_that_it_names_is_seen():
    steps = Pipeline([("model", LOGISTIC)])
    losses = {"model": [SGDClassifier()], "model__loss": ["hinge"]}
    search = GridSearchCV(steps, [{"model__C": [1, 2]}, losses])
    assert FilteredClassifier(search)._filter().extractor is None
    losses["model__loss"] = ["log_loss"]
    assert FilteredClassifier(search)._filter().extractor is search
    assert losses["model"][0].loss == "hinge"


@pytest.mark.parametrize("is_fitted", [False, True])
def test_whether_a_search_was_fitted_decides_nothing(is_fitted):
    search = search_of_losses()
    if is_fitted:
        search.fit(X, y)
    assert FilteredClassifier(search).fit(X, y).filter_.extractor is None


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_what_transformers_give_changes_no_table(output):
    pytest.importorskip("skrub")
    pytest.importorskip(output)
    rng = np.random.RandomState(0)
    texts = [" ".join(f"w{j}" for j in rng.randint(400, size=10)) for _ in y]
    table = pd.DataFrame({"x": X[:, 0], "t": texts})
    expected = EPICFilter(random_state=0).fit(table, y).keep_
    with sklearn.config_context(transform_output=output):
        found = EPICFilter(random_state=0).fit(table, y)
        model = FilteredClassifier().fit(table, y)
        assert model.predict_proba(table).shape == (150, 3)
        assert model.score(table, y) > 0.5
    np.testing.assert_array_equal(found.keep_, expected)


@pytest.mark.parametrize("held", [lambda column: column.values, pd.Index])
def test_columns_own_arrays_are_taken(held):
    labels = held(pd.Series([["a", "b", "c"][i] for i in y], dtype="str"))
    kept, of_kept = EPICResampler().fit_resample(X, labels)
    assert type(of_kept) is type(labels) and len(kept) == len(of_kept) < 150
    texts = held(
        pd.Series([f"{'abc'[i]}{'abc'[i]} word{j % 7}" for j, i in enumerate(y)])
    )
    model = make_pipeline(TfidfVectorizer(), LOGISTIC)
    assert FilteredClassifier(model).fit(texts, y).score(texts, y) == 1.0
    flips = LabelFlip(5)
    report = attack_report(model, texts, y, flips, n_targets=1, random_state=0)
    assert report.records[0]["n_trials"] == 1


STRINGS = getattr(
    getattr(np, "dtypes", None), "StringDType", lambda: object
)()  # NumPy 2


@pytest.mark.parametrize("kind", [object, STRINGS])
def test_labels_of_bools_and_texts_in_numpys_other_types(kind):
    labels = (y > 0).astype(bool if kind is object else str).astype(kind)
    expected = EPICFilter(random_state=0).fit(X, y > 0).keep_
    found = EPICFilter(random_state=0).fit(X, labels)
    np.testing.assert_array_equal(found.keep_, expected)
    assert found.classes_.tolist() in ([False, True], ["False", "True"])


class FailsAgain(Rule):
    """Drops the first row; fails where there are other rows than at first."""

    def judge(self, gradients, codes, memory):
        if len(codes) < 150:
            raise ValueError("not these")
        return Judgement(np.zeros(150), np.arange(150) == 0)


@pytest.mark.parametrize(
    "model",
    [
        EPICFilter(LOGISTIC, rule=FailsAgain()),
        FilteredClassifier(LOGISTIC, EPICFilter(rule=FailsAgain())),
        EPICClassifier(rule=FailsAgain(), max_epochs=8, random_state=0),
    ],
)
def test_a_fit_that_fails_leaves_all_of_the_last_one(model, tmp_path):
    model.fit(X, y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="not these"):
        model.fit(X[:100, :3], y[:100])
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    assert len(model.predict(X) if hasattr(model, "predict") else model.transform(X))
    model.report(X, y, tmp_path / "page.html")
