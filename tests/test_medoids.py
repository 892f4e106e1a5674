"""Selection against apricot's naive greedy and against brute force."""

import subprocess
import sys
from itertools import combinations
from math import ceil

import numpy as np
import pytest
from apricot import FacilityLocationSelection
from sklearn import config_context
from sklearn.metrics import pairwise_distances

from epic_sklearn import OuterProductGradients, find_medoids
from epic_sklearn.medoids import OPTIMIZER_NAMES, FacilityLocation
from epic_sklearn.medoids._distances import Distances


class ApricotNaive(FacilityLocationSelection):
    """Stock apricot without its compiled kernel.

    Compiling it takes over a second a fit; the sum is apricot's own, in exact
    order, so that equal candidates tie exactly.
    """

    def _initialize(self, X):
        super(FacilityLocationSelection, self)._initialize(X)
        self.current_values_sum = 0.0

    def _calculate_gains(self, X, idxs=None):
        idxs = self.idxs if idxs is None else idxs
        return np.maximum(X[idxs] - self.current_values, 0.0).sum(axis=1)


def apricot_naive(distances, k):
    """apricot's naive greedy on the same float32 distances."""
    similarities = distances.max() - distances.astype(np.float64)
    return ApricotNaive(k, metric="precomputed", optimizer="naive").fit(similarities)


def objective(distances, chosen):
    nearest = distances[:, chosen].min(axis=1).astype(np.float64)
    return (distances.max() - nearest).sum()


def random_case(seed):
    """Draw gradients of one class and a budget; the hard cases come in turn."""
    rng = np.random.RandomState(seed)
    kind = seed % 8
    n = [1, 2, 3, 40, 75, 120][rng.randint(6)]
    d = rng.randint(1, 13)
    gradients = rng.dirichlet(np.full(max(d, 2), 0.3), n)
    if kind == 1:  # duplicates
        gradients = gradients[rng.randint(n, size=n)]
    elif kind == 2:  # all equal
        gradients[:] = gradients[0]
    elif kind == 3:
        gradients[:] = 0.0
    elif kind == 4:
        gradients *= 1e-8
    elif kind == 5:
        gradients *= 1e8
    elif kind == 6:  # many zeros among others, as when training converges
        gradients[rng.rand(n) < 0.7] = 0.0
    elif kind == 7:
        gradients = (gradients * 1e-8).astype(np.float32)
    k = [1, n, ceil(0.1 * n), ceil(0.2 * n), ceil(0.3 * n)][rng.randint(5)]
    return gradients, k


@pytest.mark.parametrize("seed", range(240))
def test_lazy_equals_apricots_naive(seed):
    gradients, k = random_case(seed)
    distances = Distances(gradients, "euclidean")
    ours = FacilityLocation(k).fit(distances)
    theirs = apricot_naive(distances.dense, k)
    # Two-point ties apart (equal distances both ways), the paths are the same.
    np.testing.assert_array_equal(ours.ranking, theirs.ranking)
    scale = max(1e-300, float(np.max(theirs.gains)))
    np.testing.assert_allclose(
        ours.gains / scale, np.array(theirs.gains) / scale, atol=1e-9
    )


