"""Medoids of every class, as a plain function on arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from numbers import Integral, Real
from queue import SimpleQueue

import numpy as np
import torch
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import ArrayLike
from sklearn.utils import column_or_1d
from tqdm import tqdm

from .._utils import RandomState, resolve_seed
from ..gradients.features import Gradients, OuterProductGradients, check_gradients
from ._device import check_tensor, choose_on_device, fits, is_on_gpu
from ._distances import (
    METRICS,
    Distances,
    matrix_bytes,
    memory_limit,
    n_matrices_that_fit,
    worth_storing,
)
from ._facility_location import OPTIMIZER_NAMES, FacilityLocation, run_sieve
from ._greedi import Parcel, choose_in_two_rounds
from ._medoids import Medoids, from_lazy, join_classes, with_clusters, with_sizes

# Classes below this size are over before a thread of their own pays.
LARGE_CLASS = 1000


def find_medoids(
    gradients: ArrayLike | OuterProductGradients,
    y: ArrayLike,
    *,
    subset_size: float = 0.2,
    metric: str = "euclidean",
    optimizer: str = "lazy",
    max_class_size: int | None = None,
    n_jobs: int | None = None,
    random_state: RandomState = None,
    verbose: int = 0,
) -> Medoids:
    """Choose medoids of the gradients of each class by facility location.

    In each class c of n_c examples, ``ceil(subset_size * n_c)`` medoids are
    chosen by greedily maximising ``sum_j max_i (c0 - d_ij)`` (paper, section
    3.2, equation 5), and each example is assigned to its nearest one.

    Parameters
    ----------
    gradients : array-like of shape (n, d) or OuterProductGradients
        One gradient feature vector an example. With a tensor on a CUDA device
        and the default optimizer the work is done there, all classes at once.
    y : array-like of shape (n,)
        Labels: strings, integers or bools.
    subset_size : float, default=0.2
        Medoids as a fraction of each class, in (0, 1].
    metric : {"euclidean", "cosine"}, default="euclidean"
        Distance between gradients. A zero gradient is at cosine distance 1
        from all non-zero ones and 0 from other zero ones.
    optimizer : str, default="lazy"
        Any of apricot's optimizer names. "lazy" chooses what "naive" chooses,
        ties to the lowest index, and is the fastest. "sieve" may choose fewer
        medoids than the budget.
    max_class_size : int or None, default=None
        A larger class is split at random into parts of at most this size, and
        medoids are chosen in two rounds (GreeDi): no longer exactly the
        greedy's, but each worker holds one part only. None: never split.
    n_jobs : int, default=None
        Classes, and parts of split ones, chosen side by side, as joblib counts;
        ``joblib.parallel_config("dask")`` takes them to a cluster.
    random_state : int, RandomState instance or None, default=None
        For `max_class_size` and the optimizers that draw at random; the default
        does not.
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
    Distances of up to 16 features are made when needed, in memory proportional
    to the gradients; of wider gradients they are held as one float32 matrix
    while that fits scikit-learn's ``working_memory``. The result is the same
    (from 48 features on, and on a GPU, up to near ties: stored distances may
    differ in the last digits). Double-precision gradients are centred inside
    their class and rounded to single precision.

    References
    ----------
    Yang, Liu, Mirzasoleiman: Not All Poisons are Created Equal, ICML 2022.

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
    check_choices(subset_size, metric, optimizer)
    if max_class_size is not None and (
        not isinstance(max_class_size, Integral) or max_class_size < 2
    ):
        raise ValueError(
            f"max_class_size is {max_class_size!r}; it must be None or an integer >= 2."
        )
    labels = column_or_1d(y)
    if len(labels) == 0:
        raise ValueError("y is empty: there is no class to choose medoids from.")
    if isinstance(gradients, torch.Tensor) and is_on_gpu(gradients):
        gradients = check_tensor(gradients, len(labels))
    else:
        gradients = check_gradients(gradients, len(labels))
    _, codes = np.unique(labels, return_inverse=True)
    budgets = [budget_of(size, subset_size) for size in np.bincount(codes)]
    return find_medoids_within(
        gradients,
        codes,
        budgets,
        metric=metric,
        optimizer=optimizer,
        max_class_size=max_class_size,
        n_jobs=n_jobs,
        seed=resolve_seed(random_state),
        verbose=verbose,
    )


def find_medoids_within(
    gradients: Gradients | torch.Tensor,
    codes: np.ndarray,
    budgets: Sequence[int],
    *,
    metric: str,
    optimizer: str,
    n_jobs: int | None,
    seed: int,
    max_class_size: int | None = None,
    verbose: int = 0,
) -> Medoids:
    """Choose ``budgets[c]`` medoids in each class c; input is valid already.

    Tensors are worked on where they are, if the largest class fits there.
    For rounds on what is left of a class with the budget that it began with.
    A class that is no longer there is passed over.
    """
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(budgets)))
    classes = [rows for rows in np.split(order, ends[:-1]) if len(rows)]
    shown = tqdm(classes, desc="medoids", unit="class", disable=not verbose)
    tasks = ((rows, min(budgets[codes[rows[0]]], len(rows))) for rows in shown)
    how = (metric, optimizer, seed)
    largest = max(map(len, classes))
    if isinstance(gradients, torch.Tensor):
        if optimizer == "lazy" and max_class_size is None and fits(gradients, largest):
            return join_classes(classes, _on_device(gradients, list(tasks), metric))
        gradients = gradients.cpu().numpy()
    if max_class_size is not None and largest > max_class_size:
        parts = [
            _medoids_in_two_rounds(gradients[rows], size, *how, max_class_size, n_jobs)
            for rows, size in tasks
        ]
    elif effective_n_jobs(n_jobs) > 1:
        parts = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(_medoids_of_class)(Parcel(gradients[rows]), size, *how)
            for rows, size in tasks
        )
    else:
        parts = _in_this_process(gradients, tasks, how, len(classes), largest)
    return join_classes(classes, parts)


