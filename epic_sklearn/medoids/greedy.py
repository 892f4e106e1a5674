"""Facility location on apricot: our function object and the lazy greedy.

The gain of candidate i is ``sum_j max(0, m_j - d_ij)``, m_j the distance from j to its
nearest medoid so far. Working on d keeps digits that a similarity in float32 loses.
"""

from __future__ import annotations

import heapq
import mmap
from typing import Any, NamedTuple

import numba
import numpy as np

from .distances import Array, Distances, compiled

# apricot compiles all its loops at import, which takes 2 s and sets the number of
# OpenMP threads of the process, torch's with it. Here they wait until they are called.
_njit: Any = numba.njit
numba.njit = lambda *given, **how: _njit(*filter(callable, given), **how)
from apricot import FacilityLocationSelection  # noqa: E402
from apricot.functions.facilityLocation import calculate_gains_sieve  # noqa: E402
from apricot.optimizers import OPTIMIZERS, BaseOptimizer, SieveGreedy  # noqa: E402

numba.njit = _njit

# Why each of these of apricot 0.6.1 can't be used.
REFUSED = {
    "random": "it raises TypeError: super(type, obj): obj must be an instance of type",
    "bidirectional": "it raises ValueError: zero-size array to reduction operation",
}
# Without threads: theirs would set the number of those of the process.
sieve_gains = calculate_gains_sieve(None, False, True, False)
OPTIMIZER_NAMES = tuple(name for name in OPTIMIZERS if name not in REFUSED)

# Sums are made side by side, entry j in sum j % LANES, and those added in the end: for
# speed, and so that leaving out entries that add nothing changes no digit.
LANES = 32
BATCH = 128  # candidates without a list that are looked at together


class Selection(NamedTuple):
    """What was chosen in one class of n examples, by row numbers inside it."""

    ranking: Array  # (k,) medoids in order of selection
    gains: Array  # (k,) what each gained
    owner: Array  # (n,) place in ranking of the nearest, of equals the first
    nearest_other: Array  # (n,) distance to the nearest other example


@compiled
def look_at(rows: Array, candidates: Array, state: Any, step: int) -> None:
    """Gains of candidates from whole rows, in double so that equal gains do tie.

    Entries below `nearest` are listed if they fit: candidate i's are the first
    ``lengths[i]`` distances ``near[i]``, to the examples ``names[i]``.
    """
    near, names, lengths, bounds, seen_at, nearest = state
    sums, n = np.empty(LANES), len(nearest)
    values, columns = np.empty(n + 1, np.float32), np.empty(n + 1, np.int32)
    for at in range(len(candidates)):
        row, i = rows[at], candidates[at]
        sums[:] = 0.0
        for begin in range(0, n, LANES):
            here, old = row[begin : begin + LANES], nearest[begin : begin + LANES]
            for j in range(len(here)):
                sums[j] += max(np.float64(old[j]) - np.float64(here[j]), 0.0)
        bounds[i], seen_at[i], kept = sums.sum(), step, 0
        for j in range(n):
            values[kept], columns[kept] = row[j], j
            kept += int(row[j] < nearest[j])
        if kept <= near.shape[1]:
            lengths[i] = kept
            for j in range(kept):
                near[i, j], names[i, j] = values[j], columns[j]


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
        values, columns, length, kept = near[i], names[i], lengths[i], 0
        if seen_at[i] < step and bound < 0.0:
            sums[:] = 0.0
            for at in range(length):  # what no longer counts leaves the list
                distance, j = values[at], columns[at]
                values[kept], columns[kept] = distance, j
                closer = np.float64(nearest[j]) - np.float64(distance)
                sums[j % LANES] += max(closer, 0.0)
                kept += int(closer > 0.0)
            bounds[i], lengths[i], seen_at[i] = sums.sum(), kept, step
            heapq.heapreplace(heap, (-bounds[i], i))
            continue
        heapq.heappop(heap)
        chosen[step], gains[step], bounds[i] = i, bounds[i], -1.0
        for at in range(length):
            j = columns[at]
            if values[at] < nearest[j]:
                nearest[j], owner[j] = values[at], step
        step += 1
    return step


def room_for_lists(n: int, limit: float) -> Array:
    """Room (n, w), float32, for a list of each candidate, of so many bytes.

    Lists are far apart: of a mapping only the pages that they fill are ever made, where
    NumPy asks for large ones.
    """
    width = max(1, min(n, int(limit / (4 * n))))
    room = np.frombuffer(mmap.mmap(-1, 4 * n * width), np.float32)
    return room.reshape(n, width)


