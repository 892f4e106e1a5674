"""Our rule: what it finds, what it spares, and where it is refused."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import norm, rankdata
from sklearn.datasets import load_digits, load_iris

from epic_sklearn import (
    DropSchedule,
    EPICClassifier,
    EPICFilter,
    EPICResampler,
    EPICSubsetSampler,
    LastLayerGradients,
    OuterProductGradients,
)
from epic_sklearn.rules import FarNeighbors, IsolatedMedoids, neighbor_isolation

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


def naive_score(gradients, codes):
    """Score as its docstring reads, one example after the other."""

    def normal(values):
        return norm.ppf((rankdata(values) - 0.5) / len(values))

    score = np.zeros(len(codes))
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        units = [v / np.linalg.norm(v) for v in gradients.inputs[rows]]
        error = normal([np.linalg.norm(e) for e in gradients.errors[rows]])
        geometry, around = [], []
        for own in units:
            d = np.array([np.linalg.norm(own - other) for other in units])
            order = np.argsort(d)[1 : 1 + min(10, len(rows) // 6)]
            geometry.append(np.log(d[order[-1]] ** 2 / d[order[0]]))
            around.append(error[order].mean())
        away = np.array(geometry) - np.median(geometry)
        z = away / (np.median(np.abs(away)) / norm.ppf(0.75))
        around = normal(np.array(around).round(6))
        terms = [z.clip(max=10), error, np.maximum(error, around)]
        score[rows] = sum(term.clip(0) for term in terms) / 2
    return score


def plant(gradients, rows, spread):
    """Move rows to one point of another class, `spread` apart, and fit them badly."""
    rng = np.random.default_rng(1)
    inputs, errors = gradients.inputs.copy(), gradients.errors.copy()
    noise = rng.normal(size=(len(rows), N_INPUTS))
    inputs[rows] = inputs[-1] + spread * noise
    errors[rows] = 2.0
    return OuterProductGradients(errors, inputs)


def drop(gradients, codes, cutoff=2.3, **options):
    rule = FarNeighbors(cutoff)
    schedule = DropSchedule(codes, rule=rule, warmup=1, every=1, **options)
    schedule.step(1, gradients)
    return schedule


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


# ---------------------------------------------------------------------- the score


@pytest.mark.parametrize("n_per_class", [20, 40, 100])
def test_score_is_that_of_the_naive_loop(n_per_class):
    gradients, codes = make_gradients(n_per_class=n_per_class)
    np.testing.assert_allclose(
        neighbor_isolation(gradients, codes), naive_score(gradients, codes), atol=1e-5
    )


@pytest.mark.parametrize("factor", [1e-8, 1e-200, 1e200])
@pytest.mark.parametrize("which", ["errors", "inputs"])
def test_score_ignores_the_scale_of_gradients(factor, which):
    gradients, codes = make_gradients()
    factors = {"errors": gradients.errors, "inputs": gradients.inputs}
    factors[which] = factors[which] * factor
    np.testing.assert_allclose(
        neighbor_isolation(OuterProductGradients(**factors), codes),
        neighbor_isolation(gradients, codes),
        atol=1e-5,
    )


def test_score_belongs_to_the_row_whatever_the_order():
    gradients, codes = make_gradients()
    order = np.random.default_rng(0).permutation(len(codes))
    np.testing.assert_allclose(
        neighbor_isolation(gradients[order], codes[order]),
        neighbor_isolation(gradients, codes)[order],
        atol=1e-5,
    )


def test_classes_are_judged_apart():
    gradients, codes = make_gradients()
    alone = codes == 1
    np.testing.assert_array_equal(
        neighbor_isolation(gradients, codes)[alone],
        neighbor_isolation(gradients[alone], np.zeros(alone.sum(), int)),
    )


def test_two_calls_agree_to_the_last_bit():
    gradients, codes = make_gradients()
    np.testing.assert_array_equal(
        neighbor_isolation(gradients, codes), neighbor_isolation(gradients, codes)
    )


def test_float32_and_float64_flag_the_same():
    gradients, codes = make_gradients()
    single = OuterProductGradients(
        gradients.errors.astype(np.float32), gradients.inputs.astype(np.float32)
    )
    np.testing.assert_allclose(
        neighbor_isolation(single, codes),
        neighbor_isolation(gradients, codes),
        atol=1e-4,
    )


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


def test_copies_of_usual_examples_are_kept():
    gradients, codes = make_gradients()
    rows = np.arange(len(codes))
    rows[:30] = 50 + np.arange(30) // 5  # six examples, each six times
    kept = drop(gradients, codes).keep
    assert (drop(gradients[rows], codes).keep[:30] == kept[rows[:30]]).mean() > 0.8


def test_badly_fitted_examples_in_company_are_more_suspicious_than_scattered_ones():
    """More than are neighbours, in one region: poisons that isolate each other not."""
    gradients, codes = make_gradients(n_per_class=500)
    inputs, errors = gradients.inputs.copy(), gradients.errors.copy()
    errors[:30] = 2.0
    scattered = neighbor_isolation(OuterProductGradients(errors, inputs), codes)
    inputs[:30] += 3 * np.eye(N_INPUTS)[0]
    together = neighbor_isolation(OuterProductGradients(errors, inputs), codes)
    assert together[:30].mean() > scattered[:30].mean() + 0.3


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
    gradients = OuterProductGradients(np.full((60, 2), value), np.ones((60, 4)))
    assert drop(gradients, codes, cutoff=1e-6).keep.all()


def test_inputs_of_zero_are_taken():
    gradients, codes = make_gradients()
    zero = OuterProductGradients(gradients.errors, gradients.inputs * 0)
    assert np.isfinite(neighbor_isolation(zero, codes)).all()


@pytest.mark.parametrize("n_small", [1, 2, 10])
def test_classes_of_at_most_ten_lose_nothing(n_small):
    gradients, codes = make_gradients()
    codes = np.where(np.arange(len(codes)) < n_small, 9, codes)
    planted = plant(gradients, [0], 0.0)
    score = neighbor_isolation(planted, codes)
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
    schedule = DropSchedule(codes, rule=FarNeighbors(1.0), warmup=1, every=1)
    scores, means = [], []
    for epoch in range(1, 5):
        gradients = make_gradients(epoch)[0]
        schedule.step(epoch, gradients)
        scores.append(neighbor_isolation(gradients, codes))
        means.append(np.mean(scores, axis=0))
        np.testing.assert_array_equal(schedule.keep, np.max(means, axis=0) <= 1.0)
    np.testing.assert_allclose(schedule.isolation_score, np.max(means, axis=0))
    assert schedule.details == {}


def test_arrays_are_judged_by_their_direction_and_length():
    outer, codes = make_gradients()
    rows = outer.inputs
    np.testing.assert_array_equal(
        neighbor_isolation(rows, codes),
        neighbor_isolation(OuterProductGradients(rows, rows), codes),
    )
    schedule = DropSchedule(codes, warmup=0)
    schedule.step(0, rows)
    expected = neighbor_isolation(rows, codes) <= 2.3
    np.testing.assert_array_equal(schedule.keep, expected)


def test_memory_stays_far_below_the_matrix_of_distances():
    n = 4000  # whose float64 distances need 128 MB
    gradients, codes = make_gradients(n_per_class=n // N_CLASSES)
    neighbor_isolation(gradients, codes * 0)
    tracemalloc.start()
    neighbor_isolation(gradients, codes * 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


# --------------------------------------------------------------------- in every room


def test_training_drops_by_the_rule(digits):
    X, y = digits[0][:600].copy(), digits[1][:600]
    poisons, targets = np.flatnonzero(y == 3)[:5], np.flatnonzero(y == 8)
    X[poisons] = X[targets[0]] + 1e-3 * X[poisons]
    model = EPICClassifier(
        lambda: torch.nn.Linear(64, 10),
        rule=FarNeighbors(),
        max_epochs=4,
        random_state=0,
    ).fit(X, y)
    assert not model.keep_[poisons].any()
    assert model.keep_.mean() > 0.85


@pytest.mark.parametrize("kind", [EPICFilter, EPICResampler])
def test_the_filters_drop_by_the_rule(digits, kind):
    X, y = digits
    detector = kind(LastLayerGradients(), rule=FarNeighbors()).fit(X, y)
    expected = drop(LastLayerGradients().fit(X, y).compute(X, y), y).keep
    np.testing.assert_array_equal(detector.keep_, expected)
    np.testing.assert_array_equal(kind(rule=FarNeighbors()).fit(X, y).keep_, expected)
    assert 0.85 < detector.keep_.mean() < 1


@pytest.mark.parametrize("cutoff", [1.0, 2.0])
def test_schedule_and_sampler_drop_by_the_rule(cutoff):
    gradients, codes = make_gradients()
    options = {"warmup": 0, "rule": FarNeighbors(cutoff)}
    expected = drop(gradients, codes, cutoff=cutoff).keep
    schedule = DropSchedule(codes, **options)
    schedule.step(0, gradients)
    sampler = EPICSubsetSampler(codes, **options)
    sampler.step(0, gradients)
    np.testing.assert_array_equal(schedule.keep, expected)
    np.testing.assert_array_equal(sampler.keep, expected)
    assert sorted(sampler) == np.flatnonzero(expected).tolist()


# -------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("cutoff", [0, -1.0, float("nan"), "2", None])
def test_a_wrong_cutoff_is_refused_before_any_work(cutoff):
    with pytest.raises(ValueError, match="'cutoff' parameter of FarNeighbors"):
        EPICFilter(rule=FarNeighbors(cutoff)).fit([[0.0], [1.0]], [0, 1])


# ----------------------------------------------------------------------- saved states


def test_a_saved_state_goes_on_and_other_rules_refuse_it():
    codes = make_gradients()[1]
    options = {"warmup": 0, "every": 1, "rule": FarNeighbors()}
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
    with pytest.raises(ValueError, match="'FarNeighbors', 'IsolatedMedoids'"):
        other = DropSchedule(codes, rule=IsolatedMedoids(), warmup=0, every=1)
        other.load_state_dict(half.state_dict())


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
