"""NeighborVotes: its score, who votes, and when it watches and drops."""

import numpy as np
import pytest
from scipy.stats import norm, rankdata
from sklearn.datasets import load_iris
from test_rules_far_neighbors import make_gradients

from epic_sklearn import DropSchedule, EPICClassifier, OuterProductGradients
from epic_sklearn.epochs import Epochs
from epic_sklearn.medoids import neighbor_votes
from epic_sklearn.rules import IsolatedMedoids, Memory, NeighborVotes


def judged(gradients, codes, rule=None):
    memory = Memory(np.ones(len(codes), dtype=bool))
    return (rule or NeighborVotes()).judge(gradients, codes, memory)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def naive_score(gradients, codes):
    """Score as the docstring reads, one example after the other."""
    points, score, share = unit(gradients.inputs), np.zeros(len(codes)), []
    for i, own in enumerate(points):
        k = min(200, (codes == codes[i]).sum() // 3)
        order = np.argsort(np.linalg.norm(points - own, axis=1))
        votes = np.bincount(codes[order[1 : k + 1]], minlength=codes.max() + 1)
        share.append(np.delete(votes, codes[i]).max() / k)
    for code in np.unique(codes):
        rows, geometry = np.flatnonzero(codes == code), []
        for own in points[rows]:
            d = np.sort(np.linalg.norm(points[rows] - own, axis=1))
            d = d[1 : 1 + min(10, len(rows) // 6)]
            geometry.append(np.log(d[-1] ** 2 / d[0]))
        away = np.array(geometry) - np.median(geometry)
        z = away / (np.median(np.abs(away)) / norm.ppf(0.75))
        q = norm.ppf((rankdata(np.array(share)[rows].round(9)) - 0.5) / len(rows))
        score[rows] = q.clip(0) + z.clip(0, 10) / 4
    return score


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
