"""The paper's rule against naive versions of itself: flags, scores, rounds."""

import warnings
from itertools import pairwise

import numpy as np
import pytest

from epic_sklearn import (
    DropSchedule,
    EPICFilter,
    Medoids,
    PrecomputedGradients,
    find_medoids,
    flag_isolated,
    isolation_score,
)
from epic_sklearn.rules import IsolatedMedoids


def clustered(seed, n_per_class=40, n_classes=3, d=4):
    """Gradients of each class in three clumps and a thin halo."""
    rng = np.random.RandomState(seed)
    y = np.repeat(np.arange(n_classes), n_per_class)
    clumps = rng.randn(n_classes, 3, d) * 5
    spread = np.where(rng.rand(len(y)) < 0.15, 4.0, 0.3)
    X = clumps[y, rng.randint(3, size=len(y))]
    X = X + rng.randn(len(y), d) * spread[:, None]
    order = rng.permutation(len(y))
    return X[order], y[order]


def schedule(y, min_class_fraction=0.5, **parameters):
    """A round at each epoch, by the paper's rule."""
    return DropSchedule(
        y,
        rule=IsolatedMedoids(**parameters),
        warmup=0,
        every=1,
        min_class_fraction=min_class_fraction,
        random_state=0,
    )


def naive_round(gradients, y, subset_size):
    """One round of the published algorithm: greedy, argmax, drop singletons."""
    keep = np.ones(len(y), dtype=bool)
    for label in np.unique(y):
        rows = np.flatnonzero(y == label)
        G = gradients[rows]
        distance = np.sqrt(((G[:, None] - G[None]) ** 2).sum(axis=2))
        similarity = distance.max() - distance
        covered, chosen = np.zeros(len(rows)), []
        for _ in range(int(np.ceil(subset_size * len(rows)))):
            gains = np.maximum(similarity, covered).sum(axis=1)
            gains[chosen] = -np.inf
            chosen.append(int(np.argmax(gains)))
            covered = np.maximum(covered, similarity[chosen[-1]])
        sizes = np.bincount(
            np.argmax(similarity[chosen], axis=0), minlength=len(chosen)
        )
        keep[rows[np.array(chosen)[sizes == 1]]] = False
    return keep


def dropped_rank_first(score, keep, y):
    """Whether in each class all dropped rows score above all others."""
    for label in np.unique(y):
        mine = y == label
        dropped, rest = score[mine & ~keep], score[mine & keep]
        if len(dropped) and dropped.min() <= rest.max():
            return False
    return True


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("subset_size", [0.1, 0.3])
def test_one_round_is_the_published_algorithm(seed, subset_size):
    X, y = clustered(seed)
    detector = EPICFilter(
        PrecomputedGradients(),
        rule=IsolatedMedoids(subset_size=subset_size),
        min_class_fraction=0,
    )
    expected = naive_round(X, y, subset_size)
    assert not expected.all()
    np.testing.assert_array_equal(detector.fit(X, y).keep_, expected)


def test_rounds_cluster_everything_and_intersect_as_the_published_code_does():
    y = clustered(0)[1]
    rng = np.random.RandomState(0)
    rounds = schedule(y, min_class_fraction=0)
    expected = np.ones(len(y), dtype=bool)
    for number in range(1, 4):
        gradients = rng.standard_t(2, size=(len(y), 3))
        expected &= naive_round(gradients, y, 0.2)
        rounds.step(number, gradients)
        np.testing.assert_array_equal(rounds.keep, expected)