def _on_device(
    gradients: torch.Tensor, tasks: list[tuple[np.ndarray, int]], metric: str
) -> list[Medoids]:
    """Medoids of every class, chosen where the gradients are."""
    classes, budgets = zip(*tasks, strict=True)
    return [
        with_sizes(found.ranking, found.gains, found.owner, found.nearest_other)
        for found in choose_on_device(gradients, classes, budgets, metric)
    ]


def _in_this_process(
    gradients: Gradients,
    tasks: Iterable[tuple[np.ndarray, int]],
    how: tuple[str, str, int],
    n_classes: int,
    largest: int,
) -> list[Medoids]:
    """Work on the classes with this process's threads.

    Several large classes at a time if their matrices fit working_memory
    together, else the rows of one. Matrices are made in memory that is used
    again: new pages cost as much time as the distances written to them.
    """
    n_threads = torch.get_num_threads()
    at_once, room_size = 1, 0
    if _is_stored(gradients, largest, how):
        room_size = matrix_bytes(largest) // 4
    if largest >= LARGE_CLASS:
        at_once = min(n_threads, n_classes)
        if room_size:
            at_once = min(at_once, n_matrices_that_fit(largest))
    rooms: SimpleQueue[np.ndarray] = SimpleQueue()
    for _ in range(at_once):
        rooms.put(np.empty(room_size, dtype=np.float32))

    def work(task: tuple[np.ndarray, int]) -> Medoids:
        rows, size = task
        room = rooms.get()
        try:
            parcel = Parcel(gradients[rows])
            return _medoids_of_class(parcel, size, *how, n_threads // at_once, room)
        finally:
            rooms.put(room)

    if at_once == 1:
        return [work(task) for task in tasks]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(work, tasks))


def _is_stored(gradients: Gradients, n: int, how: tuple[str, str, int]) -> bool:
    """Whether the distances of a class of n examples are to be stored."""
    metric, optimizer, _ = how
    fits = matrix_bytes(n) <= memory_limit()
    return fits and (optimizer != "lazy" or worth_storing(gradients, metric))


def budget_of(n_examples: int, subset_size: float) -> int:
    """ceil(subset_size * n_examples), unharmed by rounding (0.7 * 10 is above 7)."""
    return max(1, ceil(subset_size * n_examples - 1e-9))


def check_choices(subset_size: float, metric: str, optimizer: str) -> None:
    """Refuse parameters that are out of range."""
    is_number = isinstance(subset_size, Real) and not isinstance(subset_size, bool)
    if not is_number or not 0 < subset_size <= 1:
        raise ValueError(
            f"subset_size is {subset_size!r}; it is the share of each class that "
            "becomes medoids and must be a number in (0, 1]."
        )
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; choose one of {METRICS}.")
    if optimizer not in OPTIMIZER_NAMES:
        raise ValueError(
            f"optimizer is {optimizer!r}; choose one of {OPTIMIZER_NAMES}."
        )


def _medoids_of_class(
    parcel: Parcel,
    budget: int,
    metric: str,
    optimizer: str,
    seed: int,
    n_threads: int = 1,
    room: np.ndarray | None = None,
) -> Medoids:
    """Medoids of one class, with row numbers inside the class."""
    how = (metric, optimizer, seed)
    gradients = parcel.gradients
    distances = Distances(
        gradients,
        metric,
        max_bytes=None if _is_stored(gradients, len(gradients), how) else 0,
        n_threads=n_threads,
        room=room,
        spatial=optimizer == "lazy",
    )
    if optimizer == "sieve":
        selection = run_sieve(distances, budget)
    else:
        selection = FacilityLocation(budget, optimizer, seed).fit(distances)
    indices = np.asarray(selection.ranking, dtype=np.int64)
    gains = np.asarray(selection.gains)
    if optimizer == "lazy":
        return from_lazy(distances, indices, gains, selection)
    return with_clusters(distances, indices, gains)


def _medoids_in_two_rounds(
    gradients: Gradients,
    budget: int,
    metric: str,
    optimizer: str,
    seed: int,
    max_class_size: int,
    n_jobs: int | None,
) -> Medoids:
    """Medoids of a class in parts of at most `max_class_size` examples."""
    if len(gradients) <= max_class_size:
        parcel = Parcel(gradients)
        return _medoids_of_class(parcel, budget, metric, optimizer, seed)
    indices, gains = choose_in_two_rounds(
        gradients, budget, metric, optimizer, seed, max_class_size, n_jobs
    )
    return with_clusters(Distances(gradients, metric, max_bytes=0), indices, gains)
