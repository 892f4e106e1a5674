"""Selection on a dask cluster of two worker processes, also when one dies."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from joblib import parallel_config

from epic_sklearn import find_medoids

distributed = pytest.importorskip("distributed", reason="the dask extra is optional")


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def problem(n_per_class=300, n_classes=6):
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(n_classes), n_per_class)
    return rng.dirichlet(np.full(10, 0.3), len(y)), rng.permutation(y)


def assert_same(first, second):
    for name in ("indices", "gains", "assigned_to", "cluster_size", "gap"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_cluster_chooses_the_same_medoids(client):
    gradients, y = problem()
    here = find_medoids(gradients, y)
    with parallel_config("dask"):
        there = find_medoids(gradients, y, n_jobs=-1)
    assert_same(here, there)


def test_cluster_splits_a_large_class_as_one_process_does(client):
    gradients, y = problem(n_per_class=500, n_classes=2)
    options = {"max_class_size": 120, "random_state": 0}
    here = find_medoids(gradients, y, **options)
    with parallel_config("dask"):
        there = find_medoids(gradients, y, n_jobs=-1, **options)
    assert_same(here, there)


def test_worker_that_dies_changes_nothing(client):
    gradients, y = problem(n_per_class=3000, n_classes=8)
    here = find_medoids(gradients, y)
    pids = list(client.run(os.getpid).values())
    results = []

    def select():
        with parallel_config("dask"):
            results.append(find_medoids(gradients, y, n_jobs=-1))

    thread = threading.Thread(target=select)
    thread.start()
    deadline = time.monotonic() + 60
    while not any(client.processing().values()) and time.monotonic() < deadline:
        time.sleep(0.002)
    assert not results, "the round was over before the worker could be killed"
    os.kill(pids[0], signal.SIGKILL)
    thread.join(timeout=120)
    assert results, "the round did not end after a worker died"
    assert_same(here, results[0])
    assert set(client.run(os.getpid).values()) != set(pids)
