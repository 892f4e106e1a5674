"""The rivals as rules: what they flag, and how much of clean data."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs
from sklearn.linear_model import LogisticRegression

from epic_sklearn import (
    DropSchedule,
    EPICFilter,
    LastLayerGradients,
    OuterProductGradients,
    PrecomputedGradients,
    logit_gradients,
)
from epic_sklearn.rules import (
    ActivationClustering,
    DeepKNN,
    HighLoss,
    LowConfidence,
    Memory,
    RandomDrop,
    SpectralSignatures,
)

BY_INPUTS = [SpectralSignatures(), ActivationClustering(), DeepKNN()]
BY_ERRORS = [HighLoss(), LowConfidence()]
RIVALS = [*BY_INPUTS, *BY_ERRORS, RandomDrop()]


def name_of(value):
    return type(value).__name__ if hasattr(value, "get_params") else None


def detect(rule, X, y, extractor=None, **options):
    """Fit a filter; None takes logistic regression, whose last layer reads X."""
    return EPICFilter(extractor, rule=rule, random_state=0, **options).fit(X, y)


def flagged(rule, gradients, y):
    schedule = DropSchedule(
        y, rule=rule, warmup=0, min_class_fraction=0, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule.step(0, gradients)
    return ~schedule.keep


every_rival = pytest.mark.parametrize("rival", RIVALS, ids=name_of)


@pytest.fixture
def clean():
    """Three classes in eight dimensions, far apart, of different sizes."""
    return make_blobs([60, 80, 100], 8, center_box=(-20, 20), random_state=0)


@pytest.fixture
def overlapping():
    """Three classes in four dimensions that overlap."""
    return make_blobs(150, 4, centers=3, center_box=(-3, 3), random_state=0)


def gradients_of(X, y):
    """Last layer's gradients of a logistic regression."""
    return LastLayerGradients().fit(X, y).compute(X, y)


# ------------------------------------------------------ against naive versions


@pytest.mark.parametrize("n_features", [1, 3, 200])
def test_spectral_signatures_are_those_of_a_plain_svd(n_features):
    rng = np.random.RandomState(0)
    X = rng.randn(90, n_features) * np.linspace(1, 3, n_features) + 100
    y = rng.permutation(np.repeat([0, 1, 2], [40, 30, 20]))
    rival = detect(SpectralSignatures(eps=0.2), X, y, PrecomputedGradients())
    for label, size in zip([0, 1, 2], [40, 30, 20], strict=True):
        centred = X[y == label] - X[y == label].mean(axis=0)
        direction = np.linalg.svd(centred)[2][0]
        scores = (centred @ direction) ** 2
        np.testing.assert_allclose(
            rival.isolation_score_[y == label], scores, rtol=1e-6, atol=1e-9
        )
        dropped = set(np.flatnonzero(~rival.keep_[y == label]))
        assert dropped == set(np.argsort(-scores)[: round(0.3 * size)])


@pytest.mark.parametrize("k", [1, 4, 40, 0.01, 0.5, 1.0, 1.3])
def test_deep_knn_votes_as_a_sorted_list_of_distances_does(overlapping, k):
    X, y = overlapping
    rival = detect(DeepKNN(k=k), X, y, min_class_fraction=0)
    for i in range(len(X)):
        away = np.linalg.norm(X - X[i], axis=1)
        others = [j for j in np.argsort(away) if j != i]
        size = (y == y[i]).sum()
        wanted = k if isinstance(k, int) else round(k * size)
        wanted = min(wanted, size - 1) if isinstance(k, float) and k <= 1 else wanted
        votes = np.bincount(y[others[: max(wanted, 1)]], minlength=3)
        rest = max(votes[c] for c in range(3) if c != y[i])
        assert rival.keep_[i] == (rest <= votes[y[i]])
        expected = (rest - votes[y[i]]) / votes.sum()
        assert rival.isolation_score_[i] == pytest.approx(expected)


def test_deep_knn_outvotes_no_class_that_lies_apart():
    rng = np.random.default_rng(0)
    X = np.r_[0.1 * rng.normal(size=(50, 2)), np.full((60, 2), 9.0)]  # copies
    assert detect(DeepKNN(), X, np.repeat([0, 1], [50, 60])).keep_.all()


@pytest.mark.filterwarnings("ignore:So many examples of class")
def test_deep_knn_asks_at_most_all_others(overlapping):
    more, all_ = (detect(DeepKNN(k=k), *overlapping) for k in (70.0, 149))
    np.testing.assert_array_equal(more.isolation_score_, all_.isolation_score_)