@pytest.mark.parametrize("seed", range(12))
def test_lazy_is_never_worse_on_a_lattice_of_ties(seed):
    rng = np.random.RandomState(seed)
    gradients = rng.randint(3, size=(60, 3)).astype(float)
    distances = Distances(gradients, "euclidean")
    ours = FacilityLocation(15).fit(distances)
    theirs = apricot_naive(distances.dense, 15)
    best = objective(distances.dense, np.array(theirs.ranking))
    assert objective(distances.dense, ours.ranking) >= best * (1 - 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_stock_apricot_with_its_own_kernel_agrees(seed):
    rng = np.random.RandomState(seed)
    distances = Distances(rng.dirichlet(np.full(10, 0.3), 60), "euclidean")
    similarities = distances.dense.max() - distances.dense.astype(np.float64)
    stock = FacilityLocationSelection(12, metric="precomputed", optimizer="naive")
    ours = FacilityLocation(12).fit(distances)
    np.testing.assert_array_equal(ours.ranking, stock.fit(similarities).ranking)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_within_its_guarantee_of_the_brute_force_optimum(seed):
    points = np.random.RandomState(seed).randn(8, 2)
    distances = Distances(points, "euclidean")
    best = max(objective(distances.dense, list(c)) for c in combinations(range(8), 3))
    greedy = FacilityLocation(3).fit(distances).ranking
    assert objective(distances.dense, greedy) >= (1 - 1 / np.e) * best


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
@pytest.mark.parametrize("budget", [1, 5, 40])
def test_every_apricot_optimizer_name_passes_through(optimizer, budget):
    gradients = np.random.RandomState(0).randn(40, 3)
    medoids = [
        find_medoids(
            gradients,
            np.zeros(40),
            subset_size=budget / 40,
            optimizer=optimizer,
            random_state=3,
        )
        for _ in range(2)
    ]
    np.testing.assert_array_equal(medoids[0].indices, medoids[1].indices)
    assert len(set(medoids[0].indices)) == len(medoids[0].indices) <= budget
    # "sample" considers 90% of the class, "sieve" is a stream: both may fall short.
    if optimizer not in ("sieve", "sample"):
        assert len(medoids[0].indices) == budget


@pytest.mark.parametrize("optimizer", ["naive", "two-stage"])
def test_exact_optimizers_choose_the_same_medoids(optimizer):
    gradients = np.random.RandomState(1).dirichlet(np.full(10, 0.3), 150)
    y = np.random.RandomState(2).randint(3, size=150)
    lazy = find_medoids(gradients, y)
    other = find_medoids(gradients, y, optimizer=optimizer)
    np.testing.assert_array_equal(lazy.indices, other.indices)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_distances_are_scikit_learns(metric):
    gradients = np.random.RandomState(0).randn(600, 7) * 1e-3 + 1.0
    ours = Distances(gradients, metric).dense
    theirs = pairwise_distances(gradients, metric=metric)
    ours = ours * (theirs.max() / ours.max())  # ours are scaled inside a class
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(ours, ours.T)
    assert (np.diag(ours) == 0).all()


def test_cosine_distance_of_zero_gradients():
    gradients = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]])
    distances = Distances(gradients, "cosine").dense
    np.testing.assert_allclose(distances, [[0, 0, 1], [0, 0, 1], [1, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_outer_product_distances_are_those_of_the_wide_array(metric, scale):
    rng = np.random.RandomState(0)
    errors, inputs = rng.randn(50, 4) * scale, rng.rand(50, 9)
    errors[1], inputs[1] = errors[0], inputs[0]
    outer = OuterProductGradients(errors, inputs)
    ours = Distances(outer, metric).dense
    theirs = pairwise_distances(outer.toarray() / scale, metric=metric)
    np.testing.assert_allclose(
        ours / ours.max(), theirs / theirs.max(), rtol=1e-5, atol=1e-6
    )
    assert ours[0, 1] == 0.0


def test_outer_product_distances_keep_their_digits_when_examples_are_close():
    rng = np.random.RandomState(0)
    errors = 1.0 + rng.randn(20, 3) * 1e-6
    inputs = 5.0 + rng.randn(20, 6) * 1e-6
    outer = OuterProductGradients(errors, inputs)
    ours = Distances(outer, "euclidean").dense
    theirs = np.linalg.norm(outer.toarray()[:, None] - outer.toarray()[None], axis=2)
    np.testing.assert_allclose(ours / ours.max(), theirs / theirs.max(), atol=1e-4)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("factored", [False, True])
def test_class_larger_than_working_memory_gives_the_same_medoids(metric, factored):
    rng = np.random.RandomState(0)
    gradients = rng.dirichlet(np.full(10, 0.3), 700)
    gradients[rng.rand(700) < 0.2] = 0.0
    if factored:
        gradients = OuterProductGradients(gradients, rng.rand(700, 6))
    stored = find_medoids(gradients, np.zeros(700), metric=metric)
    with config_context(working_memory=1):  # 4 * 700**2 bytes are 1.9 MiB
        on_demand = find_medoids(gradients, np.zeros(700), metric=metric)
    for name in ("indices", "gains", "assigned_to", "cluster_size", "gap"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(on_demand, name))


@pytest.mark.parametrize("optimizer", ["naive", "greedi", "stochastic", "sieve"])
def test_apricots_optimizers_work_without_the_matrix(optimizer):
    gradients = np.random.RandomState(0).randn(600, 4)
    kwargs = {"subset_size": 0.02, "optimizer": optimizer, "random_state": 0}
    stored = find_medoids(gradients, np.zeros(600), **kwargs)
    with config_context(working_memory=1):
        on_demand = find_medoids(gradients, np.zeros(600), **kwargs)
    np.testing.assert_array_equal(stored.indices, on_demand.indices)


def test_classes_of_different_size_are_independent():
    # The published code offsets cluster numbers wrongly for such classes.
    rng = np.random.RandomState(0)
    y = np.repeat(["c", "a", "b"], [300, 100, 50])
    order = rng.permutation(450)
    gradients, y = rng.randn(450, 5), y[order]
    together = find_medoids(gradients, y)
    for label in "abc":
        rows = np.flatnonzero(y == label)
        alone = find_medoids(gradients[rows], y[rows])
        inside = np.isin(together.indices, rows)
        np.testing.assert_array_equal(together.indices[inside], rows[alone.indices])
        np.testing.assert_array_equal(
            together.assigned_to[rows], rows[alone.assigned_to]
        )
        np.testing.assert_array_equal(together.cluster_size[rows], alone.cluster_size)
    assert list(np.bincount(np.searchsorted(["a", "b", "c"], y[together.indices]))) == [
        20,
        10,
        60,
    ]


def test_each_row_is_assigned_to_its_nearest_medoid():
    rng = np.random.RandomState(0)
    gradients, y = rng.randn(200, 4), rng.randint(2, size=200)
    medoids = find_medoids(gradients, y, subset_size=0.1)
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        own = np.intersect1d(medoids.indices, rows)
        nearest = own[
            pairwise_distances(gradients[rows], gradients[own]).argmin(axis=1)
        ]
        np.testing.assert_array_equal(medoids.assigned_to[rows], nearest)
    sizes = np.bincount(medoids.assigned_to, minlength=200)
    np.testing.assert_array_equal(medoids.cluster_size, sizes[medoids.assigned_to])


def test_duplicates_share_one_cluster_even_when_both_are_medoids():
    gradients = np.zeros((10, 2))
    medoids = find_medoids(gradients, np.zeros(10), subset_size=0.5)
    np.testing.assert_array_equal(medoids.indices, range(5))
    np.testing.assert_array_equal(medoids.cluster_size, 10)


@pytest.mark.parametrize("power", [-26, 26])
def test_scale_changes_nothing(power):
    gradients = np.random.RandomState(0).dirichlet(np.full(5, 0.5), 200)
    plain = find_medoids(gradients, np.zeros(200))
    scaled = find_medoids(gradients * 2.0**power, np.zeros(200))
    np.testing.assert_array_equal(plain.indices, scaled.indices)
    np.testing.assert_array_equal(plain.gains, scaled.gains)


def test_number_of_jobs_changes_nothing():
    rng = np.random.RandomState(0)
    gradients, y = rng.randn(500, 6), rng.randint(7, size=500)
    one, two = (find_medoids(gradients, y, n_jobs=j) for j in (1, 2))
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.assigned_to, two.assigned_to)


@pytest.mark.parametrize("max_bytes", [None, 0])
def test_number_of_threads_changes_nothing(max_bytes):
    gradients = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 1500)
    selections = [
        FacilityLocation(150).fit(Distances(gradients, "euclidean", max_bytes, threads))
        for threads in (1, 2, 5)
    ]
    for other in selections[1:]:
        np.testing.assert_array_equal(selections[0].ranking, other.ranking)
        np.testing.assert_array_equal(selections[0].gains, other.gains)


def test_input_is_left_as_it_was():
    gradients = np.random.RandomState(0).randn(30, 3)
    before = gradients.copy()
    find_medoids(gradients, np.zeros(30), metric="cosine")
    np.testing.assert_array_equal(gradients, before)


def test_global_random_state_is_not_touched():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    find_medoids(np.eye(20), np.zeros(20), optimizer="stochastic")
    find_medoids(np.eye(20), np.zeros(20), optimizer="random", random_state=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subset_size": 0}, "subset_size is 0"),
        ({"subset_size": 1.5}, r"in \(0, 1\]"),
        ({"subset_size": "0.2"}, "subset_size is '0.2'"),
        ({"metric": "l1"}, "metric is 'l1'; choose one of"),
        ({"optimizer": "fast"}, "optimizer is 'fast'; choose one of"),
        ({"gradients": np.zeros((3, 2))}, "3 rows for 4 examples"),
        ({"gradients": np.zeros(4)}, "must have shape"),
        ({"gradients": np.zeros((4, 0))}, "at least one feature"),
        ({"gradients": np.array([["a"]] * 4)}, "real numbers"),
        ({"gradients": np.full((4, 1), np.nan)}, "NaN or infinity in 4 of 4"),
        ({"gradients": np.full((4, 1), np.inf)}, "NaN or infinity"),
        ({"y": []}, "y is empty"),
        ({"random_state": "seed"}, "random_state is 'seed'"),
    ],
)
def test_bad_input_says_what_was_given(change, message):
    arguments = {"gradients": np.zeros((4, 2)), "y": [0, 0, 1, 1], **change}
    with pytest.raises(ValueError, match=message):
        find_medoids(**arguments)


