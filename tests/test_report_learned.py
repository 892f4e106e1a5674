"""The warning that a model has learned nothing: when it comes, and when not."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from epic_sklearn import EPICFilter, PrecomputedGradients
from epic_sklearn.learned import learned_nothing
from epic_sklearn.rules import IsolatedMedoids


def warnings_of(detector, X):
    schedule = detector._schedule
    return detector._case(X, schedule.classes[schedule.codes]).warnings


def by_chance(n, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(n_classes), n), rng.integers(0, n_classes, n)


@pytest.mark.parametrize(("n", "n_classes"), [(60, 2), (500, 3), (5000, 10)])
def test_probabilities_at_random_are_warned_of(n, n_classes):
    for seed in range(20):
        p, codes = by_chance(n, n_classes, seed)
        warning = learned_nothing(p, codes)
        if np.mean(p.argmax(axis=1) == codes) <= np.bincount(codes).max() / n:
            assert warning is not None
    assert "learned next to nothing" in warning


def test_the_shares_named_are_those_of_the_rows():
    codes = np.repeat([0, 1], [30, 10])
    warning = learned_nothing(np.tile([0.75, 0.25], (40, 1)), codes)
    assert "right on 75.0% of its own" in warning
    assert "most frequent class is right on 75.0%" in warning
    assert "right on 25.0% of its own" in learned_nothing(
        np.tile([0.25, 0.75], (40, 1)), codes
    )


def test_a_rare_class_that_is_told_apart_is_no_chance():
    """Never the likeliest, and yet four times as likely where it occurs."""
    rng = np.random.default_rng(0)
    risk = np.where(np.arange(4000) % 10 == 0, 0.2, 0.001)
    codes = (rng.random(4000) < risk).astype(int)
    p = np.column_stack([1 - risk, risk])
    assert (p.argmax(axis=1) == 0).all()
    assert learned_nothing(p, codes) is None


@pytest.mark.parametrize(
    "model", [DecisionTreeClassifier(random_state=0), KNeighborsClassifier(1)]
)
def test_a_model_that_memorised_its_rows_is_warned_of(model):
    X, y = load_iris(return_X_y=True)
    X += np.random.default_rng(0).normal(0, 1e-3, X.shape)  # no row comes twice
    y[:3] = 1
    with pytest.warns(UserWarning, match="100% of the gradients are 0"):
        assert EPICFilter(model).fit(X, y).keep_.all()
    X[7], y[7] = X[8], 2  # nor one that comes twice, under another label
    with pytest.warns(UserWarning, match="99% of the gradients are 0"):
        assert EPICFilter(model).fit(X, y).keep_[:3].all()
    shallow = DecisionTreeClassifier(min_samples_leaf=5, random_state=0)
    assert not EPICFilter(shallow).fit(X, y).keep_[:3].any()


def test_features_that_tell_nothing_and_features_that_do():
    X, y = make_classification(400, n_classes=3, n_informative=5, random_state=0)
    learned = EPICFilter(LogisticRegression(max_iter=1000)).fit(X, y)
    assert warnings_of(learned, X) == []
    noise = np.random.default_rng(0).normal(size=(400, 3))
    constant = np.ones((400, 3))
    for rows in (noise, constant):
        detector = EPICFilter(LogisticRegression(max_iter=1000)).fit(rows, y)
        assert len(warnings_of(detector, rows)) == 1


def test_text_labels_and_torch_modules():
    X, y = load_iris(return_X_y=True)
    names = load_iris().target_names[y]
    assert warnings_of(EPICFilter().fit(X, names), X) == []
    net = torch.nn.Linear(4, 3)
    with torch.no_grad():
        net.weight.zero_()
    assert len(warnings_of(EPICFilter(net).fit(X, y), X)) == 1


def test_without_a_model_nothing_is_said():
    X, y = load_iris(return_X_y=True)
    detector = EPICFilter(PrecomputedGradients()).fit(X, y)
    assert warnings_of(detector, X) == []


def test_the_page_of_a_filter_has_the_warning(tmp_path):
    pytest.importorskip("jinja2")
    X, y = load_iris(return_X_y=True)
    for rows, n in ((X, 0), (np.random.default_rng(0).normal(size=X.shape), 1)):
        detector = EPICFilter(rule=IsolatedMedoids(subset_size=0.3)).fit(rows, y)
        path = detector.report(rows, y, tmp_path / "a.html", overwrite=True)
        page = path.read_text(encoding="utf-8")
        assert page.count("learned next to nothing") == n
