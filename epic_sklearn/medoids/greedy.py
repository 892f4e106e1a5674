"""Facility location on apricot: our function object, lazy greedy, naive in torch.

With similarity ``c0 - d``, c0 the largest distance of the class, the gain of candidate
i is ``sum_j max(0, m_j - d_ij)``, m_j the distance from j to its nearest medoid so far.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .distances import Array, Distances, compiled, memory_limit

# apricot compiles parallel functions at import: starting numba's threads sets the
# number of OpenMP threads of the whole process, torch's with it.
_n_threads = torch.get_num_threads()
from apricot import FacilityLocationSelection  # noqa: E402
from apricot.optimizers import OPTIMIZERS, BaseOptimizer  # noqa: E402

torch.set_num_threads(_n_threads)

# Why each of these of apricot 0.6.1 can't be used.
REFUSED = {
    "random": "it raises TypeError: super(type, obj): obj must be an instance of type",
    "bidirectional": "it raises ValueError: zero-size array to reduction operation",
    "sieve": "it chooses no medoid at all in a class of one or of equal gradients",
}
OPTIMIZER_NAMES = tuple(name for name in OPTIMIZERS if name not in REFUSED)

# Sums are made side by side, entry j in sum j % LANES, and those added in the end: for
# speed, and so that leaving out entries that add nothing changes no digit.
LANES = 32
BATCH = 64  # candidates without a list that are looked at, at first, for one medoid
LIST_SHARE = 1 / 16  # of a row that its list may hold where rows are not stored


@compiled
def gains_of_rows(rows: Array, nearest: Array) -> Array:
    """How much closer all come, in double precision so that equal gains do tie."""
    gains = np.empty(len(rows))
    sums = np.empty(LANES)
    for at in range(len(rows)):
        sums[:] = 0.0
        for begin in range(0, len(nearest), LANES):
            here, old = rows[at, begin : begin + LANES], nearest[begin : begin + LANES]
            for j in range(len(here)):
                sums[j] += max(np.float64(old[j]) - np.float64(here[j]), 0.0)
        gains[at] = sums.sum()
    return gains


@compiled
def list_rows(rows: Array, candidates: Array, state: Any) -> None:
    """List the entries of rows that are below `nearest`, where there is room.

    Candidate i's are the first ``lengths[i]`` distances ``near[i]`` to the examples
    ``names[i]``.
    """
    near, names, lengths, _, _, nearest = state
    values = np.empty(len(nearest) + 1, dtype=np.float32)
    columns = np.empty(len(nearest) + 1, dtype=np.int32)
    for at in range(len(candidates)):
        row, i, kept = rows[at], candidates[at], 0
        for j in range(len(row)):
            kept += row[j] < nearest[j]
        if kept > near.shape[1]:
            continue
        lengths[i], kept = kept, 0
        for j in range(len(row)):
            values[kept], columns[kept] = row[j], j
            kept += row[j] < nearest[j]
        near[i, :kept], names[i, :kept] = values[:kept], columns[:kept]


@compiled
def refreshed(
    near: Array, names: Array, length: int, nearest: Array, sums: Any
) -> tuple[float, int]:
    """Gain of one candidate from its list, which loses what no longer counts."""
    sums[:] = 0.0
    kept = 0
    for at in range(length):
        distance, j = near[at], names[at]
        near[kept], names[kept] = distance, j
        closer = np.float64(nearest[j]) - np.float64(distance)
        sums[j % LANES] += max(closer, 0.0)
        kept += closer > 0.0
    return sums.sum(), kept


@compiled
def lazy_greedy(state: Any, owner: Any, chosen: Any, gains: Any, step: int) -> int:
    """Choose medoids by the accelerated greedy (Minoux, 1978), until one has no list.

    A gain only shrinks as medoids are added: a candidate that was refreshed for
    this medoid and still leads the heap is the best. Returns how many are chosen.
    """
    near, names, lengths, bounds, seen_at, nearest = state
    sums = np.empty(LANES)
    heap = [(-bounds[i], i) for i in range(len(bounds)) if bounds[i] >= 0.0]
    heapq.heapify(heap)
    while step < len(chosen) and lengths[heap[0][1]] >= 0:
        bound, i = heap[0]
        if seen_at[i] < step and bound < 0.0:
            bounds[i], lengths[i] = refreshed(
                near[i], names[i], lengths[i], nearest, sums
            )
            seen_at[i] = step
            heapq.heapreplace(heap, (-bounds[i], i))
            continue
        heapq.heappop(heap)
        chosen[step], gains[step], bounds[i] = i, bounds[i], -1.0
        for at in range(lengths[i]):
            j = names[i, at]
            if near[i, at] < nearest[j]:
                nearest[j], owner[j] = near[i, at], step
        step += 1
    return step


@dataclass(frozen=True)
class Selection:
    """What was chosen in one class of n examples, by row numbers inside it."""

    ranking: Array  # (k,) medoids in order of selection
    gains: Array  # (k,) what each gained
    owner: Array  # (n,) place in ranking of the nearest, of equals the first
    nearest_other: Array  # (n,) distance to the nearest other example


class LazyGreedy(BaseOptimizer):
    """The lazy greedy on rows of distances cut down to short lists.

    Once a few medoids are chosen only a few entries of a row can still add to its
    gain, fewer with every medoid. A row that is looked at is cut down to those as
    soon as they fit: into its own place if rows are stored, else into its share of
    ``working_memory``. Until then it is made again when needed.
    """

    def select(self, X: Distances, k: int, sample_cost: Any = None) -> None:
        """Choose k medoids, ties to the lowest index."""
        sums, farthest, nearest_other = X.summary
        n, first = len(sums), int(np.argmin(sums))
        self._start(X, first)
        owner, chosen, gains = np.zeros(n, np.int64), np.zeros(k, np.int64), np.zeros(k)
        chosen[0], gains[0] = first, n * farthest - sums[first]
        step, n_batch = 1, BATCH
        while (now := lazy_greedy(self.state, owner, chosen, gains, step)) < k:
            n_batch, step = 2 * n_batch if now == step else BATCH, now
            best = int(np.argmax(self.bounds))
            if self.seen_at[best] < step:
                self._look(X, self._stale(n_batch, step), step)
                continue
            row = X[best]
            closer = row < self.nearest
            self.nearest[closer], owner[closer] = row[closer], step
            chosen[step], gains[step] = best, self.bounds[best]
            self.bounds[best] = -1.0
            step += 1
        self.function.selection = Selection(chosen, gains, owner, nearest_other)

    def _start(self, X: Distances, first: int) -> None:
        """Gains beyond the first medoid, and room for the lists."""
        n, room = X.shape[0], X.stored
        if room is None:
            share = min(2 * LIST_SHARE * n, memory_limit() / (4 * n))
            room = np.empty((n, max(2, int(share))), dtype=np.float32)
        half = room.shape[1] // 2
        self.nearest, self.bounds = X[first].copy(), np.zeros(n)
        self.lengths, self.seen_at = np.full(n, -1), np.zeros(n, dtype=np.int64)
        lists = (room[:, :half], room.view(np.int32)[:, half : 2 * half], self.lengths)
        self.state = (*lists, self.bounds, self.seen_at, self.nearest)
        self._look(X, np.arange(n), 1)
        self.bounds[first] = -1.0

    def _look(self, X: Distances, candidates: Array, step: int) -> None:
        """Gains of candidates from their whole rows, and their lists."""

        def look(candidates: Array) -> None:
            rows = X.rows(candidates)
            self.bounds[candidates] = gains_of_rows(rows, self.nearest)
            list_rows(rows, candidates, self.state)

        X.in_blocks(look, candidates)
        self.seen_at[candidates] = step

    def _stale(self, n_batch: int, step: int) -> Array:
        """Candidates of highest bound among those without a list."""
        is_stale = (self.lengths < 0) & (self.bounds > 0.0) & (self.seen_at < step)
        stale = np.flatnonzero(is_stale)
        order = np.argsort(-self.bounds[stale], kind="stable")
        return np.sort(stale[order[:n_batch]])


class FacilityLocation(FacilityLocationSelection):
    """apricot's facility location, on distances instead of similarities.

    Working on d directly keeps the digits that ``c0 - d`` would lose in float32.
    """

    def fit(self, X: Distances, y: Any = None, **kwargs: Any) -> FacilityLocation:
        """Choose the medoids of one class: `selection`, a Selection."""
        if self.optimizer == "lazy":
            LazyGreedy(self).select(X, self.n_samples)
            return self
        self._initialize(X)
        options: dict[str, Any] = {"random_state": self.random_state}
        if self.optimizer == "greedi":
            # apricot's own defaults ask for k <= 8 * min(k // 4, n // 8), which
            # small budgets and budgets near n miss.
            options["m"] = min(8, X.shape[0])
            options["l"] = min(self.n_samples, -(-X.shape[0] // options["m"]))
        OPTIMIZERS[self.optimizer](self, **options).select(X, self.n_samples)
        self.selection = assign(X, self.ranking, self.gains)
        return self

    def _initialize(self, X: Distances) -> None:
        n = X.shape[0]
        self.ranking, self.gains = [], []
        self.mask, self.idxs = np.zeros(n, dtype=np.int8), np.arange(n)
        self._row_sums, self._farthest, _ = X.summary
        self.nearest = np.full(n, self._farthest, dtype=np.float32)

    def _calculate_gains(self, X: Distances, idxs: Array | None = None) -> Array:
        idxs = self.idxs if idxs is None else idxs
        if not self.ranking:
            return X.shape[0] * self._farthest - self._row_sums[idxs]
        gains = np.empty(X.shape[0])

        def fill(rows: Array) -> None:
            gains[rows] = gains_of_rows(X.rows(rows), self.nearest)

        X.in_blocks(fill, idxs)
        return gains[idxs]

    def _select_next(self, X: Array, gain: float, idx: int) -> None:
        if idx in self.ranking:
            # Where nothing gains any more apricot's queue hands out one example
            # again and again; any other gains as little.
            if len(self.idxs) == 0:
                return
            idx = self.idxs[0]
        self.ranking.append(idx)
        self.gains.append(gain)
        self.mask[idx] = 1
        self.idxs = np.flatnonzero(self.mask == 0)
        self.nearest = np.minimum(self.nearest, X)


def assign(distances: Distances, ranking: Any, gains: Any) -> Selection:
    """Give each example to its nearest medoid, the earliest of equally near."""
    n, ranking = distances.shape[0], np.array(ranking, dtype=np.int64)
    nearest, owner = np.full(n, np.inf, np.float32), np.zeros(n, dtype=np.int64)
    for start in range(0, len(ranking), BATCH):
        rows = distances.rows(ranking[start : start + BATCH])
        closer = rows.min(axis=0) < nearest
        owner[closer] = start + rows[:, closer].argmin(axis=0)
        nearest = np.minimum(nearest, rows.min(axis=0))
    return Selection(ranking, np.array(gains), owner, distances.summary[2])


def fits_on(device: torch.device, n: int) -> bool:
    """Whether a class of n's distances and their differences fit a device."""
    is_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if is_gpu else memory_limit()
    return 8.0 * n * n <= free


