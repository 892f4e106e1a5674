"""Selection in torch, on the processor here; on a GPU where there is one."""

import numpy as np
import pytest
import torch

from epic_sklearn import DropSchedule, find_medoids
from epic_sklearn.medoids import _device
from epic_sklearn.medoids._device import choose_on_device, in_batches

NEEDS_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device here"
)


def gradients_of(seed, n=300, d=6, dtype=np.float32):
    rng = np.random.RandomState(seed)
    gradients = rng.dirichlet(np.full(d, 0.3), n).astype(dtype)
    if seed % 3 == 1:  # doubles
        gradients = gradients[rng.randint(n, size=n)]
    elif seed % 3 == 2:  # converged
        gradients[rng.rand(n) < 0.5] = 0.0
        gradients *= 1e-8
    return gradients


def as_tensors(gradients, y, device="cpu"):
    classes = [np.flatnonzero(y == label) for label in np.unique(y)]
    budgets = [max(1, int(np.ceil(0.2 * len(rows) - 1e-9))) for rows in classes]
    return torch.tensor(gradients, device=device), classes, budgets


def assert_same(found, classes, medoids):
    ranked = [rows[one.ranking] for rows, one in zip(classes, found, strict=True)]
    np.testing.assert_array_equal(np.concatenate(ranked), medoids.indices)
    for rows, one in zip(classes, found, strict=True):
        owners = rows[one.ranking[one.owner]]
        np.testing.assert_array_equal(owners, medoids.assigned_to[rows])
    gains = np.concatenate([one.gains for one in found])
    np.testing.assert_allclose(gains, medoids.gains, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("seed", range(9))
def test_torch_chooses_the_medoids_of_the_compiled_kernels(seed, metric):
    gradients = gradients_of(seed)
    y = np.random.RandomState(seed).choice(4, 300, p=[0.5, 0.3, 0.19, 0.01])
    y[:2] = [0, 3]
    medoids = find_medoids(gradients, y, metric=metric)
    tensor, classes, budgets = as_tensors(gradients, y)
    assert_same(choose_on_device(tensor, classes, budgets, metric), classes, medoids)


def test_more_candidates_than_are_evaluated_at_a_time(monkeypatch):
    monkeypatch.setattr(_device, "AT_A_TIME", 3)
    gradients, y = gradients_of(0), np.zeros(300)
    tensor, classes, budgets = as_tensors(gradients, y)
    found = choose_on_device(tensor, classes, budgets, "euclidean")
    assert_same(found, classes, find_medoids(gradients, y))


def test_classes_that_do_not_fit_together_are_taken_in_turn(monkeypatch):
    gradients = gradients_of(0)
    y = np.arange(300) % 3
    tensor, classes, budgets = as_tensors(gradients, y)
    together = choose_on_device(tensor, classes, budgets, "euclidean")
    monkeypatch.setattr(_device, "memory_of", lambda device: 4.0 * 100**2)
    in_turn = choose_on_device(tensor, classes, budgets, "euclidean")
    for one, other in zip(together, in_turn, strict=True):
        np.testing.assert_array_equal(one.ranking, other.ranking)


def test_batches_hold_every_class_once_and_no_more_than_fits():
    sizes = [5, 100, 30, 100, 1]
    batches = list(in_batches(sizes, 4.0 * 2 * 100**2))
    assert sorted(c for batch in batches for c in batch) == [0, 1, 2, 3, 4]
    for batch in batches:
        assert len(batch) * max(sizes[c] for c in batch) ** 2 <= 2 * 100**2


def test_double_precision_is_centred_before_it_is_rounded():
    gradients = 1e3 + gradients_of(0, dtype=np.float64)
    y = np.zeros(300)
    tensor, classes, budgets = as_tensors(gradients, y)
    found = choose_on_device(tensor, classes, budgets, "euclidean")
    np.testing.assert_array_equal(found[0].ranking, find_medoids(gradients, y).indices)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(3, 2), r"shape \(3, 2\) for 4 examples"),
        (torch.zeros(4), "one row an example"),
        (torch.full((4, 1), torch.nan), "NaN or infinity in 4 of 4"),
    ],
)
def test_bad_tensors_say_what_was_given(tensor, message):
    with pytest.raises(ValueError, match=message):
        _device.check_tensor(tensor, 4)


def pretend_that_tensors_are_on_a_gpu(monkeypatch):
    is_tensor = lambda gradients: isinstance(gradients, torch.Tensor)  # noqa: E731
    monkeypatch.setattr("epic_sklearn.medoids._find.is_on_gpu", is_tensor)
    monkeypatch.setattr("epic_sklearn._rounds.is_on_gpu", is_tensor)


def test_find_medoids_and_schedules_take_tensors_where_they_are(monkeypatch):
    gradients, y = gradients_of(0), np.arange(300) % 3
    medoids, schedule = find_medoids(gradients, y), DropSchedule(y, warmup=0, every=1)
    schedule.step(0, gradients)
    pretend_that_tensors_are_on_a_gpu(monkeypatch)
    calls = []
    choose = choose_on_device
    monkeypatch.setattr(
        "epic_sklearn.medoids._find.choose_on_device",
        lambda *args: calls.append(args) or choose(*args),
    )
    tensor = torch.tensor(gradients)
    there = find_medoids(tensor, y)
    for name in ("indices", "assigned_to", "cluster_size"):
        np.testing.assert_array_equal(getattr(medoids, name), getattr(there, name))
    np.testing.assert_allclose(medoids.gap, there.gap, rtol=1e-6)
    other = DropSchedule(y, warmup=0, every=1)
    other.step(0, tensor)
    np.testing.assert_array_equal(schedule.keep, other.keep)
    assert len(calls) == 2


def test_a_class_too_large_for_the_device_is_worked_on_here(monkeypatch):
    gradients, y = gradients_of(0), np.zeros(300)
    pretend_that_tensors_are_on_a_gpu(monkeypatch)
    monkeypatch.setattr(_device, "memory_of", lambda device: 10.0)
    here = find_medoids(torch.tensor(gradients), y)
    np.testing.assert_array_equal(here.indices, find_medoids(gradients, y).indices)


@NEEDS_GPU
@pytest.mark.parametrize("seed", range(6))
def test_a_gpu_chooses_the_same_medoids(seed):
    gradients, y = gradients_of(seed), np.arange(300) % 3
    medoids = find_medoids(gradients, y)
    there = find_medoids(torch.tensor(gradients, device="cuda"), y)
    np.testing.assert_array_equal(medoids.indices, there.indices)
    np.testing.assert_array_equal(medoids.assigned_to, there.assigned_to)
