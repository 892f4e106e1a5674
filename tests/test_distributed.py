"""Two processes under torch.distributed keep what one process keeps."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from epic_sklearn import (
    EPICClassifier,
    EPICSubsetSampler,
    OuterProductGradients,
    TorchClassifier,
)
from epic_sklearn.rules import IsolatedMedoids
from epic_sklearn.training.distributed import decide_once, gather_gradients

N = 101
pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="torch without gloo"
)


def labels():
    return np.random.RandomState(0).randint(3, size=N)


def gradients(epoch):
    rng = np.random.RandomState(epoch)
    return OuterProductGradients(rng.dirichlet(np.full(3, 0.4), N), rng.rand(N, 4))


def make_sampler(**options):
    rule = IsolatedMedoids(subset_size=0.3)
    return EPICSubsetSampler(
        labels(), rule=rule, warmup=1, every=1, random_state=3, **options
    )


def refuse():
    raise ValueError("refused on rank 0")


def work(rank, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    sampler = make_sampler()
    visited = []
    for epoch in range(4):
        rows = sampler.gradient_rows()
        assert len(rows) in (N // 2, N // 2 + 1)
        sampler.step(epoch, lambda e=epoch, r=rows: gradients(e)[r])
        visited.append(list(sampler))
        assert len(visited[-1]) == len(sampler)
    whole = make_sampler(shard=False)
    whole.step(0, None)
    assert sorted(whole) == list(range(N)) and len(whole) == N
    unseeded = EPICSubsetSampler(labels(), warmup=9, every=1)  # a seed of its own
    unseeded.step(0, None)
    shares = [None, None]
    dist.all_gather_object(shares, list(unseeded))
    assert set(shares[0]) | set(shares[1]) == set(range(N))
    everything = gather_gradients(np.arange(N)[sampler.gradient_rows(), None], N)
    np.testing.assert_array_equal(everything[:, 0], np.arange(N))
    with pytest.raises(ValueError, match="refused on rank 0"):
        decide_once(refuse)
    torch.save(
        {"keep": torch.tensor(sampler.keep), "visited": visited}, f"{folder}/{rank}"
    )
    dist.destroy_process_group()


def test_two_processes_keep_the_same_as_one_and_share_the_examples(tmp_path):
    alone = make_sampler()
    orders = []
    for epoch in range(4):
        alone.step(epoch, gradients(epoch))
        orders.append(list(alone))
    mp.spawn(work, (str(tmp_path),), nprocs=2)
    results = [torch.load(tmp_path / str(rank), weights_only=True) for rank in (0, 1)]
    assert not alone.keep.all()
    for result in results:
        np.testing.assert_array_equal(result["keep"], alone.keep)
    for epoch, order in enumerate(orders):
        shares = [set(result["visited"][epoch]) for result in results]
        assert shares[0] | shares[1] == set(order)
        assert len(shares[0] & shares[1]) <= 1  # one comes twice to even out


def fitted(kind):
    X = np.random.RandomState(0).normal(size=(N, 4)).astype(np.float32)
    return kind(max_epochs=4, random_state=0).fit(X, labels()).predict_proba(X)


def fit_and_resume(rank, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet2", rank=rank, world_size=2
    )
    for kind in (TorchClassifier, EPICClassifier):
        torch.save(torch.tensor(fitted(kind)), f"{folder}/{kind.__name__}{rank}")
    sampler = make_sampler(stop=1)
    if rank == 0:  # as weights are loaded, which go to the others
        sampler.load_state_dict(torch.load(f"{folder}/state", weights_only=True))
    sampler.step(2, None)
    torch.save(torch.tensor(list(sampler)), f"{folder}/rows{rank}")
    dist.destroy_process_group()


def test_estimators_train_alone_and_what_one_process_loads_holds_for_all(tmp_path):
    sampler = make_sampler(stop=1)
    sampler.step(1, gradients(1))
    torch.save(sampler.state_dict(), tmp_path / "state")
    mp.spawn(fit_and_resume, (str(tmp_path),), nprocs=2)
    for kind in (TorchClassifier, EPICClassifier):
        alone = fitted(kind)
        for rank in (0, 1):
            found = torch.load(tmp_path / f"{kind.__name__}{rank}")
            np.testing.assert_allclose(found, alone, atol=1e-6)
    visited = torch.cat([torch.load(tmp_path / f"rows{rank}") for rank in (0, 1)])
    assert set(visited.tolist()) == set(np.flatnonzero(sampler.keep))
