"""Medoids of every class, as a plain function on arrays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from math import ceil
from numbers import Integral, Real
from threading import Lock
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from threadpoolctl import ThreadpoolController
from tqdm import tqdm

from .._utils import RandomState, resolve_seed, validate_params
from ..gradients.features import Gradients, OuterProductGradients, check_gradients
from ..validation import label_array, refuse_missing, refuse_other_order
from .distances import MAX_CLASS_SIZE, METRICS, Distances, memory_limit
from .greedy import (
    OPTIMIZER_NAMES,
    REFUSED,
    FacilityLocation,
    Selection,
)

# Constraint of the parameter `max_class_size`.
SIZE = [Interval(Integral, 2, None, closed="left"), None]
LARGE = 1000  # a smaller class is over before a thread of its own pays


@dataclass(frozen=True)
class Medoids:
    """Medoids of each class and the clusters around them.

    n is the number of examples, m that of medoids.

    Attributes
    ----------
    indices : ndarray of shape (m,), int64
        Row numbers of the medoids, class by class, in order of selection.
    gains : ndarray of shape (m,), float64
        What each added to the facility location. Gradients are scaled inside a
        class, so gains compare only within one.
    assigned_to : ndarray of shape (n,), int64
        Row number of each row's nearest medoid, of equally near ones the first.
    cluster_size : ndarray of shape (n,), int64
        Size of the cluster that each row is in, its medoid included.
    gap : ndarray of shape (n,), float64
        Distance to the nearest other example of the class, relative to its
        median over the class's examples that have no double.
    is_exact : bool
        Whether every class was clustered as a whole.
    """

    indices: np.ndarray
    gains: np.ndarray
    assigned_to: np.ndarray
    cluster_size: np.ndarray
    gap: np.ndarray
    is_exact: bool = True


@validate_params(
    {
        "subset_size": [Interval(Real, 0, 1, closed="right")],
        "metric": [StrOptions(set(METRICS))],
        "optimizer": [StrOptions({*OPTIMIZER_NAMES, *REFUSED})],
        "max_class_size": SIZE,
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=True,
)
def find_medoids(
    gradients: ArrayLike | OuterProductGradients,
    y: ArrayLike,
    *,
    subset_size: float = 0.2,
    metric: str = "euclidean",
    optimizer: str = "lazy",
    max_class_size: int | None = MAX_CLASS_SIZE,
    n_jobs: int | None = None,
    random_state: RandomState = None,
    verbose: int = 0,
) -> Medoids:
    """Choose medoids of the gradients of each class by facility location.

    In each class of n examples ``ceil(subset_size * n)`` medoids are chosen by greedily
    maximising ``sum_j max_i (c0 - d_ij)`` (paper, section 3.2, equation 5).

    Parameters
    ----------
    gradients : array-like of shape (n, d) or OuterProductGradients
        One row an example.
    y : array-like of shape (n,)
        Labels: strings, integers or bools.
    subset_size : float, default=0.2
        Medoids as a fraction of each class, in (0, 1].
    metric : {"euclidean", "cosine"}, default="euclidean"
        A zero gradient is at cosine distance 1 from all others and 0 from other zeros.
    optimizer : str, default="lazy"
        Any of apricot's but "random" and "bidirectional", which raise there. "lazy"
        chooses what "naive" does, ties to the lowest index, and is the fastest.
        "sample" and "sieve" may choose fewer medoids than the budget.
    max_class_size : int or None, default=20_000
        A larger class is split at random into parts of at most this size, and each is
        clustered on its own: then time grows with n, not its square, and clusters are
        approximate (`Medoids.is_exact`). Each part has one medoid at least. None: never
        split.
    n_jobs : int, default=None
        Classes, and parts of split ones, chosen side by side, as joblib counts, also
        by ``joblib.parallel_config("dask")``. None: one by one, each in threads.
    random_state : int, RandomState instance or None, default=None
        For `max_class_size` and optimizers that draw at random.
    verbose : int, default=0
        Above 0, a progress bar over the classes.

    Returns
    -------
    Medoids

    Raises
    ------
    ValueError
        If a parameter is out of range, or lengths, shapes or values are bad.

    Notes
    -----
    Distances are float32, held while those of a class fit scikit-learn's
    ``working_memory``, for each of `n_jobs`, and else made again when needed. Where
    gains tie but for rounding, as of rounded numbers, its size may decide which of them
    is chosen.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn import find_medoids
    >>> gradients = np.array([[0.0], [0.1], [0.2], [0.4], [5.0], [1.0], [1.1]])
    >>> medoids = find_medoids(gradients, list("aaaaabb"), subset_size=0.4)
    >>> medoids.indices
    array([2, 4, 5])
    >>> medoids.cluster_size
    array([4, 4, 4, 4, 1, 2, 2])
    """
    if optimizer in REFUSED:
        raise ValueError(
            f"optimizer is {optimizer!r}, which can't be used from apricot: "
            f"{REFUSED[optimizer]}. Choose one of {OPTIMIZER_NAMES}."
        )
    refuse_other_order(gradients=gradients, y=y)
    labels = column_or_1d(label_array(y))
    if len(labels) == 0:
        raise ValueError("y is empty: there is no class to choose medoids from.")
    refuse_missing(labels)
    checked = check_gradients(gradients, len(labels))
    _, codes = np.unique(labels, return_inverse=True)
    return find_medoids_within(
        checked,
        codes,
        [budget_of(size, subset_size) for size in np.bincount(codes)],
        metric=metric,
        optimizer=optimizer,
        max_class_size=max_class_size,
        n_jobs=n_jobs,
        seed=resolve_seed(random_state),
        verbose=verbose,
    )


def budget_of(n_examples: int, subset_size: float) -> int:
    """ceil(subset_size * n_examples), unharmed by rounding (0.7 * 10 is above 7)."""
    return max(1, ceil(subset_size * n_examples - 1e-9))


def find_medoids_within(
    gradients: Gradients,
    codes: np.ndarray,
    budgets: Sequence[int],
    *,
    metric: str,
    optimizer: str,
    n_jobs: int | None,
    seed: int,
    max_class_size: int | None = MAX_CLASS_SIZE,
    verbose: int = 0,
) -> Medoids:
    """Choose ``budgets[c]`` medoids in each class c; input is valid already.

    For rounds on what is left of a class with the budget that it began with. A
    class that is no longer there is passed over.
    """
    order = np.argsort(codes, kind="stable")
    groups, shares = [], []
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        parts = parts_of(rows, max_class_size or len(rows), seed)
        ends = np.arange(len(parts) + 1) * budgets[codes[rows[0]]] // len(parts)
        groups += parts
        shares += np.maximum(np.diff(ends), 1).tolist()
    # With this process's threads alone: several large groups, while their distances
    # fit working_memory together, or the rows of one.
    n_threads, kind = 1, {"prefer": "threads"}
    side_by_side: AbstractContextManager = nullcontext()
    if effective_n_jobs(n_jobs) == 1:
        n_threads, n_jobs, kind = torch.get_num_threads(), 1, {"backend": "threading"}
        if (largest := max(map(len, groups))) >= LARGE:
            fit = int(memory_limit() / (4 * largest**2))
            n_jobs = max(1, min(n_threads, len(groups), fit))
            if n_threads > 1:
                side_by_side = ONE_THREAD_A_PRODUCT
        n_threads //= n_jobs
    # scikit-learn's settings are this thread's alone.
    how = (metric, optimizer, seed, n_threads, memory_limit())
    # Gradients travel inside their task: joblib's dask backend puts arrays that are
    # arguments into one worker's memory beforehand, which are lost if that dies.
    shown = tqdm(groups, "medoids", unit="part", disable=not verbose)
    with side_by_side:
        found = Parallel(n_jobs=n_jobs, **kind)(
            delayed(partial(choose_in_group, gradients[rows], budget, *how))()
            for rows, budget in zip(shown, shares, strict=True)
        )
    return join_groups(groups, found, is_exact=len(groups) == len(np.unique(codes)))


class OneThreadAProduct:
    """Keep threads that make products side by side from each asking for all cores.

    A context; where several threads of a process are in it, the last one out gives the
    libraries their threads back.
    """

    def __init__(self) -> None:
        self._lock, self._n_inside = Lock(), 0
        self._limits: Any = None

    @cached_property
    def _pools(self) -> ThreadpoolController:
        return ThreadpoolController()  # which takes a while

    def __enter__(self) -> None:
        with self._lock:
            if self._n_inside == 0:
                self._limits = self._pools.limit(limits=1, user_api="blas")
            self._n_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n_inside -= 1
            if self._n_inside == 0:
                self._limits.restore_original_limits()


ONE_THREAD_A_PRODUCT = OneThreadAProduct()


def choose_in_group(
    gradients: Gradients,
    budget: int,
    metric: str,
    optimizer: str,
    seed: int,
    n_threads: int,
    limit: float,
) -> Selection:
    """Choose medoids of one class, or part of one, in so many bytes."""
    k = min(budget, len(gradients))
    distances = Distances(gradients, metric, n_threads, limit)
    drawn = None if optimizer == "lazy" else seed  # a generator takes its time
    function = FacilityLocation(k, optimizer=optimizer, random_state=drawn)
    return function.fit(distances).selection


def parts_of(rows: np.ndarray, max_size: int, seed: int) -> list[np.ndarray]:
    """Split sorted rows at random into as few parts as have at most so many."""
    order = np.random.RandomState(seed).permutation(rows)
    return [np.sort(part) for part in np.array_split(order, -(-len(rows) // max_size))]


def approximate(
    codes: np.ndarray, max_class_size: int | None, rows: Any = slice(None)
) -> dict[str, np.ndarray]:
    """Details that say whose class, of some rows, is too large to be judged exactly."""
    sizes = np.bincount(codes[rows], minlength=codes.max() + 1)
    is_large = (sizes > (max_class_size or len(codes)))[codes]
    return {"approximate": is_large} if is_large.any() else {}


def join_groups(
    groups: list[np.ndarray], found: list[Selection], is_exact: bool
) -> Medoids:
    """Put the groups' results together under the row numbers of the whole."""
    n = sum(map(len, groups))
    assigned_to, cluster_size = np.empty((2, n), dtype=np.int64)
    gap = np.zeros(n)
    for rows, one in zip(groups, found, strict=True):
        assigned_to[rows] = rows[one.ranking[one.owner]]
        cluster_size[rows] = np.bincount(one.owner)[one.owner]
        if len(rows) > 1:
            apart = one.nearest_other.astype(np.float64)
            gap[rows] = apart / (np.median(apart[apart > 0]) if apart.any() else 1.0)
    indices = [rows[one.ranking] for rows, one in zip(groups, found, strict=True)]
    gains = np.concatenate([one.gains for one in found])
    return Medoids(
        np.concatenate(indices), gains, assigned_to, cluster_size, gap, is_exact
    )