def test_deep_knn_is_the_same_however_small_its_pieces_are(overlapping):
    expected = detect(DeepKNN(), *overlapping).isolation_score_
    with sklearn.config_context(working_memory=0.01):
        pieces = detect(DeepKNN(), *overlapping).isolation_score_
    np.testing.assert_array_equal(pieces, expected)


def test_loss_and_confidence_are_those_of_the_probabilities(overlapping):
    X, y = overlapping
    p = LogisticRegression(max_iter=1000).fit(X, y).predict_proba(X)
    scores = {
        HighLoss: [-np.log(p[i, y[i]]) for i in range(len(y))],
        LowConfidence: [1 - max(p[i]) for i in range(len(y))],
    }
    for make, expected in scores.items():
        rival = detect(make(drop_fraction=0.25), X, y)
        np.testing.assert_allclose(rival.isolation_score_, expected)
        for label in range(3):
            rows = np.flatnonzero(y == label)
            highest = rows[np.argsort(-np.array(expected)[rows])[: len(rows) // 4]]
            assert set(rows[~rival.keep_[rows]]) == set(highest)


def test_activation_clustering_drops_the_smaller_of_two_groups():
    X, group = make_blobs([70, 30], 12, center_box=(-9, 9), random_state=1)
    X, y = np.vstack([X, X + 500]), np.repeat(["cat", "dog"], 100)
    rule = ActivationClustering(nb_dims=2)
    rival = detect(rule, X, y, PrecomputedGradients())
    np.testing.assert_array_equal(rival.keep_, np.tile(group == 0, 2))
    # The share in the other cluster, raised by less than one example's share.
    share = np.where(rival.keep_, 0.3, 0.7)
    assert ((rival.isolation_score_ - share) * 100 > 0.5).all()
    assert ((rival.isolation_score_ - share) * 100 <= 1).all()


# -------------------------------------------------------------- what they find


def test_planted_poisons_are_found_by_what_each_looks_at(clean):
    X, y = clean
    poisons = np.flatnonzero(y == 2)[::10]
    rest = np.setdiff1d(np.arange(len(y)), poisons)
    shifted, moved, between = X.copy(), X.copy(), X.copy()
    shifted[poisons] += [30, 0, 0, 0, 0, 0, 0, 0]  # share a feature, as backdoors do
    moved[poisons] = X[y == 0][: len(poisons)] + 0.01  # lie in another class
    between[poisons] = (X[y == 0].mean(axis=0) + X[y == 2].mean(axis=0)) / 2
    for rule, data, model in (
        (SpectralSignatures(eps=0.1), shifted, None),
        (ActivationClustering(), shifted, None),
        (DeepKNN(), moved, None),
        (HighLoss(), moved, None),
        (LowConfidence(), between, LogisticRegression(C=1e-3)),
    ):
        rival = detect(rule, data, y, model)
        assert not rival.keep_[poisons].any(), rule
        assert rival.keep_[rest].mean() > 0.85, rule
    # A control that knew anything would be none.
    as_given = PrecomputedGradients()
    found = [
        (~EPICFilter(as_given, rule=RandomDrop(), random_state=s).fit(X, y).keep_)
        for s in range(50)
    ]
    found = [dropped[poisons].mean() for dropped in found]
    assert abs(np.mean(found) - 0.1) < 0.05


# Adversarial Robustness Toolbox, issue 1188: a defence rejected all clean data,
# whatever its parameter.
PARAMETERS = [
    (SpectralSignatures(), "eps", [0, 0.01, 0.05, 0.1, 0.3], 1.5),
    (ActivationClustering(), "size_threshold", [0, 0.1, 0.3, 0.5], 1),
    (HighLoss(), "drop_fraction", [0, 0.01, 0.05, 0.1, 0.3], 1),
    (LowConfidence(), "drop_fraction", [0, 0.01, 0.05, 0.1, 0.3], 1),
    (RandomDrop(), "drop_fraction", [0, 0.01, 0.05, 0.1, 0.3], 1),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rival, name, values, factor", PARAMETERS, ids=name_of)
def test_clean_data_lose_what_the_parameter_says_and_more_as_it_grows(
    rival, name, values, factor, seed
):
    X, y = make_blobs([60, 80, 100], 8, center_box=(-20, 20), random_state=seed)
    before = np.zeros(len(y), dtype=bool)
    for value in values:
        now = ~detect(clone(rival).set_params(**{name: value}), X, y).keep_
        for label in range(3):
            assert now[y == label].mean() <= factor * value + 1e-9
        assert not (before & ~now).any()  # whatever was flagged still is
        before = now


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 5, 20, 0.5, 1.0])
def test_deep_knn_keeps_clean_classes_that_are_apart(seed, k):
    X, y = make_blobs([60, 80, 100], 8, center_box=(-20, 20), random_state=seed)
    assert detect(DeepKNN(k=k), X, y).keep_.all()


def test_deep_knn_with_twice_the_class_size_lets_a_class_be_outvoted():
    # Why the default is not 2.0: here 4 classes are far apart, and most go.
    X, y = make_blobs(
        [100] * 4, 2, centers=[[0, 0], [20, 0], [45, 0], [75, 0]], random_state=0
    )
    assert detect(DeepKNN(), X, y).keep_.all()
    with pytest.warns(UserWarning, match=r"class 0 .*, 3 .* are flagged.*Change k"):
        rival = detect(DeepKNN(k=2.0), X, y, min_class_fraction=0)
    assert (rival.isolation_score_ > 0).mean() > 0.5


@every_rival
def test_equal_features_never_cost_more_than_the_share_asked_for(rival):
    X, y = np.ones((90, 2)), np.repeat([0, 1], [30, 60])
    if isinstance(rival, DeepKNN):  # all are neighbours: the larger class wins
        with pytest.warns(UserWarning, match=r"class 0 \(of 30\) are flagged"):
            keep = detect(rival, X, y).keep_
        assert keep[y == 1].all() and keep[y == 0].sum() == 15
    else:
        assert (~detect(rival, X, y).keep_).mean() <= 0.1


@every_rival
def test_classes_of_one_or_two_examples_are_kept(rival, clean):
    X, y = clean
    X, y = np.vstack([X, X[:3] + 50]), np.append(y, [7, 8, 8])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keep = detect(rival, X, y).keep_
    assert keep[y == 7].all() and keep[y == 8].any()


def test_no_class_falls_below_the_floor_and_one_warning_names_them(overlapping):
    X, y = overlapping
    for rival in (
        SpectralSignatures(eps=0.6),
        HighLoss(drop_fraction=0.9),
        LowConfidence(drop_fraction=0.9),
        RandomDrop(drop_fraction=1.0),
    ):
        message = r"class 0 .*, 1 .*, 2 .* are flagged.*Lower"
        with pytest.warns(UserWarning, match=message) as caught:
            rival = detect(rival, X, y, min_class_fraction=0.4)
        assert len(caught) == 1
        np.testing.assert_array_equal(np.bincount(y[rival.keep_]), [20, 20, 20])
        for label in range(3):
            score, keep = rival.isolation_score_[y == label], rival.keep_[y == label]
            assert score[~keep].min() > score[keep].max()


# ------------------------------------------------ one seed, one result, any order


@pytest.mark.parametrize("rival", RIVALS[:-1], ids=name_of)
def test_the_order_of_the_rows_does_not_matter(rival, overlapping):
    gradients = gradients_of(*overlapping)
    y, order = overlapping[1], np.random.RandomState(0).permutation(150)
    np.testing.assert_array_equal(
        flagged(rival, gradients[order], y[order]), flagged(rival, gradients, y)[order]
    )


@pytest.mark.parametrize("rival", BY_INPUTS, ids=name_of)
@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_unit_of_the_inputs_does_not_matter(rival, overlapping, scale):
    X, y = overlapping
    gradients = gradients_of(X, y)
    scaled = OuterProductGradients(gradients.errors, gradients.inputs * scale)
    expected = flagged(rival, gradients, y)
    np.testing.assert_array_equal(flagged(rival, scaled, y), expected)
    np.testing.assert_array_equal(flagged(rival, X, y), expected)


@pytest.mark.parametrize("rival", BY_ERRORS, ids=name_of)
def test_errors_may_come_from_plain_probabilities(rival, overlapping):
    X, y = overlapping
    p = LogisticRegression(max_iter=1000).fit(X, y).predict_proba(X)
    expected = ~detect(rival, X, y).keep_
    errors = logit_gradients(p, y)
    np.testing.assert_array_equal(flagged(rival, errors, y), expected)
    some = y != 1  # a column without a label
    names = np.array(["a", "b", "c"])[y]
    np.testing.assert_array_equal(
        flagged(rival, errors[some], names[some]), expected[some]
    )
    with pytest.raises(ValueError, match=r"150 rows are not .*logit_gradients"):
        flagged(rival, p, y)


LABELS = {
    "strings": np.array(["b", "a", "c"]),
    "ints": np.array([7, -2, 30]),
    "objects": np.array(["x", "y", "a"], dtype=object),
}


@every_rival
@pytest.mark.parametrize("kind", LABELS)
def test_the_same_rows_are_dropped_whatever_the_labels_are(rival, overlapping, kind):
    X, y = overlapping
    names = LABELS[kind]
    expected = detect(rival, X, np.argsort(np.argsort(names))[y]).keep_
    renamed = detect(rival, X, pd.Series(names[y]))
    np.testing.assert_array_equal(renamed.keep_, expected)
    assert set(renamed.classes_) == set(names)


def test_iris_examples_that_look_like_another_class_go_first():
    X, y = load_iris(return_X_y=True)
    X[0] = X[100]
    for rival in (SpectralSignatures(), DeepKNN(k=10), HighLoss()):
        scores = detect(rival, X, y).isolation_score_[y == 0]
        assert scores.argmax() == 0


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("rival", "name"),
    [
        (SpectralSignatures(eps=0.7), "eps"),
        (ActivationClustering(nb_dims=0), "nb_dims"),
        (ActivationClustering(nb_dims=2.5), "nb_dims"),
        (ActivationClustering(size_threshold=0.6), "size_threshold"),
        (DeepKNN(k=0), "k"),
        (DeepKNN(k=0.0), "k"),
        (DeepKNN(k=float("nan")), "k"),
        (DeepKNN(k="5"), "k"),
        (HighLoss(drop_fraction=-0.1), "drop_fraction"),
        (LowConfidence(drop_fraction=float("nan")), "drop_fraction"),
        (RandomDrop(drop_fraction="all"), "drop_fraction"),
    ],
)
def test_parameters_out_of_range_are_refused_before_any_work(rival, name):
    with pytest.raises(
        ValueError, match=f"'{name}' parameter of {type(rival).__name__}"
    ):
        detect(rival, [[0.0], [1.0]], [0, 1], lambda X, y: pytest.fail("computed"))


