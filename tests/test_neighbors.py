"""Distances to near neighbours against scikit-learn's brute force."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

from epic_sklearn.medoids import neighbor_distances
from epic_sklearn.rules import FarNeighbors, IsolatedMedoids, Memory

RANKS = (1, 4, 20)


def gradients_of(kind, dtype=np.float64):
    """400 examples, some of them double, some nearly."""
    rng = np.random.default_rng(0)
    errors = rng.dirichlet(np.full(5, 0.3), 400).astype(dtype)
    inputs = (np.maximum(rng.normal(size=(400, 70)), 0) + 0.1).astype(dtype)
    for factor in (errors, inputs):
        factor[:20] = factor[20]
        factor[30:60] = factor[60] * (1 + 1e-4 * rng.normal(size=factor[:30].shape))
    return {"narrow": errors, "wide": inputs}[kind]


def brute(gradients, codes, metric):
    found = np.full((len(codes), len(RANKS)), np.inf)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        search = NearestNeighbors(algorithm="brute", metric=metric).fit(gradients[rows])
        k = min(RANKS[-1], len(rows) - 1)
        if k:
            near = search.kneighbors(n_neighbors=k)[0]
            for place, rank in enumerate(RANKS):
                found[rows, place] = near[:, rank - 1] if rank <= k else np.inf
    return found


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_distances_are_those_of_brute_force(kind, dtype, metric):
    gradients = gradients_of(kind, dtype)
    codes = np.random.default_rng(1).choice([0, 1, 3], 400, p=[0.5, 0.45, 0.05])
    codes[0] = 2  # a class of one
    found = neighbor_distances(gradients, codes, RANKS, metric=metric)
    exact = brute(gradients_of(kind), codes, metric)
    # Doubles are up to 1e-7 apart, by products.
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-6)
    assert (found[(codes == 0) & (np.arange(400) < 20), 0] < 1e-6).all()


@pytest.mark.parametrize("power", [-300, -30, 30, 300])
def test_the_scale_changes_nothing(power):
    gradients, codes = gradients_of("wide"), np.arange(400) % 3
    scaled = np.ldexp(gradients, power)
    found = neighbor_distances(gradients, codes, RANKS)
    again = neighbor_distances(scaled, codes, RANKS)
    np.testing.assert_array_equal(again, np.ldexp(found, power))
    np.testing.assert_array_equal(
        neighbor_distances(scaled, codes, RANKS, metric="cosine"),
        neighbor_distances(gradients, codes, RANKS, metric="cosine"),
    )


@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_little_memory_changes_nothing(kind):
    gradients, codes = gradients_of(kind), np.zeros(400, dtype=int)
    found = neighbor_distances(gradients, codes, RANKS)
    with config_context(working_memory=0.01):
        again = neighbor_distances(gradients, codes, RANKS)
    np.testing.assert_allclose(again, found, rtol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_large_classes_are_approximate_and_never_too_near(kind, metric):
    gradients, codes = gradients_of(kind), np.arange(400) // 300
    exact = neighbor_distances(gradients, codes, RANKS, metric=metric)
    found, again = (
        neighbor_distances(
            gradients, codes, RANKS, metric=metric, max_class_size=250, seed=3
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(found[codes == 1], exact[codes == 1])
    assert (found >= exact * (1 - 1e-3) - 1e-7).all()
    assert np.median(found[:300] / exact[:300].clip(1e-12), axis=0)[1] < 1.3
    assert (found[:20, 1] < 1e-6).all()  # copies stay together


@pytest.mark.parametrize("rule", [FarNeighbors, IsolatedMedoids])
def test_rules_say_which_rows_they_judge_approximately(rule):
    gradients, codes = gradients_of("wide"), np.arange(400) // 300
    memory = Memory(np.ones(400, dtype=bool))
    details = rule(max_class_size=200).judge(gradients, codes, memory).details
    np.testing.assert_array_equal(details["approximate"], codes == 0)
    for exact in (None, 300):
        judged = rule(max_class_size=exact).judge(gradients, codes, memory)
        assert "approximate" not in judged.details
