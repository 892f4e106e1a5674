"""Nearest neighbours against scikit-learn's brute force."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from epic_sklearn.medoids import nearest_neighbors
from epic_sklearn.rules import IsolatedMedoids, Memory, NeighborVotes

K = 20


def gradients_of(kind, dtype=np.float64):
    """400 examples, some of them double, some nearly."""
    rng = np.random.default_rng(0)
    errors = rng.dirichlet(np.full(5, 0.3), 400).astype(dtype)
    inputs = (np.maximum(rng.normal(size=(400, 70)), 0) + 0.1).astype(dtype)
    for factor in (errors, inputs):
        factor[:20] = factor[20]
        factor[30:60] = factor[60] * (1 + 1e-4 * rng.normal(size=factor[:30].shape))
    return {"narrow": errors, "wide": inputs}[kind]


def brute(gradients, codes):
    unit = normalize(gradients)
    found = np.full((len(codes), K), np.inf)
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        search = NearestNeighbors(algorithm="brute").fit(unit[rows])
        k = min(K, len(rows) - 1)
        if k:
            found[rows, :k] = search.kneighbors(n_neighbors=k)[0]
    return found


# Large and small classes, then small ones alone, which have a search of their own.
@pytest.mark.parametrize("p", [[0.5, 0.45, 0, 0.05], None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_distances_are_those_of_brute_force(kind, dtype, p):
    gradients = gradients_of(kind, dtype)
    rng = np.random.default_rng(1)
    codes = rng.choice(4, 400, p=p) if p else rng.permutation(np.arange(400) % 9)
    codes[0] = 2  # a class of one, or a larger one
    found, neighbors = nearest_neighbors(gradients, codes, K)
    exact = brute(gradients_of(kind), codes)
    # Doubles are up to 1e-7 apart, by products.
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-6)
    assert (found[(codes == 0) & (np.arange(400) < 20), 0] < 1e-6).all()
    some = np.isfinite(found)
    np.testing.assert_array_equal(neighbors == -1, ~some)
    assert (codes[neighbors] == codes[:, None])[some].all()
    assert (neighbors != np.arange(400)[:, None]).all()
    unit = normalize(gradients_of(kind))
    again = np.linalg.norm(unit[:, None] - unit[neighbors], axis=2)
    np.testing.assert_allclose(again[some], exact[some], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("power", [-300, -30, 30, 300])
def test_the_scale_changes_nothing(power):
    gradients, codes = gradients_of("wide"), np.arange(400) % 3
    found, neighbors = nearest_neighbors(gradients, codes, K)
    again, same = nearest_neighbors(np.ldexp(gradients, power), codes, K)
    np.testing.assert_array_equal(again, found)
    np.testing.assert_array_equal(same, neighbors)


@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_little_memory_changes_nothing(kind):
    gradients, codes = gradients_of(kind), np.zeros(400, dtype=int)
    found, neighbors = nearest_neighbors(gradients, codes, K)
    with config_context(working_memory=0.01):
        again, same = nearest_neighbors(gradients, codes, K)
    np.testing.assert_allclose(again, found, rtol=1e-6)
    assert (same == neighbors).mean() > 0.95  # ties apart


@pytest.mark.parametrize("kind", ["narrow", "wide"])
def test_large_classes_are_approximate_and_never_too_near(kind):
    gradients, codes = gradients_of(kind), np.arange(400) // 300
    exact = nearest_neighbors(gradients, codes, K)[0]
    found, again = (
        nearest_neighbors(gradients, codes, K, max_class_size=250, seed=3)[0]
        for _ in range(2)
    )
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(found[codes == 1], exact[codes == 1])
    assert (found >= exact * (1 - 1e-3) - 1e-6).all()
    assert np.median(found[:300] / exact[:300].clip(1e-12), axis=0)[3] < 1.3
    assert (found[:20, 3] < 1e-6).all()  # copies stay together


@pytest.mark.parametrize("rule", [NeighborVotes, IsolatedMedoids])
def test_rules_say_which_rows_they_judge_approximately(rule):
    gradients, codes = gradients_of("wide"), np.arange(400) // 300
    memory = Memory(np.ones(400, dtype=bool))
    details = rule(max_class_size=200).judge(gradients, codes, memory).details
    np.testing.assert_array_equal(details["approximate"], codes == 0)
    for exact in (None, 300):
        judged = rule(max_class_size=exact).judge(gradients, codes, memory)
        assert "approximate" not in judged.details
