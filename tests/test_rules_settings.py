"""Settings reach the rules' work, and rounding changes no number of rows."""

import numpy as np
import pytest
from test_rules_isolated_medoids import naive_round, schedule
from test_rules_neighbor_votes import (
    judged,
    make_gradients,
    naive_score,
    near_classes,
)

from epic_sklearn import DropSchedule, find_medoids, logit_gradients
from epic_sklearn.medoids import nearest_neighbors
from epic_sklearn.rules import (
    ActivationClustering,
    HighLoss,
    IsolatedMedoids,
    Memory,
    NeighborVotes,
    RandomDrop,
)

CODES = np.arange(40) % 4
ERRORS = logit_gradients(np.random.default_rng(0).dirichlet(np.ones(4), 40), CODES)


def memory_of(codes, **how):
    return Memory(np.ones(len(codes), dtype=bool), **how)


@pytest.mark.parametrize("n_rare", [13, 20])
def test_a_rare_class_has_votes_of_its_own_below_half_of_the_others(n_rare):
    gradients, codes = near_classes(n_per_class=90)
    rows = np.arange(180 + n_rare)
    found, expected = (
        judged(gradients[rows], codes[rows]),
        (gradients[rows], codes[rows]),
    )
    np.testing.assert_allclose(found.score, naive_score(*expected), atol=1e-5)


@pytest.mark.parametrize("rule", [NeighborVotes, IsolatedMedoids])
def test_the_seed_decides_how_a_class_above_the_largest_size_is_split(rule):
    gradients, codes = make_gradients()
    first, again, other = (
        rule(max_class_size=30)
        .judge(gradients, codes, memory_of(codes, seed=seed))
        .score
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_the_number_of_medoids_stays_that_of_the_whole_class():
    y, rng = np.repeat([0, 1], 40), np.random.RandomState(1)
    rounds = schedule(y, 0, cluster_on="kept", subset_size=0.5)
    expected = np.ones(len(y), dtype=bool)
    for number in range(1, 4):
        if expected.sum() < 44:  # the floor is near
            break
        gradients = rng.standard_t(2, size=(len(y), 3))
        for label in (0, 1):
            rows = np.flatnonzero((y == label) & expected)
            share = min(1, 19.5 / len(rows))  # of which the ceiling is 20
            expected[rows] = naive_round(gradients[rows], y[rows], share)
        rounds.step(number, gradients)
        np.testing.assert_array_equal(rounds.keep, expected)
    assert number > 1


def test_the_metric_is_the_one_that_is_asked_for():
    rng = np.random.default_rng(0)
    gradients, codes = rng.normal(size=(120, 5)), np.arange(120) % 2
    longer = gradients * rng.lognormal(size=(120, 1))  # which no angle sees
    found = [
        IsolatedMedoids(metric="cosine").judge(some, codes, memory_of(codes)).details
        for some in (longer, gradients)
    ]
    np.testing.assert_array_equal(found[0]["medoid"], found[1]["medoid"])


def test_a_class_that_has_become_small_is_no_longer_approximate():
    rule = IsolatedMedoids(cluster_on="kept", max_class_size=30)
    gradients, codes = make_gradients()
    few = Memory(np.arange(len(codes)) % 4 == 0)  # 25 of 100
    assert "approximate" not in rule.judge(gradients, codes, few).details
    whole = rule.judge(gradients, codes, memory_of(codes)).details
    assert whole["approximate"].all()


def test_a_single_row_of_another_label_is_refused():
    labels = CODES.copy()
    labels[0] = 1
    with pytest.raises(ValueError, match="1 of 40 rows"):
        DropSchedule(labels, warmup=0).step(0, ERRORS)


def test_errors_of_finer_classes_than_the_labels_are_refused():
    rounds = DropSchedule(CODES // 2, rule=HighLoss(), warmup=0)
    with pytest.raises(ValueError, match="20 of 40 rows are not that of their label"):
        rounds.step(0, ERRORS)


def test_a_share_is_not_lowered_by_rounding():
    codes = np.zeros(100, dtype=int)  # 0.29 * 100 is 28.999...96
    found = RandomDrop(0.29).judge(np.zeros((100, 2)), codes, memory_of(codes))
    assert found.flagged.sum() == 29


def test_tiny_activations_are_split_like_large_ones():
    rng = np.random.default_rng(0)
    codes, inputs = np.repeat([0, 1], 50), rng.normal(size=(100, 3))
    inputs[:8] += 9
    large, tiny = (
        ActivationClustering().judge(inputs * scale, codes, memory_of(codes)).flagged
        for scale in (1.0, 1e-200)
    )
    assert large[:8].all()
    assert not large[8:50].any()
    np.testing.assert_array_equal(large, tiny)


def test_the_number_of_medoids_is_not_raised_by_rounding():
    gradients = np.arange(100.0)[:, None] ** 2  # 0.07 * 100 is 7.000...01
    assert len(find_medoids(gradients, np.zeros(100), subset_size=0.07).indices) == 7


def test_the_median_gap_is_that_of_examples_without_a_double():
    gradients = np.array([0.0] * 6 + [1, 3, 6])[:, None]
    gap = find_medoids(gradients, np.zeros(9)).gap
    np.testing.assert_allclose(gap, [0] * 6 + [0.5, 1, 1.5])


def test_each_part_of_a_class_has_a_medoid():
    gradients = np.random.RandomState(0).normal(size=(40, 2))
    how = {"subset_size": 0.01, "max_class_size": 10, "random_state": 0}
    assert len(find_medoids(gradients, np.zeros(40), **how).indices) == 4


def test_small_parts_of_a_class_still_hold_all_neighbors():
    points = np.random.RandomState(0).normal(size=(100, 3))
    distances, _ = nearest_neighbors(points, np.zeros(100, int), 10, max_class_size=12)
    assert np.isfinite(distances).all()
