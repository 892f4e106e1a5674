"""Selection in torch, on the processor here; on a GPU where there is one."""

import numpy as np
import pytest
import torch

from epic_sklearn import find_medoids
from epic_sklearn.medoids.distances import Distances
from epic_sklearn.medoids.greedy import choose_in_torch

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


def assert_same(found, medoids):
    np.testing.assert_array_equal(found.ranking, medoids.indices)
    np.testing.assert_array_equal(found.ranking[found.owner], medoids.assigned_to)
    np.testing.assert_allclose(found.gains, medoids.gains, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("seed", range(9))
@pytest.mark.parametrize("n", [1, 2, 300])
def test_torch_chooses_the_medoids_of_the_compiled_kernels(n, seed, metric):
    gradients = gradients_of(seed, n)
    medoids = find_medoids(gradients, np.zeros(n), metric=metric)
    found = choose_in_torch(
        Distances(gradients, metric), len(medoids.indices), torch.device("cpu")
    )
    assert_same(found, medoids)


def test_all_of_a_class_can_be_chosen():
    gradients = gradients_of(1)
    medoids = find_medoids(gradients, np.zeros(300), subset_size=1.0)
    distances = Distances(gradients, "euclidean")
    found = choose_in_torch(distances, 300, torch.device("cpu"))
    np.testing.assert_array_equal(found.ranking, medoids.indices)


def test_double_precision_is_centred_before_it_is_rounded():
    gradients = 1e3 + gradients_of(0, dtype=np.float64)
    found = choose_in_torch(Distances(gradients, "euclidean"), 60, torch.device("cpu"))
    medoids = find_medoids(gradients, np.zeros(300))
    np.testing.assert_array_equal(found.ranking, medoids.indices)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(3, 2), "3 rows for 4 examples"),
        (torch.zeros(4), "must have shape"),
        (torch.full((4, 1), torch.nan), "NaN or infinity in 4 of 4"),
    ],
)
def test_bad_tensors_say_what_was_given(tensor, message):
    with pytest.raises(ValueError, match=message):
        find_medoids(tensor, np.zeros(4))


@pytest.fixture
def tensors_seem_to_be_on_a_gpu(monkeypatch):
    is_tensor = lambda gradients: isinstance(gradients, torch.Tensor)  # noqa: E731
    monkeypatch.setattr("epic_sklearn.medoids.find.is_on_gpu", is_tensor)
    monkeypatch.setattr("epic_sklearn.medoids.find.fits_on", lambda device, n: True)


def test_find_medoids_takes_tensors_to_their_device(
    tensors_seem_to_be_on_a_gpu, monkeypatch
):
    gradients, y = gradients_of(0), np.arange(300) % 3
    medoids, calls = find_medoids(gradients, y), []
    monkeypatch.setattr(
        "epic_sklearn.medoids.find.choose_in_torch",
        lambda *args: calls.append(args) or choose_in_torch(*args),
    )
    there = find_medoids(torch.tensor(gradients, requires_grad=True), y)
    for name in ("indices", "assigned_to", "cluster_size"):
        np.testing.assert_array_equal(getattr(medoids, name), getattr(there, name))
    np.testing.assert_allclose(medoids.gap, there.gap, rtol=1e-5)
    assert len(calls) == 3


def test_a_class_too_large_for_the_device_is_worked_on_here(
    tensors_seem_to_be_on_a_gpu, monkeypatch
):
    gradients, y = gradients_of(0), np.zeros(300)
    monkeypatch.setattr("epic_sklearn.medoids.find.fits_on", lambda device, n: False)
    monkeypatch.delattr("epic_sklearn.medoids.find.choose_in_torch")
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