def choose_in_torch(distances: Distances, k: int, device: torch.device) -> Selection:
    """Choose k medoids by the naive greedy on a device, one pass over all a medoid.

    The matrix holds ``min(d_ij, m_j)``: the candidate of smallest sum gains most,
    and that sum is then the one of all distances to the nearest medoid.
    """
    points = torch.as_tensor(distances.factors[0].points, device=device)
    mode = "donot_use_mm_for_euclid_dist"
    matrix = torch.cdist(points, points, compute_mode=mode)
    if distances.metric == "cosine":
        matrix.square_()
    left = len(points) * matrix.max().double()
    matrix.fill_diagonal_(torch.inf)
    nearest_other = matrix.min(dim=1).values
    matrix.fill_diagonal_(0.0)
    nearest = torch.full_like(nearest_other, torch.inf)
    owner = torch.zeros_like(nearest, dtype=torch.int64)
    is_chosen, ranking, gains = torch.zeros_like(nearest, dtype=torch.bool), [], []
    for place in range(k):
        sums = matrix.sum(dim=1, dtype=torch.float64)
        sums[is_chosen] = torch.inf
        best = (sums == sums.min()).int().argmax()  # of equals the first
        owner[matrix[best] < nearest] = place
        nearest = torch.minimum(nearest, matrix[best])
        is_chosen[best] = True
        ranking.append(best)
        gains.append(left - sums[best])
        left = sums[best]
        torch.minimum(matrix, nearest, out=matrix)
    found = (torch.stack(ranking), torch.stack(gains), owner, nearest_other)
    return Selection(*(values.cpu().numpy() for values in found))
