"""NeighborVotes: its score, who votes, and when it watches and drops."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression

from epic_sklearn import (
    DropSchedule,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    LastLayerGradients,
    OuterProductGradients,
)
from epic_sklearn.epochs import Epochs
from epic_sklearn.medoids import neighbor_votes
from epic_sklearn.rules import IsolatedMedoids, Memory, NeighborVotes

N_CLASSES, N_PER_CLASS, N_INPUTS = 3, 100, 20


def make_gradients(seed=0, n_per_class=N_PER_CLASS):
    """Classes of normal inputs, fitted more or less well."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(N_CLASSES), n_per_class)
    centres = 4 * rng.normal(size=(N_CLASSES, N_INPUTS))
    inputs = centres[codes] + rng.normal(size=(len(codes), N_INPUTS))
    errors = rng.normal(size=(len(codes), N_CLASSES))
    errors *= rng.lognormal(size=(len(codes), 1))
    return OuterProductGradients(errors, inputs), codes


def judged(gradients, codes, rule=None):
    memory = Memory(np.ones(len(codes), dtype=bool))
    return (rule or NeighborVotes()).judge(gradients, codes, memory)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def naive_score(gradients, codes):
    """Score of a single round as the docstring reads, one example after the other."""
    points, score, share = unit(gradients.inputs), np.zeros(len(codes)), []
    for i, own in enumerate(points):
        k = min(200, (codes == codes[i]).sum() // 3)
        order = np.argsort(np.linalg.norm(points - own, axis=1))
        rarest = np.bincount(codes).min()
        asked = [k, max(3, rarest // 3)] if 2 * rarest < k else [k]
        shares = []
        for n in asked:
            votes = np.bincount(codes[order[1 : n + 1]], minlength=codes.max() + 1)
            shares.append(np.delete(votes, codes[i]).max() / n)
        share.append(max(shares))
    share = np.array(share)
    for code in np.unique(codes):
        rows, geometry, s = np.flatnonzero(codes == code), [], []
        for i in rows:
            d = np.linalg.norm(points[rows] - points[i], axis=1)
            near = np.argsort(d)[1 : 1 + min(10, len(rows) // 6)]
            geometry.append(np.log(d[near[-1]] ** 2 / d[near[0]]))
            s.append((share[i] + share[rows[near]].mean()) / 2)
        away = np.array(geometry) - np.median(geometry)
        z = away / (np.median(np.abs(away)) / norm.ppf(0.75))
        s = np.array(s)
        q = norm.ppf((rankdata(s.round(9)) - 0.5) / len(rows))
        score[rows] = np.sqrt(2 * s) * q.clip(0) + z.clip(0, 10) / 4
    return 7 / 8 * score


def near_classes(seed=0, n_per_class=60):
    """Classes that overlap, so that some are outvoted."""
    gradients, codes = make_gradients(seed, n_per_class)
    inputs = gradients.inputs - 0.6 * (gradients.inputs @ np.full((20, 20), 1 / 20))
    inputs[:20] = inputs[-20:] + 0.1
    return OuterProductGradients(gradients.errors, inputs), codes


@pytest.mark.parametrize("n_per_class", [24, 60, 120])
def test_score_is_that_of_the_naive_loop(n_per_class):
    gradients, codes = near_classes(n_per_class=n_per_class)
    found = judged(gradients, codes).score
    np.testing.assert_allclose(found, naive_score(gradients, codes), atol=1e-5)
    assert len(set(found.round(3))) > n_per_class


def test_a_rare_class_is_not_outvoted_by_its_size():
    gradients, codes = near_classes(n_per_class=90)
    rows = np.concatenate([np.arange(180), np.arange(180, 193)])
    some, codes = gradients[rows], codes[rows]
    found = judged(some, codes).score
    np.testing.assert_allclose(found, naive_score(some, codes), atol=1e-5)
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [600, 20])
    X = rng.normal(size=(620, 5)) + 4 * np.eye(2, 5)[y]
    y[-3:] = 0  # rare rows that bear the frequent label
    model = EPICFilter(LogisticRegression(), random_state=0).fit(X, y)
    assert not model.keep_[-3:].any() and model.keep_.mean() > 0.95


def test_score_belongs_to_the_row_whatever_order_scale_and_precision():
    gradients, codes = near_classes()
    expected = judged(gradients, codes).score
    order = np.random.default_rng(0).permutation(len(codes))
    moved = judged(gradients[order], codes[order]).score
    np.testing.assert_allclose(moved, expected[order], atol=1e-5)
    for change in (lambda x: 1e-9 * x, lambda x: x.astype(np.float32)):
        other = OuterProductGradients(gradients.errors, change(gradients.inputs))
        np.testing.assert_allclose(judged(other, codes).score, expected, atol=1e-3)


def test_copies_and_their_order_change_no_vote():
    rng = np.random.default_rng(0)
    points, codes = rng.integers(0, 2, (90, 3)).astype(float), np.arange(90) % 3
    own, other = neighbor_votes(points, codes, np.full(90, 7))
    order = rng.permutation(90)
    again = neighbor_votes(points[order], codes[order], np.full(90, 7))
    np.testing.assert_allclose(again, (own[order], other[order]))
    for same in np.unique(points, axis=0):
        rows = np.flatnonzero((points == same).all(axis=1) & (codes == 0))
        assert np.ptp(own[rows]) < 1e-9


@pytest.mark.parametrize("n_voters", [60, 200])
def test_votes_are_those_of_sorted_distances(n_voters):
    rng = np.random.default_rng(1)
    points, codes = rng.normal(size=(200, 5)), rng.integers(0, 4, 200)
    voters, k = np.sort(rng.permutation(200)[:n_voters]), rng.integers(1, 30, 200)
    own, other = neighbor_votes(points, codes, k, voters)
    for i in range(200):
        others = voters[voters != i]
        away = np.linalg.norm(points[others] - points[i], axis=1)
        votes = np.bincount(codes[others[np.argsort(away)[: k[i]]]], minlength=4)
        assert own[i] == votes[codes[i]]
        assert other[i] == np.delete(votes, codes[i]).max()


@pytest.mark.parametrize("scale", [300, 3000, 1e5])
def test_groups_that_lie_far_apart_hide_nothing(scale):
    rng = np.random.RandomState(1)
    y = rng.randint(2, size=600)
    mode = np.repeat(rng.choice([-1.0, 1.0], (600, 1)), 3, axis=1)
    X = np.c_[scale * mode, 6 * y - 3 + rng.randn(600), rng.randn(600, 2)]
    wrong = rng.choice(600, 8, replace=False)
    y[wrong] = 1 - y[wrong]
    inputs, codes = np.c_[X, np.ones(600)], y
    found = judged(OuterProductGradients(rng.randn(600, 2), inputs), codes)
    assert found.flagged[wrong].all() and found.flagged.mean() < 0.05
    if (
        scale < 1e4
    ):  # further apart the geometry, a quarter of the score, has few digits
        naive = naive_score(OuterProductGradients(rng.randn(600, 2), inputs), codes)
        np.testing.assert_allclose(found.score, naive, atol=0.05)


def test_of_many_examples_a_part_votes_and_finds_the_same():
    rng = np.random.default_rng(0)
    codes = np.arange(6000) % 2
    inputs = rng.normal(size=(6000, 8)) + 6 * np.eye(8)[codes]
    inputs[:60:2] = inputs[1:60:2] + 0.3 * rng.normal(size=(30, 8))
    gradients = OuterProductGradients(np.zeros((6000, 2)), inputs)
    found = judged(gradients, codes)
    assert found.flagged[:60:2].all() and found.flagged.mean() < 0.03
    np.testing.assert_array_equal(found.score, judged(gradients, codes).score)


def test_poisons_that_are_company_to_each_other_are_found():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 300)
    inputs = rng.normal(size=(600, 10)) + 4 * np.eye(10)[codes]
    inputs[:25] = inputs[300:325] + 0.5 * rng.normal(size=(25, 10))
    flagged = judged(OuterProductGradients(np.ones((600, 2)), inputs), codes).flagged
    assert flagged[:25].mean() > 0.9 and flagged[25:].mean() < 0.05


def test_plain_gradients_are_judged_by_their_length():
    rng = np.random.default_rng(0)
    gradients, codes = rng.normal(size=(100, 3)), np.arange(100) % 2
    gradients[:3] *= 100
    assert judged(gradients, codes).score[:3].min() > 1.5


def plant(gradients, rows, spread):
    """Move rows to one point of another class, `spread` apart, and fit them badly."""
    rng = np.random.default_rng(1)
    inputs, errors = gradients.inputs.copy(), gradients.errors.copy()
    noise = rng.normal(size=(len(rows), N_INPUTS))
    inputs[rows] = inputs[-1] + spread * noise
    errors[rows] = 2.0
    return OuterProductGradients(errors, inputs)


def drop(gradients, codes, cutoff=1.85, **options):
    rule = NeighborVotes(cutoff)
    schedule = DropSchedule(codes, rule=rule, warmup=1, every=1, **options)
    schedule.step(1, gradients)
    return schedule


# ----------------------------------------------------------------- what is dropped


def test_a_planted_single_is_dropped():
    gradients, codes = make_gradients()
    assert not drop(plant(gradients, [0], 0.0), codes).keep[0]


@pytest.mark.parametrize("size", [2, 5, 10])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 0.1])
def test_a_colliding_group_is_dropped(size, spread):
    gradients, codes = make_gradients()
    rounds = drop(plant(gradients, np.arange(size), spread), codes)
    assert not rounds.keep[:size].any()


def test_a_group_that_collides_inside_its_own_class_is_dropped():
    gradients, codes = make_gradients()
    inputs, errors = gradients.inputs.copy(), gradients.errors.copy()
    inputs[:5] = inputs[5] + 1e-3 * inputs[:5]
    errors[:5] = 4.0
    planted = OuterProductGradients(errors, inputs)
    assert not drop(planted, codes).keep[:5].any()


def test_a_colliding_group_is_dropped_however_well_the_model_fits_it():
    gradients, codes = make_gradients()
    planted = plant(gradients, np.arange(5), 1e-3)
    planted.errors[:5] = 1e-9
    assert not drop(planted, codes).keep[:5].any()


@pytest.mark.parametrize("times", [2, 9])
def test_who_adds_a_poison_several_times_gains_no_company(times):
    gradients, codes = near_classes(n_per_class=90)
    alone = judged(gradients, codes)
    highest = np.lexsort((-alone.score, codes))[:4]  # of class 0
    assert alone.flagged[highest[0]]
    rows = np.concatenate([np.arange(len(codes)), np.repeat(highest, times - 1)])
    rng = np.random.default_rng(0)
    order = rng.permutation(len(rows))
    rows, at = rows[order], np.argsort(order)[: len(codes)]
    # As nets give them: equal up to rounding.
    inputs = gradients.inputs[rows] * (1 + 1e-8 * rng.normal(size=(len(rows), 1)))
    again = judged(OuterProductGradients(gradients.errors[rows], inputs), codes[rows])
    np.testing.assert_allclose(again.score[at], alone.score, atol=1e-4)
    np.testing.assert_array_equal(again.flagged, alone.flagged[rows])


def test_many_copies_are_judged_as_the_rows_that_they_are():
    gradients, codes = make_gradients()
    for rows in (np.arange(11), np.arange(0, 60) // 5 * 5):  # of one, of most rows
        same = np.arange(len(codes))
        same[: len(rows)] = rows if len(rows) > 11 else 0
        again = judged(gradients[same], codes)
        assert not again.flagged[: len(rows)].any()
    small = np.concatenate([np.arange(8), np.arange(3), np.arange(100, 300)])
    assert judged(gradients[small], codes[small]).score[:11].any()  # of 8 different


def test_copies_of_usual_examples_are_kept():
    gradients, codes = make_gradients()
    rows = np.arange(len(codes))
    rows[:30] = 50 + np.arange(30) // 5  # six examples, each six times
    kept = drop(gradients, codes).keep
    assert (drop(gradients[rows], codes).keep[:30] == kept[rows[:30]]).mean() > 0.8


@pytest.mark.parametrize("seed", range(3))
def test_few_clean_examples_are_dropped(seed):
    gradients, codes = make_gradients(seed, n_per_class=300)
    assert drop(gradients, codes).keep.mean() > 0.95


def test_doubled_data_lose_no_more_than_the_data():
    gradients, codes = make_gradients()
    twice = np.repeat(np.arange(len(codes)), 2)
    share = drop(gradients, codes).keep.mean()
    assert drop(gradients[twice], codes[twice]).keep.mean() > share - 0.03


@pytest.mark.parametrize("value", [0.0, 1e-30, 1.0])
def test_equal_gradients_are_all_kept(value):
    codes = np.repeat([0, 1], 30)
    gradients = OuterProductGradients(np.ones((60, 2)), np.full((60, 4), value))
    assert drop(gradients, codes, cutoff=1e-6).keep.all()


@pytest.mark.parametrize("n_small", [1, 2, 10])
def test_classes_of_at_most_ten_lose_nothing(n_small):
    gradients, codes = make_gradients()
    codes = np.where(np.arange(len(codes)) < n_small, 9, codes)
    planted = plant(gradients, [0], 0.0)
    score = judged(planted, codes).score
    assert not score[:n_small].any()
    assert drop(planted, codes).keep[:n_small].all()


def test_a_higher_cutoff_drops_a_subset_and_beyond_the_largest_score_nothing():
    gradients, codes = make_gradients()
    kept = [drop(gradients, codes, cutoff=c).keep for c in (1.0, 1.5, 2.0, 3.0, 15.0)]
    for lower, higher in pairwise(kept):
        assert (higher >= lower).all()
    assert kept[0].mean() < kept[2].mean()
    assert kept[-1].all()


def test_a_class_is_never_dropped_below_its_floor():
    gradients, codes = make_gradients()
    with pytest.warns(UserWarning, match="Raise cutoff"):
        rounds = drop(gradients, codes, cutoff=1e-6, min_class_fraction=0.9)
    assert (np.bincount(codes[rounds.keep]) == 90).all()
    for code in range(N_CLASSES):
        score, kept = rounds.isolation_score[codes == code], rounds.keep[codes == code]
        assert score[~kept].min() > score[kept].max()


def test_each_round_drops_by_the_mean_of_all_scores_so_far():
    codes = make_gradients()[1]
    schedule = DropSchedule(codes, rule=NeighborVotes(1.0), warmup=1, every=1)
    scores, means = [], []
    for epoch in range(1, 5):
        gradients = make_gradients(epoch)[0]
        schedule.step(epoch, gradients)
        scores.append(judged(gradients, codes).score / (7 / 8))
        means.append(np.mean(scores, axis=0) * (7 / 8 if epoch == 1 else 1))
        np.testing.assert_array_equal(schedule.keep, np.max(means, axis=0) <= 1.0)
    np.testing.assert_allclose(schedule.isolation_score, np.max(means, axis=0))
    assert schedule.details == {}


def test_memory_stays_far_below_the_matrix_of_distances():
    n = 4000  # whose float64 distances need 128 MB
    gradients, codes = make_gradients(n_per_class=n // N_CLASSES)
    judged(gradients, codes * 0)
    tracemalloc.start()
    judged(gradients, codes * 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


# ----------------------------------------------------------------- watching


@pytest.mark.parametrize(
    ("given", "rounds"),
    [
        ({"max_epochs": 12}, [1, 2, 3, 4]),
        ({"max_epochs": 40}, [4, 6, 8, 10, 12]),
        ({"warmup": 6, "every": 2}, [2, 4, 6, 8]),
        ({"warmup": 0, "every": 1}, [0, 1, 2]),
        ({"warmup": 5, "every": 1, "stop": 6}, [2, 3, 4, 5, 6]),
    ],
)
def test_rounds_begin_in_the_warmup(given, rounds):
    how = {"warmup": None, "every": None, "stop": None, "max_epochs": None, **given}
    epochs = Epochs.of(NeighborVotes(), **how)
    due = [epoch for epoch in range(40) if epochs.is_due(epoch)]
    assert due[: len(rounds)] == rounds
    assert epochs.stop is None or due == rounds
    others = Epochs.of(IsolatedMedoids(), **how)
    assert min(filter(others.is_due, range(40))) == epochs.warmup


def test_nothing_is_dropped_before_the_end_of_the_warmup():
    gradients, codes = near_classes()
    schedule = DropSchedule(codes, rule=NeighborVotes(), warmup=3, every=1)
    dropped = [schedule.step(epoch, gradients).n_dropped for epoch in (1, 2, 3)]
    assert dropped[:2] == [0, 0] and dropped[2] > 0
    assert set(schedule.dropped_at_epoch.tolist()) == {-1, 3}
    again = DropSchedule(codes, rule=NeighborVotes(), warmup=3, every=1)
    again.step(1, gradients)
    resumed = DropSchedule(codes, rule=NeighborVotes(), warmup=3, every=1)
    resumed.load_state_dict(again.state_dict())
    resumed.step(2, gradients), resumed.step(3, gradients)
    np.testing.assert_array_equal(resumed.keep, schedule.keep)


def test_a_classifier_drops_after_a_quarter_of_the_training():
    X, y = load_iris(return_X_y=True)
    X[0] = X[100]
    model = EPICClassifier(rule=NeighborVotes(), random_state=0).fit(X, y)
    assert [record.epoch for record in model.rounds_][:4] == [4, 6, 8, 10]
    assert not model.keep_[0] and model.dropped_at_epoch_[0] >= 10


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


# --------------------------------------------------------------------- in every room


def test_training_drops_by_the_rule(digits):
    X, y = digits[0][:600].copy(), digits[1][:600]
    poisons, targets = np.flatnonzero(y == 3)[:5], np.flatnonzero(y == 8)
    X[poisons] = X[targets[0]] + 1e-3 * X[poisons]
    model = EPICClassifier(
        lambda: torch.nn.Linear(64, 10),
        rule=NeighborVotes(),
        max_epochs=4,
        random_state=0,
    ).fit(X, y)
    assert not model.keep_[poisons].any()
    assert model.keep_.mean() > 0.85


@pytest.mark.parametrize("kind", [EPICFilter, EPICResampler])
def test_the_filters_drop_by_the_rule(digits, kind):
    X, y = digits
    detector = kind(LastLayerGradients(), rule=NeighborVotes()).fit(X, y)
    expected = drop(LastLayerGradients().fit(X, y).compute(X, y), y).keep
    np.testing.assert_array_equal(detector.keep_, expected)
    np.testing.assert_array_equal(kind(rule=NeighborVotes()).fit(X, y).keep_, expected)
    assert 0.85 < detector.keep_.mean() < 1


# -------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("cutoff", [0, -1.0, float("nan"), "2", None])
def test_a_wrong_cutoff_is_refused_before_any_work(cutoff):
    with pytest.raises(ValueError, match="'cutoff' parameter of NeighborVotes"):
        EPICFilter(rule=NeighborVotes(cutoff)).fit([[0.0], [1.0]], [0, 1])


# ----------------------------------------------------------------------- saved states


def test_a_saved_state_goes_on_and_other_rules_refuse_it():
    codes = make_gradients()[1]
    options = {"warmup": 0, "every": 1, "rule": NeighborVotes()}
    whole, half = DropSchedule(codes, **options), DropSchedule(codes, **options)
    for epoch in range(3):
        whole.step(epoch, make_gradients(epoch)[0])
    half.step(0, make_gradients(0)[0])
    resumed = DropSchedule(codes, **options)
    resumed.load_state_dict(half.state_dict())
    for epoch in (1, 2):
        resumed.step(epoch, make_gradients(epoch)[0])
    np.testing.assert_array_equal(resumed.keep, whole.keep)
    np.testing.assert_array_equal(resumed.isolation_score, whole.isolation_score)
    with pytest.raises(ValueError, match="'NeighborVotes', 'IsolatedMedoids'"):
        other = DropSchedule(codes, rule=IsolatedMedoids(), warmup=0, every=1)
        other.load_state_dict(half.state_dict())


@pytest.mark.parametrize("bias", [0.0, 1.0, -2.0])
def test_rows_with_nothing_but_a_bias_blind_the_rule_to_no_others(bias):
    rng, moved = np.random.default_rng(0), np.array([3, 103, 203])
    codes = np.repeat([0, 1, 2], 100)
    classes = codes.copy()
    classes[moved] = [1, 2, 0]
    # Like texts: of length 1, and little alike.
    inputs = rng.normal(size=(3, 200))[classes] + 1.5 * rng.normal(size=(300, 200))
    inputs = np.column_stack([unit(inputs), np.full(300, bias)])
    inputs[1::4, :-1] = 0  # none of the moved
    given = inputs.copy()
    found = judged(OuterProductGradients(rng.normal(size=(300, 3)), inputs), codes)
    assert found.flagged[moved].all()
    assert found.flagged.sum() <= 0.1 * len(codes)
    np.testing.assert_array_equal(inputs, given)


def test_few_or_rounded_values_cost_no_more_than_others():
    # One feature with a decimal, and six that are 0 or 1: nearly all rows have copies.
    iris, y = load_iris(return_X_y=True)
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=300)
    shares = np.where(labels, 0.75, 0.25)[:, None]
    tables = [(iris[:, [0]], y), (rng.random((300, 6)) < shares, labels)]
    for X, given in tables:
        assert not EPICFilter().fit(X, given).keep_.all()
        assert EPICFilter().fit(X, given).keep_.mean() > 0.9
    iris[0] = iris[100]  # which still is found, among numbers of one decimal or none
    assert not EPICFilter().fit(iris[:, 2:], y).keep_[0]
    assert not EPICFilter().fit(iris.round(), y).keep_[0]
