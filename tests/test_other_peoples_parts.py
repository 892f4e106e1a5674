"""What users' own functions, rules and estimators give, and where they stand."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.datasets import load_iris, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from epic_sklearn import (
    EPICFilter,
    FilteredClassifier,
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    PrecomputedGradients,
    attack_report,
)
from epic_sklearn.attacks import LookAlikes
from epic_sklearn.metrics import make_attack_success_scorer
from epic_sklearn.rules import Judgement, RandomDrop, Rule

X, y = load_iris(return_X_y=True)
classifier = LogisticRegression(max_iter=1000)


def test_gradients_of_a_function_in_another_order_are_refused():
    frame = pd.DataFrame(X, index=[f"flower {i}" for i in range(150)])

    def in_order(X, y):
        gradients = LastLayerInputGradients(classifier).fit(X, y).compute(X, y)
        return pd.DataFrame(gradients, index=X.index)

    EPICFilter(in_order).fit(frame, y)
    with pytest.raises(ValueError, match="gradients has the index of X in another"):
        EPICFilter(lambda X, y: in_order(X, y).sort_index()).fit(frame, y)


class Longest(Rule):
    needs = ("errors",)

    def __init__(self, is_sorted=False):
        self.is_sorted = is_sorted

    def judge(self, gradients, codes, memory):
        table = pd.DataFrame({"score": np.linalg.norm(gradients, axis=1)})
        table = table.sort_values("score")
        table["flagged"] = np.arange(len(table)) >= len(table) - 3
        table = table.sort_index() if self.is_sorted else table
        return Judgement(table["score"], table["flagged"])


def test_judgements_with_an_index_in_another_order_are_refused():
    longest = np.linalg.norm(LogitGradients(classifier).fit(X, y)(X, y), axis=1)
    found = EPICFilter(classifier, rule=Longest(is_sorted=True)).fit(X, y)
    assert set(found.isolated_indices_) == set(np.argsort(longest)[-3:])
    with pytest.raises(ValueError, match=r"Longest.judge gave a score with an index"):
        EPICFilter(classifier, rule=Longest()).fit(X, y)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: make_pipeline(m)])
def test_a_classifier_that_would_not_be_fitted_is_refused(wrap):
    frozen = wrap(FrozenEstimator(LogisticRegression().fit(X, y)))
    with pytest.raises(TypeError, match="is not fitted again"):
        FilteredClassifier(frozen, EPICFilter(rule=RandomDrop(0.5))).fit(X, y)


def test_a_classifier_may_have_fit_predict():
    class Both(LogisticRegression):
        def fit_predict(self, X, y):
            return self.fit(X, y).predict(X)

    assert FilteredClassifier(Both(max_iter=1000)).fit(X, y).score(X, y) > 0.9


def test_the_default_filter_drops_the_same_again():
    many, labels = make_classification(
        6000, 15, n_informative=8, flip_y=0.05, random_state=0
    )
    model = FilteredClassifier(LogisticRegression())
    fits = [model.fit(many, labels).keep_ for _ in range(2)]
    np.testing.assert_array_equal(*fits)
    assert not fits[0].all()
    defences = {"filtered": model}
    attack = LookAlikes(n_poisons=5)
    reports = [
        attack_report(
            LogisticRegression(),
            many,
            labels,
            attack,
            defences=defences,
            n_targets=1,
            random_state=0,
        )
        for _ in range(2)
    ]
    kept = [np.array(report.keep["filtered"]) for report in reports]
    np.testing.assert_array_equal(*kept)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_outputs_that_are_configured_change_and_warn_of_nothing(container):
    pytest.importorskip(container, reason=f"{container} is missing")
    with_gap = X.copy()
    with_gap[3, 0] = np.nan
    expected = FilteredClassifier().fit(with_gap, y).keep_
    with sklearn.config_context(transform_output=container), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = FilteredClassifier().fit(with_gap, y).keep_
    np.testing.assert_array_equal(found, expected)


def test_a_gap_that_scikit_learn_does_not_look_for_is_named():
    with_gap = X.copy()
    with_gap[3, 0] = np.nan
    with (
        sklearn.config_context(assume_finite=True),
        pytest.raises(ValueError, match="contain NaN"),
    ):
        EPICFilter(classifier).fit(with_gap, y)


def test_skrubs_folder_stays_the_users(tmp_path):
    pytest.importorskip("skrub", reason="skrub is missing")
    code = (
        "import os, pandas as pd; from epic_sklearn import EPICFilter;"
        "X = pd.DataFrame({'a': range(20), 'b': ['u', 'v'] * 10});"
        "EPICFilter().fit(X, [0, 1] * 10); print(os.environ.get('SKB_DATA_DIRECTORY'));"
        "from skrub.datasets import get_data_dir; print(get_data_dir())"
    )
    unset = {k: v for k, v in os.environ.items() if "DATA_DIRECTORY" not in k}
    (tmp_path / "skrub_data").mkdir()
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**unset, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["None", str(tmp_path / "skrub_data")]


def test_one_target_is_a_row():
    with pytest.raises(ValueError, match="an array of one row"):
        make_attack_success_scorer(X[0], 2)


def test_several_labels_an_example_are_nothing_that_it_claims():
    tags = get_tags(FilteredClassifier(RandomForestClassifier()))
    assert not tags.classifier_tags.multi_label


def test_names_of_a_former_fit_are_forgotten():
    frame = pd.DataFrame(StandardScaler().fit_transform(X), columns=list("abcd"))
    gradients = LastLayerGradients(classifier).fit(X, y).compute(X, y)
    detector = EPICFilter(PrecomputedGradients()).fit(frame, y)
    assert not hasattr(detector.fit(gradients, y), "feature_names_in_")