def test_factors_of_different_length_are_refused():
    with pytest.raises(ValueError, match="errors has 2 rows and inputs 3"):
        OuterProductGradients(np.zeros((2, 1)), np.zeros((3, 1)))


def test_import_and_fits_leave_torchs_threads_as_the_user_set_them():
    # apricot's parallel kernels set the OpenMP threads of the whole process.
    code = (
        "import torch, numpy as np; torch.set_num_threads(1); import epic_sklearn as e;"
        "assert torch.get_num_threads() == 1, 'import';"
        "X = np.random.randn(30, 2);"
        "[e.find_medoids(X, [0] * 30, optimizer=o) for o in ('naive', 'sieve')];"
        "assert torch.get_num_threads() == 1, 'fit'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_two_round_split_comes_close_to_the_exact_greedy(metric):
    gradients = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 1200)
    exact = find_medoids(gradients, np.zeros(1200), metric=metric, subset_size=0.1)
    split = find_medoids(
        gradients,
        np.zeros(1200),
        metric=metric,
        subset_size=0.1,
        max_class_size=300,
        random_state=0,
    )
    assert len(split.indices) == 120
    distances = Distances(gradients, metric).dense
    ratio = objective(distances, split.indices) / objective(distances, exact.indices)
    assert 0.98 < ratio <= 1.001
    nearest = split.indices[distances[:, split.indices].argmin(axis=1)]
    np.testing.assert_array_equal(split.assigned_to, nearest)