def test_more_neighbours_than_other_examples_are_refused(overlapping):
    with pytest.raises(ValueError, match=r"k is 150 and there are 150 .*\[1, 149\]"):
        detect(DeepKNN(k=150), *overlapping)


def test_votes_of_deep_knn_do_not_depend_on_rounding():
    rng = np.random.default_rng(0)
    for _ in range(20):
        features = rng.integers(0, 3, (40, 4))
        codes, k = np.arange(40) % 2, 3
        squared = np.square(features[:, None] - features).sum(axis=2)
        np.fill_diagonal(squared, 1000)
        last = np.sort(squared, axis=1)[:, k - 1 : k]  # exact: integers
        near, tied = squared < last, squared == last
        votes = (
            near + tied * (k - near.sum(axis=1)[:, None]) / tied.sum(axis=1)[:, None]
        )
        others = (votes * (codes[:, None] != codes)).sum(axis=1)
        expected = others > k - others + 1e-9
        for moved in (features, features + 1, features * 0.1 + 7):
            memory = Memory(np.ones(40, dtype=bool))
            judged = DeepKNN(k).judge(moved.astype(float), codes, memory)
            np.testing.assert_array_equal(judged.flagged, expected)


def test_high_loss_ranks_what_it_can_tell_and_says_up_to_where():
    p = np.array([0.5, 0.1, 1e-6, 1e-12, 1e-17, 0.0])
    errors = np.column_stack([1 - p, p - 1])
    score = HighLoss().judge(errors, np.ones(6, dtype=int), None).score
    np.testing.assert_allclose(score[:4], -np.log(p[:4]), rtol=1e-5)
    assert score[4] == score[5] == pytest.approx(36.7, abs=0.1)


def test_high_loss_orders_rows_that_have_converged():
    loss = np.geomspace(1e-27, 1e-18, 10)
    errors = np.c_[-loss, loss]
    errors = np.r_[errors, errors[:, ::-1]]
    y = np.repeat([0, 1], 10)
    for rule in (HighLoss(0.1), LowConfidence(0.1)):
        found = detect(rule, errors, y, PrecomputedGradients())
        assert found.isolated_indices_.tolist() == [9, 19]


def test_what_is_positive_everywhere_is_no_error():
    positive = np.full((20, 2), 1e-5)
    with pytest.raises(ValueError, match="20 of 20 rows are not that"):
        detect(HighLoss(), positive, np.arange(20) % 2, PrecomputedGradients())


@pytest.mark.parametrize("scale", [1e-170, 1e160])
def test_deep_knn_is_the_same_at_any_scale(overlapping, scale):
    X, y = overlapping
    expected = detect(DeepKNN(), X, y, PrecomputedGradients()).isolation_score_
    scaled = detect(DeepKNN(), scale * X, y, PrecomputedGradients()).isolation_score_
    np.testing.assert_array_equal(scaled, expected)