def test_cluster_on_kept_clusters_what_is_left_with_the_first_number_of_medoids():
    y = clustered(0)[1]
    rng = np.random.RandomState(1)
    rounds = schedule(y, cluster_on="kept", min_class_fraction=0)
    budgets = {label: int(np.ceil(0.2 * (y == label).sum())) for label in set(y)}
    expected = np.ones(len(y), dtype=bool)
    for number in range(1, 4):
        gradients = rng.standard_t(2, size=(len(y), 3))
        for label in set(y):
            rows = np.flatnonzero((y == label) & expected)
            share = (budgets[label] - 0.5) / len(rows)  # ceil gives the budget
            expected[rows] = naive_round(gradients[rows], y[rows], share)
        rounds.step(number, gradients)
        np.testing.assert_array_equal(rounds.keep, expected)
    medoid = rounds.details["medoid"]
    np.testing.assert_array_equal(y[medoid], y)
    np.testing.assert_array_equal(medoid[medoid], medoid)


@pytest.mark.parametrize("cluster_on", ["all", "kept"])
def test_dropped_stays_dropped_and_the_record_says_when(cluster_on):
    y = clustered(0)[1]
    rng = np.random.RandomState(2)
    rounds = schedule(y, cluster_on=cluster_on)
    before = rounds.keep
    for epoch in (3, 5, 9):
        gradients = rng.standard_t(2, size=(len(y), 3))
        record = rounds.step(epoch, gradients)
        assert not (rounds.keep & ~before).any()
        assert record.n_kept == rounds.keep.sum()
        assert record.n_dropped == before.sum() - rounds.keep.sum()
        np.testing.assert_array_equal(
            rounds.dropped_at_epoch == epoch, before & ~rounds.keep
        )
        naive = abs(
            np.linalg.norm(gradients[rounds.keep].mean(axis=0))
            - np.linalg.norm(gradients.mean(axis=0))
        )
        assert record.rho == pytest.approx(naive, rel=1e-12)
        before = rounds.keep
    assert [r.epoch for r in rounds.rounds] == [3, 5, 9]
    np.testing.assert_array_equal(rounds.dropped_at_epoch == -1, rounds.keep)


def test_bad_gradients_leave_the_rounds_as_they_were():
    X, y = clustered(0)
    rounds = schedule(y)
    rounds.step(1, X)
    before = rounds.state_dict()
    for bad in (X[:-1], X[:, 0], np.where(X > 5, np.nan, X), X[:, :0]):
        with pytest.raises(ValueError, match="Gradient features"):
            rounds.step(2, bad)
    assert before.keys() == rounds.state_dict().keys()
    for name, value in rounds.state_dict().items():
        np.testing.assert_equal(value, before[name])


def test_saved_rounds_go_on_as_if_never_interrupted():
    y = clustered(0)[1]
    gradients = np.random.RandomState(3).standard_t(2, size=(4, len(y), 3))
    options = {"threshold": 2, "min_class_fraction": 0.8, "subset_size": 0.4}
    whole, first, second = (schedule(y, **options) for _ in range(3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch, g in enumerate(gradients):
            whole.step(epoch, g)
    n_warnings = len(caught)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for epoch, g in enumerate(gradients):
            if epoch == 2:
                second.load_state_dict(first.state_dict())
            (first if epoch < 2 else second).step(epoch, g)
    assert len(caught) == n_warnings > 0
    for name in ("keep", "dropped_at_epoch", "isolation_score"):
        np.testing.assert_array_equal(getattr(second, name), getattr(whole, name))
    for name in ("cluster_size", "medoid"):
        np.testing.assert_array_equal(second.details[name], whole.details[name])
    with pytest.raises(ValueError, match="other settings"):
        schedule(y).load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="labels"):
        schedule(1 - y, **options).load_state_dict(first.state_dict())


def made_up(cluster_size, gap):
    n = len(cluster_size)
    return Medoids(
        indices=np.arange(n),
        gains=np.ones(n),
        assigned_to=np.arange(n),
        cluster_size=np.array(cluster_size),
        gap=np.array(gap, dtype=float),
    )


def test_score_orders_by_cluster_size_then_by_distance_to_the_nearest():
    gaps = [0, 1e-9, 0.5, 1, 2, 30, 1e6]
    sizes = np.repeat([1, 2, 3, 7, 500], len(gaps))
    score = isolation_score(made_up(sizes, np.tile(gaps, 5))).reshape(5, -1)
    assert (np.diff(score, axis=1) > 0).all()
    assert (score[:-1].min(axis=1) > score[1:].max(axis=1)).all()


@pytest.mark.parametrize("gap", [0, 1e-300, 1, 1e16, 1e17, 1e300])
@pytest.mark.parametrize("size", [1, 2, 3, 1000, 10**6])
def test_score_stays_inside_the_documented_bounds_at_any_distance(size, gap):
    # Gradients of a converged model differ by 20 orders of magnitude.
    score = isolation_score(made_up([size], [gap]))[0]
    assert 1 / (size + 1) <= score < 1 / size


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [1, 2, 5])
def test_flags_are_small_clusters_and_score_above_all_others(seed, threshold):
    X, y = clustered(seed)
    medoids = find_medoids(X, y)
    flagged = flag_isolated(medoids, threshold)
    naive_size = np.array([(medoids.assigned_to == m).sum() for m in range(len(y))])
    np.testing.assert_array_equal(flagged, naive_size[medoids.assigned_to] <= threshold)
    assert dropped_rank_first(isolation_score(medoids), ~flagged, np.zeros_like(y))


