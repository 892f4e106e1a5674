"""The evaluation functions, and the scorer inside scikit-learn's own tools."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from epic_sklearn.metrics import (
    attack_success_rate,
    clean_retention,
    make_attack_success_scorer,
    poison_recall,
)

# ------------------------------------------------------------- attack success rate


def test_what_is_hidden_is_not_counted():
    masked = np.ma.array([1, 1, 0], mask=[1, 1, 0])
    with pytest.raises(ValueError, match="y_pred is a masked array"):
        attack_success_rate(masked, 1)
    with pytest.raises(ValueError, match="keep is a masked array"):
        poison_recall(masked.astype(bool), [1])
    with pytest.raises(ValueError, match="is a masked array"):
        poison_recall([True, False, True], np.ma.array([0, 1], mask=[0, 1]))


@pytest.mark.parametrize(
    ("y_pred", "adversarial_label", "expected"),
    [
        ([1, 1, 2, 3], 1, 0.5),
        (["cat", "dog"], "cat", 0.5),
        (np.array(["cat", "dog"], dtype=object), "dog", 0.5),
        ([1, 2, 3], [1, 0, 3], 2 / 3),
        ([1.0, 2.0], 1, 0.5),
        (pd.Series(["cat", "dog"], dtype="category"), "cat", 0.5),
        (["cat", "cat"], np.array(["cat"], dtype=object)[0], 1.0),
        (np.array([1, 2], dtype=object), np.int8(2), 0.5),
        ([True, False], 1, 0.5),
        ([4], 5, 0.0),
        ([5], 5, 1.0),
    ],
)
def test_success_is_the_fraction_predicted_as_the_adversarial_label(
    y_pred, adversarial_label, expected
):
    rate = attack_success_rate(y_pred, adversarial_label)
    assert isinstance(rate, float)
    assert rate == pytest.approx(expected)


@pytest.mark.parametrize(
    ("y_pred", "adversarial_label", "message"),
    [
        ([], 1, "y_pred is empty"),
        ([[1, 2]], 1, r"y_pred has shape \(1, 2\)"),
        (1, 1, r"y_pred has shape \(\)"),
        ([1, 2, 3], [1, 2], r"adversarial_label has shape \(2,\)"),
        ([1, 2, 3], "1", "y_pred holds numbers, adversarial_label text"),
        (["1", "2"], 1, "y_pred holds text, adversarial_label numbers"),
        (np.array(["1", "2"], dtype=object), 1, "can never be equal"),
        (np.array([1, 2], dtype=object), np.str_("1"), "can never be equal"),
        (["1", "2"], np.array([1, 2], dtype=object), "can never be equal"),
        (pd.Series(["1", "2"], dtype="string"), 1, "can never be equal"),
        ([True, False], "True", "can never be equal"),
        ([b"cat"], "cat", "y_pred holds bytes, adversarial_label text"),
    ],
)
def test_success_rate_refuses_what_has_no_answer(y_pred, adversarial_label, message):
    with pytest.raises(ValueError, match=message):
        attack_success_rate(y_pred, adversarial_label)


def test_kinds_that_may_be_equal_are_compared():
    mixed = np.array(["cat", 1, None, 2.0, True], dtype=object)
    assert attack_success_rate(mixed, 1) == 0.4  # True is 1 in Python
    assert attack_success_rate(mixed, "cat") == 0.2
    days = np.array(["2020-01-01", "2020-01-02"], dtype="datetime64[D]")
    assert attack_success_rate(days, days[0]) == 0.5


# ------------------------------------------------------------- recall, retention


def test_recall_and_retention_count_poisons_and_clean_examples_apart():
    keep = np.array([False, True, True, True, False, True])
    assert poison_recall(keep, [0, 1]) == 0.5
    assert clean_retention(keep, [0, 1]) == 0.75
    is_poison = np.array([True, True, False, False, False, False])
    assert poison_recall(keep, is_poison) == 0.5
    assert poison_recall(keep, [0, 4]) == clean_retention(keep, [0, 4]) == 1.0
    assert poison_recall(keep, np.arange(6)) == pytest.approx(2 / 6)


@pytest.mark.parametrize("metric", [poison_recall, clean_retention])
@pytest.mark.parametrize(
    ("keep", "poison_indices", "message"),
    [
        ([1, 0, 1], [0], "keep has shape .* dtype int64"),
        (np.ones((2, 2), dtype=bool), [0], r"shape \(2, 2\)"),
        (np.array([], dtype=bool), [0], r"shape \(0,\)"),
        ([True, False], [2], "numbers from 0 to 1"),
        ([True, False], [-1], "numbers from 0 to 1"),
        ([True, False], [], "at least one poison"),
        ([True, False], [False, False], "at least one poison"),
        ([True, False], [[0]], r"poison_indices is .*give row numbers"),
        ([True] * 4, [0, 1, 0, 1], "poison_indices names rows twice"),
        ([True, False], [True], r"poison_indices has shape \(1,\)"),
        ([True, False], [0.0], "poison_indices is .*give row numbers"),
    ],
)
def test_masks_and_indices_are_checked(metric, keep, poison_indices, message):
    with pytest.raises(ValueError, match=message):
        metric(keep, poison_indices)


def test_masks_in_another_order_are_refused():
    keep = pd.Series([False, True, True], index=["a", "b", "c"])
    poisons = ~keep
    assert poison_recall(keep, poisons) == 1
    with pytest.raises(ValueError, match="poison_indices has the index of keep in an"):
        poison_recall(keep, poisons[::-1])
    read = pd.Series(["x", "y", "z"], index=["a", "b", "c"])
    with pytest.raises(ValueError, match="adversarial_label has the index of y_pred"):
        attack_success_rate(read, read[::-1])


def test_retention_needs_a_clean_example():
    with pytest.raises(ValueError, match="all 2 examples"):
        clean_retention([True, False], [0, 1])


# ---------------------------------------------------------------------- the scorer


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def test_the_score_is_minus_the_attack_success_rate(iris):
    X, y = iris
    model = LogisticRegression(max_iter=1000).fit(X, y)
    targets = X[[0, 1, 100, 101]]
    scorer = make_attack_success_scorer(targets, 2)
    expected = -attack_success_rate(model.predict(targets), 2)
    assert scorer(model, X, y) == expected == -0.5
    assert scorer(model, None, None) == -0.5
    assert scorer(model, X) == -0.5


def test_accuracy_can_be_blended_in(iris):
    X, y = iris
    model = LogisticRegression(max_iter=1000).fit(X, y)
    scorer = make_attack_success_scorer(X[[0, 100]], 2, accuracy_weight=0.2)
    assert scorer(model, X[::3], y[::3]) == pytest.approx(
        0.2 * model.score(X[::3], y[::3]) - 0.5
    )


def test_the_scorer_refuses_to_compare_text_with_numbers(iris):
    X, y = iris
    text = pd.Series(y).astype(str)
    model = KNeighborsClassifier().fit(X, text)
    with pytest.raises(ValueError, match="y_pred holds text"):
        make_attack_success_scorer(X[:2], 1)(model, X, text)
    scorer = make_attack_success_scorer(X[:2], "1", accuracy_weight=1.0)
    assert scorer(model, X, text) == model.score(X, text)
    with pytest.raises(ValueError, match="the prediction holds text, y numbers"):
        scorer(model, X, y)


def test_each_target_may_have_its_own_adversarial_label(iris):
    X, y = iris
    model = LogisticRegression(max_iter=1000).fit(X, y)
    scorer = make_attack_success_scorer(X[[0, 100]], [0, 1])
    assert scorer(model, X, y) == -0.5


def test_grid_search_picks_the_model_on_which_the_attack_fails(iris):
    X, y = iris
    X, y = X.copy(), y.copy()
    target = np.array([5.03, 3.43, 1.5, 0.2])
    X[149] = target  # one example of class 2 in the midst of class 0
    grid = GridSearchCV(
        KNeighborsClassifier(),
        {"n_neighbors": [1, 15]},
        scoring=make_attack_success_scorer(target[None], 2),
        cv=[(np.arange(150), np.arange(150))],
    )
    grid.fit(X, y)
    assert grid.best_params_ == {"n_neighbors": 15}
    np.testing.assert_array_equal(grid.cv_results_["mean_test_score"], [-1.0, 0.0])


def test_the_scorer_works_in_worker_processes_and_with_text_labels(iris):
    X, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    scorer = make_attack_success_scorer(X[:2], "virginica")
    scores = cross_val_score(
        KNeighborsClassifier(), X, names, scoring=scorer, cv=3, n_jobs=2
    )
    np.testing.assert_array_equal(scores, [0, 0, 0])


def test_the_scorer_survives_pickling_and_says_what_it_is(iris):
    X, y = iris
    model = LogisticRegression(max_iter=1000).fit(X, y)
    scorer = make_attack_success_scorer(X[:3], 2, accuracy_weight=0.5)
    restored = pickle.loads(pickle.dumps(scorer))
    assert restored(model, X, y) == scorer(model, X, y)
    assert (
        repr(restored)
        == repr(scorer)
        == "AttackSuccessScorer(adversarial_label=2, accuracy_weight=0.5)"
    )


@pytest.mark.parametrize(
    ("X_targets", "adversarial_label", "weight", "message"),
    [
        (np.empty((0, 4)), 1, 0.0, "X_targets is empty"),
        (np.ones((3, 4)), [1, 2], 0.0, r"shape \(2,\), there are 3 targets"),
        (np.ones((3, 4)), 1, -1.0, "'accuracy_weight' .* Got -1.0"),
        (np.ones((3, 4)), 1, float("nan"), "'accuracy_weight' .* Got nan"),
    ],
)
def test_scorers_without_meaning_are_refused(
    X_targets, adversarial_label, weight, message
):
    with pytest.raises(ValueError, match=message):
        make_attack_success_scorer(X_targets, adversarial_label, accuracy_weight=weight)


def test_the_scorer_refuses_labels_that_are_never_predicted(iris):
    X, y = iris
    model = LogisticRegression(max_iter=1000).fit(X, y)
    with pytest.raises(ValueError, match="adversarial_label is 7, and the classifier"):
        make_attack_success_scorer(X[:1], 7)(model, X, y)
    with pytest.raises(ValueError, match="y None"):
        make_attack_success_scorer(X[:1], 1, accuracy_weight=1.0)(model, X)
    with pytest.raises(ValueError, match="adversarial_label None"):
        attack_success_rate([1, 2], None)


def test_the_scorer_refuses_one_label_among_several_that_is_never_predicted():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    scorer = make_attack_success_scorer(X[:2], adversarial_label=[2, 9])
    with pytest.raises(ValueError, match="adversarial_label is 9"):
        scorer(model, X, y)