def test_class_that_is_not_too_large_is_not_split():
    gradients = np.random.RandomState(0).randn(300, 4)
    y = np.repeat([0, 1], [100, 200])
    whole = find_medoids(gradients, y)
    split = find_medoids(gradients, y, max_class_size=150, random_state=0)
    small = y[whole.indices] == 0
    np.testing.assert_array_equal(whole.indices[small], split.indices[small])
    assert not np.array_equal(whole.indices, split.indices)
    with pytest.raises(ValueError, match="max_class_size is 1"):
        find_medoids(gradients, y, max_class_size=1)


def wide_gradients(kind, n=700):
    rng = np.random.RandomState(0)
    errors = rng.dirichlet(np.full(5, 0.3), n)
    hidden = np.maximum(rng.randn(n, 60) + 0.5, 0) * 10
    repeated = rng.choice(n, 100)
    errors[repeated[:50]], hidden[repeated[:50]] = (
        errors[repeated[50:]],
        hidden[repeated[50:]],
    )
    hidden[:20] = hidden[20:40] * (1 + 1e-9)
    if kind == "inputs":
        return OuterProductGradients(errors, hidden)
    return OuterProductGradients(hidden, errors) if kind == "points" else hidden


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", ["plain", "inputs", "points"])
def test_wide_gradients_by_products_give_the_distances_of_differences(metric, kind):
    gradients = wide_gradients(kind)
    by_products = Distances(gradients, metric, n_threads=2)
    by_differences = Distances(gradients, metric, max_bytes=0)
    rows = np.vstack([by_differences[i] for i in range(700)])
    np.testing.assert_allclose(by_products.dense, rows, rtol=1e-5, atol=0)
    np.testing.assert_array_equal(by_products.dense == 0, rows == 0)
    for ours, theirs in zip(
        by_products.statistics, by_differences.statistics, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    stored = FacilityLocation(70).fit(by_products)
    on_demand = FacilityLocation(70).fit(by_differences)
    best = objective(rows, on_demand.ranking)
    assert objective(rows, stored.ranking) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("optimizer", ["lazy", "naive", "sieve"])
def test_large_classes_side_by_side_are_those_one_by_one(optimizer, monkeypatch):
    rng = np.random.RandomState(0)
    gradients, y = rng.randn(900, 3), rng.randint(3, size=900)
    options = {"subset_size": 0.03, "optimizer": optimizer}
    one_by_one = find_medoids(gradients, y, **options)
    monkeypatch.setattr("epic_sklearn.medoids._find.LARGE_CLASS", 10)
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    side_by_side = find_medoids(gradients, y, **options)
    np.testing.assert_array_equal(one_by_one.indices, side_by_side.indices)
    np.testing.assert_array_equal(one_by_one.cluster_size, side_by_side.cluster_size)


def test_batches_of_stale_candidates_in_threads_choose_the_same(monkeypatch):
    gradients = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 1500)
    one = FacilityLocation(150).fit(Distances(gradients, "euclidean", 0, 1))
    monkeypatch.setattr("epic_sklearn.medoids._lazy.MANY", 100)
    monkeypatch.setattr("epic_sklearn.medoids._lazy.PATIENCE", 2)
    batches = FacilityLocation(150).fit(Distances(gradients, "euclidean", 0, 3))
    np.testing.assert_array_equal(one.ranking, batches.ranking)
    np.testing.assert_array_equal(one.gains, batches.gains)


@pytest.mark.parametrize("spatial", [False, True])
def test_gains_kept_in_fewer_parts_choose_the_same(monkeypatch, spatial):
    gradients = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 1500)
    fine = FacilityLocation(150).fit(Distances(gradients, "euclidean", 0))
    monkeypatch.setattr("epic_sklearn.medoids._lazy.PARTS_SHARE", 1e-5)
    coarse = FacilityLocation(150).fit(
        Distances(gradients, "euclidean", 0, spatial=spatial)
    )
    np.testing.assert_array_equal(fine.ranking, coarse.ranking)
    np.testing.assert_allclose(fine.gains, coarse.gains, rtol=1e-12)