def test_a_higher_threshold_flags_a_superset():
    X, y = clustered(4)
    medoids = find_medoids(X, y, subset_size=0.3)
    flags = [flag_isolated(medoids, t) for t in range(1, 41)]
    for lower, higher in pairwise(flags):
        assert not (lower & ~higher).any()
    assert flags[0].any() and not flags[0].all() and flags[-1].all()


def test_a_larger_subset_flags_a_superset_of_singletons():
    # Greedy choices are nested, so a cluster only shrinks as medoids are added.
    X, y = clustered(4)
    flags = [
        flag_isolated(find_medoids(X, y, subset_size=k / 20)) for k in range(1, 21)
    ]
    for lower, higher in pairwise(flags):
        assert not (lower & ~higher).any()
    assert flags[-1].all()


@pytest.mark.parametrize("threshold", [0, -1, 1.0, 1.5, "1", None])
def test_threshold_must_be_a_positive_integer(threshold):
    with pytest.raises(ValueError, match="threshold"):
        flag_isolated(made_up([1], [0]), threshold)


@pytest.mark.parametrize("fraction", [0, 0.3, 0.7])
def test_a_class_is_never_emptied_and_dropped_rank_first_over_rounds(fraction):
    y = clustered(0)[1]
    rng = np.random.RandomState(5)
    rounds = schedule(y, fraction, subset_size=0.8, threshold=2)
    with pytest.warns(UserWarning, match="class"):
        for number in range(1, 6):
            rounds.step(number, rng.standard_t(2, size=(len(y), 3)))
            assert dropped_rank_first(rounds.isolation_score, rounds.keep, y)
    for label in set(y):
        kept = rounds.keep[y == label].sum()
        assert kept == max(1, np.ceil(fraction * (y == label).sum()))


def test_each_class_at_its_floor_is_named_by_exactly_one_warning():
    # Distinct gradients with subset_size 1 are all singletons, equal ones none.
    distinct, equal = np.arange(12.0)[:, None], np.zeros((12, 1))
    y = np.repeat(["cat", "dog"], 12)
    rounds = schedule(y, subset_size=1.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rounds.step(1, np.concatenate([distinct**2, equal]))
        rounds.step(2, np.concatenate([distinct**3, equal]))
        rounds.step(3, np.concatenate([distinct**2, distinct**3]))
    messages = [str(w.message) for w in caught]
    assert len(messages) == 2
    assert "'cat'" in messages[0] and "'dog'" not in messages[0]
    assert "'dog'" in messages[1] and "'cat'" not in messages[1]
    assert rounds.keep.sum() == 12
