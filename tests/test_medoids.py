"""Selection against apricot's naive greedy and against brute force."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from math import ceil

import numpy as np
import pytest
import torch
from apricot import FacilityLocationSelection
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.metrics import pairwise_distances
from threadpoolctl import ThreadpoolController, threadpool_limits

from epic_sklearn import OuterProductGradients, find_medoids
from epic_sklearn._utils import resolve_seed
from epic_sklearn.medoids import OPTIMIZER_NAMES, distances_between
from epic_sklearn.medoids.distances import Distances
from epic_sklearn.medoids.greedy import FacilityLocation, room_for_lists

MAY_CHOOSE_FEWER = ("sample", "sieve")  # "sample" considers 90% of a class


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


def matrix(gradients, metric="euclidean"):
    return Distances(gradients, metric).rows(np.arange(len(gradients)))


def choose(gradients, k, metric="euclidean", n_threads=1):
    distances = Distances(gradients, metric, n_threads)
    return FacilityLocation(k, optimizer="lazy").fit(distances).selection


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
    ours = choose(gradients, k)
    theirs = apricot_naive(matrix(gradients), k)
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
    distances = matrix(gradients)
    theirs = apricot_naive(distances, 15)
    best = objective(distances, np.array(theirs.ranking))
    assert objective(distances, choose(gradients, 15).ranking) >= best * (1 - 1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_stock_apricot_with_its_own_kernel_agrees(seed):
    gradients = np.random.RandomState(seed).dirichlet(np.full(10, 0.3), 60)
    similarities = matrix(gradients).max() - matrix(gradients).astype(np.float64)
    stock = FacilityLocationSelection(12, metric="precomputed", optimizer="naive")
    ours = choose(gradients, 12)
    np.testing.assert_array_equal(ours.ranking, stock.fit(similarities).ranking)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_within_its_guarantee_of_the_brute_force_optimum(seed):
    points = np.random.RandomState(seed).randn(8, 2)
    distances = matrix(points)
    best = max(objective(distances, list(c)) for c in combinations(range(8), 3))
    greedy = choose(points, 3).ranking
    assert objective(distances, greedy) >= (1 - 1 / np.e) * best


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
    if optimizer not in MAY_CHOOSE_FEWER:
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
    every = np.arange(600)
    ours = distances_between(gradients, every, every, metric)
    theirs = pairwise_distances(gradients, metric=metric)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(ours, ours.T)
    assert (np.diag(ours) == 0).all()


def test_cosine_distance_of_zero_gradients():
    gradients = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 2.0]])
    distances = distances_between(gradients, np.arange(3), np.arange(3), "cosine")
    np.testing.assert_allclose(distances, [[0, 0, 1], [0, 0, 1], [1, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_outer_product_distances_are_those_of_the_wide_array(metric, scale):
    rng = np.random.RandomState(0)
    errors, inputs = rng.randn(50, 4) * scale, rng.rand(50, 9)
    errors[1], inputs[1] = errors[0], inputs[0]
    outer = OuterProductGradients(errors, inputs)
    every = np.arange(50)
    ours = distances_between(outer, every, every, metric)
    theirs = pairwise_distances(outer.toarray(), metric=metric)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6 * theirs.max())
    assert ours[0, 1] == 0.0


def test_outer_product_distances_keep_their_digits_when_examples_are_close():
    rng = np.random.RandomState(0)
    errors = 1.0 + rng.randn(20, 3) * 1e-6
    inputs = 5.0 + rng.randn(20, 6) * 1e-6
    outer = OuterProductGradients(errors, inputs)
    ours = matrix(outer)
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
    for name in ("indices", "assigned_to", "cluster_size"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(on_demand, name))
    for name in ("gains", "gap"):  # products of other blocks differ in last digits
        one, other = getattr(stored, name), getattr(on_demand, name)
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize("optimizer", ["naive", "greedi", "stochastic"])
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


@pytest.mark.parametrize("working_memory", [1024, 1])
def test_number_of_threads_changes_nothing(working_memory):
    gradients = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 1500)
    with config_context(working_memory=working_memory):
        one, two, five = (choose(gradients, 150, n_threads=t) for t in (1, 2, 5))
    for other in (two, five):
        np.testing.assert_array_equal(one.ranking, other.ranking)
        np.testing.assert_array_equal(one.gains, other.gains)


def test_input_is_left_as_it_was():
    gradients = np.random.RandomState(0).randn(30, 3)
    before = gradients.copy()
    find_medoids(gradients, np.zeros(30), metric="cosine")
    np.testing.assert_array_equal(gradients, before)


def test_global_random_state_is_not_touched():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    find_medoids(np.eye(20), np.zeros(20), optimizer="stochastic")
    find_medoids(np.eye(20), np.zeros(20), optimizer="greedi", random_state=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_the_sieve_is_apricots_on_the_same_similarities():
    distances = matrix(np.random.RandomState(0).randn(60, 3))
    similarities = distances.max() - distances.astype(np.float64)
    stock = FacilityLocationSelection(6, metric="precomputed", optimizer="sieve")
    ours = FacilityLocation(6, optimizer="sieve")
    ours.fit(Distances(np.random.RandomState(0).randn(60, 3), "euclidean"))
    assert list(ours.ranking) == list(stock.fit(similarities).ranking)


def test_the_sieve_takes_classes_of_one_and_of_equal_gradients():
    gradients = np.vstack([np.random.RandomState(0).randn(30, 3), np.ones((4, 3))])
    y = np.repeat([0, 1, 2], [30, 1, 3])
    found = find_medoids(gradients, y, optimizer="sieve")
    assert len(set(found.indices)) == len(found.indices) <= 8
    assert {30, 31} <= set(found.indices)
    assert found.cluster_size[30:].tolist() == [1, 3, 3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subset_size": 0}, r"'subset_size' .* in the range \(0.0, 1.0\]. Got 0"),
        ({"subset_size": 1.5}, "Got 1.5"),
        ({"subset_size": "0.2"}, "Got '0.2'"),
        ({"metric": "l1"}, "'metric' .* Got 'l1'"),
        ({"optimizer": "fast"}, "'optimizer' .* Got 'fast'"),
        ({"optimizer": "random"}, "'random', which can't be used .* TypeError"),
        ({"optimizer": "bidirectional"}, "it raises ValueError.* Choose one of"),
        ({"max_class_size": 1}, "'max_class_size' .* Got 1"),
        ({"gradients": np.zeros((3, 2))}, "3 rows for 4 examples"),
        ({"gradients": np.zeros(4)}, "must have shape"),
        ({"gradients": np.zeros((4, 0))}, "at least one feature"),
        ({"gradients": np.array([["a"]] * 4)}, "real numbers"),
        ({"gradients": np.full((4, 1), np.nan)}, "NaN or infinity in 4 of 4"),
        ({"gradients": np.full((4, 1), np.inf)}, "NaN or infinity"),
        ({"y": []}, "y is empty"),
        ({"random_state": "seed"}, "'random_state' .* Got 'seed'"),
    ],
)
def test_bad_input_says_what_was_given(change, message):
    arguments = {"gradients": np.zeros((4, 2)), "y": [0, 0, 1, 1], **change}
    with pytest.raises(ValueError, match=message):
        find_medoids(**arguments)


def test_factors_of_different_length_are_refused():
    with pytest.raises(ValueError, match="errors has 2 rows and inputs 3"):
        OuterProductGradients(np.zeros((2, 1)), np.zeros((3, 1)))


def test_classes_side_by_side_leave_the_libraries_their_threads(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    gradients = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 3000)
    y = np.arange(3000) % 3
    pools = ThreadpoolController().select(user_api="blas")

    def threads():
        return [pool["num_threads"] for pool in pools.info()]

    with threadpool_limits(2, "blas"):
        before = threads()
        with ThreadPoolExecutor(3) as several:
            found = list(several.map(find_medoids, [gradients] * 6, [y] * 6))
        assert threads() == before
    whole = [find_medoids(gradients[y == c], y[y == c]).indices for c in range(3)]
    rows = [np.flatnonzero(y == c)[chosen] for c, chosen in enumerate(whole)]
    for medoids in found:
        np.testing.assert_array_equal(medoids.indices, np.concatenate(rows))


def test_import_and_fits_leave_torchs_threads_as_the_user_set_them():
    # apricot's parallel kernels set the OpenMP threads of the whole process.
    code = (
        "import torch, numpy as np; torch.set_num_threads(1); import epic_sklearn as e;"
        "assert torch.get_num_threads() == 1, 'import';"
        "X = np.random.randn(30, 2);"
        "names = ('naive', 'greedi', 'sieve');"
        "[e.find_medoids(X, [0] * 30, optimizer=o) for o in names];"
        "assert torch.get_num_threads() == 1, 'fit'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_class_in_parts_comes_close_to_the_exact_greedy(metric):
    gradients = np.random.RandomState(0).dirichlet(np.full(10, 0.3), 1200)
    how = {"metric": metric, "subset_size": 0.1, "random_state": 0}
    exact = find_medoids(gradients, np.zeros(1200), **how)
    split = find_medoids(gradients, np.zeros(1200), max_class_size=300, **how)
    assert exact.is_exact
    assert not split.is_exact
    assert len(split.indices) == 120
    distances = matrix(gradients, metric)
    ratio = objective(distances, split.indices) / objective(distances, exact.indices)
    assert 0.95 < ratio <= 1.001


def test_each_part_is_clustered_as_if_it_were_a_class():
    gradients = np.random.RandomState(0).randn(320, 4)
    split = find_medoids(gradients, np.zeros(320), max_class_size=80, random_state=0)
    order = np.random.RandomState(resolve_seed(0)).permutation(320)
    part_of = np.empty(320, dtype=int)
    for number, part in enumerate(np.array_split(order, 4)):
        part_of[part] = number
    alone = find_medoids(gradients, part_of)
    np.testing.assert_array_equal(split.assigned_to, alone.assigned_to)
    np.testing.assert_array_equal(split.gap, alone.gap)


def test_class_that_is_not_too_large_is_not_split():
    gradients = np.random.RandomState(0).randn(300, 4)
    y = np.repeat([0, 1], [100, 200])
    whole = find_medoids(gradients, y)
    split = find_medoids(gradients, y, max_class_size=150, random_state=0)
    small = y[whole.indices] == 0
    np.testing.assert_array_equal(whole.indices[small], split.indices[:20])
    assert not np.array_equal(whole.indices, split.indices)


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
def test_wide_gradients_by_products_give_the_distances_of_differences(kind, metric):
    gradients = wide_gradients(kind)
    every = np.arange(700)
    ours = distances_between(gradients, every, every, metric)
    wide = gradients if kind == "plain" else gradients.toarray()
    theirs = cdist(wide, wide, metric)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7 * theirs.max())
    assert (ours[cdist(wide, wide) == 0] == 0).all()


@pytest.mark.parametrize(("memory", "batch"), [(4, 64), (1, 1), (0.02, 3)])
@pytest.mark.parametrize("width", [10, 60])
def test_rows_made_again_choose_the_same(memory, batch, width, monkeypatch):
    gradients = np.random.RandomState(0).dirichlet(np.full(width, 0.3), 1500)
    stored = choose(gradients, 150)  # of 8.6 MiB
    monkeypatch.setattr("epic_sklearn.medoids.greedy.BATCH", batch)
    with config_context(working_memory=memory):
        again = choose(gradients, 150, n_threads=2)
    np.testing.assert_array_equal(stored.ranking, again.ranking)
    np.testing.assert_array_equal(stored.owner, again.owner)
    np.testing.assert_allclose(stored.gains, again.gains, rtol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZER_NAMES)
def test_no_medoid_occurs_twice(optimizer):
    # With doubles apricot's queue hands out one example again and again.
    gradients = np.repeat(np.random.RandomState(0).randn(10, 3), 4, axis=0)
    y = np.repeat([0, 1], [39, 1])
    medoids = find_medoids(
        gradients, y, subset_size=0.9, optimizer=optimizer, random_state=0
    )
    assert len(set(medoids.indices)) == len(medoids.indices)
    assert len(medoids.indices) == 37 or optimizer in MAY_CHOOSE_FEWER


def test_zero_outer_products_are_one_direction():
    errors = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]])
    outer = OuterProductGradients(errors, np.array([[1.0], [-2.0], [3.0]]))
    every = np.arange(3)
    ours = distances_between(outer, every, every, "cosine")
    np.testing.assert_allclose(ours, [[0, 0, 1], [0, 0, 1], [1, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gradients_of_any_size_keep_their_distances(dtype):
    gradients = np.random.RandomState(0).randn(20, 3).astype(dtype)
    for power in (-100, 0, 100):
        scaled = np.ldexp(gradients, power)
        ours = distances_between(scaled, np.arange(5), np.arange(5, 20), "euclidean")
        theirs = pairwise_distances(gradients[:5], gradients[5:])
        np.testing.assert_allclose(np.ldexp(ours, -power), theirs, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-150, 1e-25, 1e20, 1e150])
def test_the_size_of_a_common_part_changes_no_medoid(scale):
    varied = np.random.default_rng(0).normal(size=(30, 3))
    common, y = np.ones((30, 4)), np.zeros(30, int)
    for make in (
        lambda part: OuterProductGradients(varied, part),
        lambda part: OuterProductGradients(part, varied),
    ):
        expected = find_medoids(make(common), y)
        scaled = find_medoids(make(scale * common), y)
        np.testing.assert_array_equal(scaled.indices, expected.indices)
        np.testing.assert_allclose(scaled.gap, expected.gap, rtol=1e-5)


def test_a_common_part_that_hides_what_varies_is_refused():
    varied = np.random.default_rng(0).normal(size=(30, 3))
    hidden = OuterProductGradients(varied, np.full((30, 4), 1e200))
    with pytest.raises(ValueError, match="standardise the features"):
        find_medoids(hidden, np.zeros(30, int))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_working_memory_holds_in_every_thread(n_jobs, monkeypatch):
    seen = []

    def room(n, limit):
        seen.append(n)
        return room_for_lists(n, limit)

    monkeypatch.setattr("epic_sklearn.medoids.greedy.room_for_lists", room)
    X = np.random.default_rng(0).normal(size=(1200, 3))
    y = np.arange(1200) % 2
    with config_context(working_memory=0.1):  # less than the rows of a class
        few = find_medoids(X, y, n_jobs=n_jobs)
    assert seen == [600, 600]
    np.testing.assert_array_equal(few.indices, find_medoids(X, y).indices)


def test_labels_that_are_missing_are_refused():
    for missing in (np.nan, None):
        labels = np.array([missing, 1.0, 1.0, 2.0], dtype=object)
        with pytest.raises(ValueError, match="NaN or None in 1 of 4 rows"):
            find_medoids(np.eye(4), labels)


def test_longer_floats_are_taken_as_doubles():
    X = np.random.default_rng(0).normal(size=(20, 3))
    y, how = np.arange(20) % 2, {"metric": "cosine"}
    long = find_medoids(X.astype(np.longdouble), y, **how)
    np.testing.assert_array_equal(long.indices, find_medoids(X, y, **how).indices)