class LazyGreedy(BaseOptimizer):
    """The lazy greedy on rows of distances cut down to short lists.

    Once a few medoids are chosen only few entries of a row can still add to its
    gain: a row that is looked at is cut down to those as soon as they fit into its
    list. Until then it is read or made again when needed, with others that are next.
    """

    def select(self, X: Distances, k: int, sample_cost: Any = None) -> None:
        """Choose k medoids, ties to the lowest index."""
        n, function, guess, n_batch = X.shape[0], self.function, -1, BATCH
        if X.fits:
            room: Any = X.summary and X.stored  # lists lie in the place of the rows
        else:
            room = room_for_lists(n, X.limit)
        half = room.shape[1] // 2
        lists = (room[:, :half], room.view(np.int32)[:, half : 2 * half])
        lengths, bounds, seen_at = np.full(n, -1), np.zeros(n), np.zeros(n, np.int64)
        if not X.fits:
            # While rows are made for their sums: what candidates would gain after
            # the likely first medoid, which saves making all rows once more.
            guess = X.likely_centre()
            ahead = (*lists, lengths, bounds, seen_at, X[guess])
            X.summarise(lambda rows, some: look_at(rows, some, ahead, 1))
        first = function._calculate_gains(X)
        if (best := int(np.argmax(first))) != guess:
            bounds[:], lengths[:], seen_at[:], n_batch = first, -1, 0, n
        function._select_next(X[best], first[best], best)
        bounds[best] = -1.0
        state = (*lists, lengths, bounds, seen_at, function.nearest)
        chosen, gains = np.zeros(k, dtype=np.int64), np.zeros(k)
        while (step := len(function.ranking)) < k:
            best = int(np.argmax(bounds))
            if lengths[best] >= 0:
                end = lazy_greedy(state, function.owner, chosen, gains, step)
                function.ranking += chosen[step:end].tolist()
                function.gains += gains[step:end].tolist()
            elif seen_at[best] == step:
                function._select_next(X[best], bounds[best], best)
                bounds[best] = -1.0
            else:
                stale = np.flatnonzero((lengths < 0) & (seen_at < step) & (bounds >= 0))
                next_ones = stale[np.argsort(-bounds[stale], kind="stable")[:n_batch]]
                X.in_blocks(
                    lambda some: look_at(X.rows(some), some, state, step),
                    np.sort(next_ones),
                )
                n_batch = BATCH


class Sieve(SieveGreedy):
    """apricot's, for streams; where nothing gains the first example is the medoid."""

    def select(self, X: Distances, k: int, sample_cost: Any = None) -> None:
        """Choose at most k medoids."""
        super().select(X, k)
        chosen = self.function.ranking.tolist() or [0]
        self.function._initialize(X)
        for i in chosen:
            gain = self.function._calculate_gains(X, np.array([i]))[0]
            self.function._select_next(X[i], gain, i)


class FacilityLocation(FacilityLocationSelection):
    """apricot's facility location, on distances instead of similarities."""

    def fit(self, X: Distances, y: Any = None, **kwargs: Any) -> FacilityLocation:
        """Choose the medoids of one class: `selection`."""
        self._initialize(X)
        options: dict[str, Any] = {"random_state": self.random_state}
        if self.optimizer == "greedi":
            # apricot's own defaults ask for k <= 8 * min(k // 4, n // 8), which
            # small budgets and budgets near n miss.
            options["m"] = min(8, X.shape[0])
            options["l"] = min(self.n_samples, -(-X.shape[0] // options["m"]))
        optimizers = {**OPTIMIZERS, "lazy": LazyGreedy, "sieve": Sieve}
        optimizers[self.optimizer](self, **options).select(X, self.n_samples)
        arrays = np.array(self.ranking), np.array(self.gains), self.owner
        self.selection = Selection(*arrays, X.summary[2])
        return self

    def _initialize(self, X: Distances) -> None:
        n = X.shape[0]
        self.ranking: Any = []
        self.gains: Any = []
        self.owner = np.zeros(n, dtype=np.int64)
        self.mask, self.idxs = np.zeros(n, dtype=np.int8), np.arange(n)
        self.nearest = np.full(n, np.inf, dtype=np.float32)

    def _calculate_gains(self, X: Distances, idxs: Array | None = None) -> Array:
        idxs = self.idxs if idxs is None else idxs
        if not self.ranking:
            return X.shape[0] * X.summary[1] - X.summary[0][idxs]
        gains = np.empty(X.shape[0])

        def calculate(some: Array) -> None:
            closer = np.subtract(self.nearest, X.rows(some), dtype=np.float64)
            gains[some] = closer.clip(0).sum(axis=1)

        X.in_blocks(calculate, idxs)
        return gains[idxs]

    def _calculate_sieve_gains(self, X: Distances, *given: Any) -> None:
        self._X, self.sparse = np.empty((X.shape[0], 0)), False
        self.calculate_sieve_gains_ = sieve_gains
        similarities = X.summary[1] - X.rows(self.idxs).astype(np.float64)
        super()._calculate_sieve_gains(similarities, *given)

    def _select_next(self, X: Array, gain: float, idx: int) -> None:
        if self.mask[idx]:
            # Where nothing gains any more apricot's queue hands out one example
            # again and again; any other gains as little.
            if len(self.idxs) == 0:
                return
            idx = self.idxs[0]
        closer = self.nearest > X
        self.nearest[closer], self.owner[closer] = X[closer], len(self.ranking)
        self.ranking.append(int(idx))
        self.gains.append(gain)
        self.mask[idx] = 1
        self.idxs = np.flatnonzero(self.mask == 0)
