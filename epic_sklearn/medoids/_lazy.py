"""The lazy greedy over one class: first medoid, first gains, then the kernel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _greedy
from ._distances import Distances, in_threads, memory_limit
from ._kernels import BLOCK
from ._layout import fill_blocks

# Share of `working_memory` for gains kept in parts.
PARTS_SHARE = 0.5
# Bounds of first gains are looked at so many at a time.
AT_A_TIME = 256
# In classes from this size on, candidates are refreshed many at a time in threads.
MANY = 16_384
# So many are refreshed one by one before that.
PATIENCE = 32
# Distances are single precision, bounds of their sums double.
SLACK = 1e-4


@dataclass(frozen=True)
class Selection:
    """What the lazy greedy chose; positions are those of the distances.

    Attributes
    ----------
    ranking : ndarray of shape (k,), int64
        Positions of the medoids in order of selection.
    gains : ndarray of shape (k,), float64
        What each gained.
    owner : ndarray of shape (n,), int64
        Place in `ranking` of the nearest medoid, of equally near ones the first.
    nearest_other : ndarray of shape (n,), float32
        Distance to the nearest other example.
    """

    ranking: np.ndarray
    gains: np.ndarray
    owner: np.ndarray
    nearest_other: np.ndarray


def first_medoid(distances: Distances) -> tuple[int, float]:
    """Position with the smallest sum of distances, and that sum.

    A sum of distances to the examples of a block is at least their number times
    the distance to their mean (Jensen): where rows are not stored anyway, only
    those are summed whose bound does not exceed the best sum.
    """
    order = distances.order
    if distances.is_stored or not distances.is_plain:
        sums = distances.statistics[0]
        best = np.flatnonzero(sums == sums.min())
        first = best[np.argmin(order[best])]
        return int(first), float(sums[first])
    bounds = distances.bounds_of_sums()
    by_bound = np.argsort(bounds, kind="stable")
    best_of_all = (np.inf, 0, 0)
    for begin in range(0, len(by_bound), AT_A_TIME):
        rows = by_bound[begin : begin + AT_A_TIME]
        if bounds[rows[0]] * (1 - SLACK) > best_of_all[0]:
            break
        sums = distances.sums_of(rows)
        at = np.lexsort((order[rows], sums))[0]
        best_of_all = min(best_of_all, (sums[at], order[rows[at]], rows[at]))
    return int(best_of_all[2]), float(best_of_all[0])


class LazyGreedyRun:
    """State of one selection; see :func:`choose_lazily`."""

    def __init__(self, distances: Distances, k: int) -> None:
        n, n_blocks = distances.shape[0], -(-distances.shape[0] // BLOCK)
        self.distances, self.n = distances, n
        self.chosen, self.gains = np.empty(k, dtype=np.int64), np.empty(k)
        first, total = first_medoid(distances)
        self.chosen[0] = first
        self.nearest = fill_blocks(distances[first], 0.0)
        self.owner = np.zeros((n_blocks, BLOCK), dtype=np.int64)
        limit = max(1.0, PARTS_SHARE * memory_limit())
        self.per_group = max(1, int(np.ceil(8 * n * n_blocks / limit)))
        n_groups = -(-n_blocks // self.per_group)
        self.parts, self.bounds = np.empty((n, n_groups)), np.empty(n)
        self.seen_at = np.ones(n, dtype=np.int64)
        self.changed_at = np.ones(n_groups, dtype=np.int64)
        farthest = self._first_gains()
        self.gains[0] = n * farthest - total

    def _first_gains(self) -> float:
        """Gains beyond the first medoid; the largest distance of the class."""
        maxima = np.empty(self.n, dtype=np.float32)
        self.nearest_other = np.empty(self.n, dtype=np.float32)
        in_threads(
            lambda start, stop: _greedy.gains_and_extremes(
                self.distances.source,
                self.n,
                self.per_group,
                self.nearest,
                start,
                stop,
                self.parts,
                self.bounds,
                maxima,
                self.nearest_other,
            ),
            self.n,
            self.distances.n_threads,
        )
        return float(maxima.max())

    def run(self) -> None:
        """Choose all medoids."""
        rank = self.distances.order
        heap = np.delete(np.arange(self.n), self.chosen[0])
        _greedy.make_heap(self.bounds, rank, heap)
        n_threads = self.distances.n_threads
        in_batches = n_threads > 1 and self.n >= MANY
        patience = PATIENCE if in_batches else self.n
        step, left, stuck_at, n_batch = 1, len(heap), 0, 0
        while step < len(self.chosen):
            step, left = _greedy.lazy_greedy(
                self.distances.source,
                rank,
                self.per_group,
                self.nearest,
                self.owner,
                self.changed_at,
                heap,
                left,
                self.parts,
                self.bounds,
                self.seen_at,
                self.chosen,
                self.gains,
                step,
                patience,
            )
            if step < len(self.chosen):
                n_batch = 2 * n_batch if stuck_at == step else 8 * PATIENCE
                stuck_at = step
                self._refresh_many(heap[:left], n_batch, step)
                _greedy.make_heap(self.bounds, rank, heap[:left])

    def _refresh_many(self, candidates: np.ndarray, n_batch: int, step: int) -> None:
        """Refresh those of highest bound, in threads."""
        stale = candidates[self.seen_at[candidates] < step]
        if n_batch < len(stale):
            top = np.argpartition(self.bounds[stale], len(stale) - n_batch)
            stale = stale[top[-n_batch:]]
        in_threads(
            lambda start, stop: _greedy.refresh_all(
                self.distances.source,
                self.per_group,
                self.nearest,
                self.changed_at,
                stale[start:stop],
                self.parts,
                self.bounds,
                self.seen_at,
                step,
            ),
            len(stale),
            self.distances.n_threads,
        )


def choose_lazily(distances: Distances, k: int) -> Selection:
    """Choose k medoids by the lazy greedy, exactly as the naive greedy would.

    Parameters
    ----------
    distances : Distances of shape (n, n)
        Of one class.
    k : int
        At least 1, at most n.

    Returns
    -------
    Selection

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.medoids._distances import Distances
    >>> from epic_sklearn.medoids._lazy import choose_lazily
    >>> points = np.array([[0.0], [0.1], [0.2], [0.4], [5.0]])
    >>> choose_lazily(Distances(points, "euclidean"), 2).ranking
    array([2, 4])
    """
    run = LazyGreedyRun(distances, k)
    run.run()
    owner = run.owner.ravel()[: run.n]
    return Selection(run.chosen, run.gains, owner, run.nearest_other)
