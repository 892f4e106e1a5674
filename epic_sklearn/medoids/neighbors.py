"""Nearest neighbours: those inside each class, and the votes of those of all."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors
from tqdm import tqdm

from .distances import MAX_CLASS_SIZE, Array, directions, memory_limit

SMALL = 48  # among so few rows scikit-learn's checks take longer than the search
N_TREES = 4  # in each, an example is compared with those of its cell
N_FEW = 256  # examples among which the far end of a line is chosen


def nearest_neighbors(
    features: Array,
    codes: Array,
    k: int,
    *,
    max_class_size: int | None = MAX_CLASS_SIZE,
    seed: int = 0,
    verbose: int = 0,
) -> tuple[Array, Array]:
    """Find the k nearest others of each example's class: distances (n, k) and whose.

    Distances are those of rows scaled to length 1, from near to far; infinite and -1
    where the class, by `codes` (n,), has fewer others. By brute force, scikit-learn's
    for large classes, from products in double precision: copies are up to 1e-7 apart.

    In classes above `max_class_size` the result is approximate, distances never too
    small: neighbours are looked for in the cells of four random projection trees
    (Dasgupta and Freund, 2008) of at most a quarter of this size, drawn by `seed`.
    None: always exact. Above 0, `verbose` shows a progress bar.
    """
    distances = np.full((len(codes), k), np.inf)
    neighbors = np.full((len(codes), k), -1)
    order = np.argsort(codes, kind="stable")
    bar = tqdm(total=len(codes), desc="neighbours", unit="row", disable=not verbose)
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        points, cells = directions([features[rows]])[0], [np.arange(len(rows))]
        if max_class_size and len(rows) > max_class_size:
            cell_size = max(max_class_size // N_TREES, 2 * k + 2)
            rng = np.random.RandomState(seed)
            points = points.astype(np.float32, copy=False)
            trees = (cells_of(points, cells[0], cell_size, rng) for _ in range(N_TREES))
            cells = [cell for tree in trees for cell in tree]
        share = len(rows) / sum(map(len, cells))
        for cell in cells:
            at = rows[cell]
            near, who = within(points[cell], k)
            seen = (at[who][:, :, None] == neighbors[at][:, None]).any(axis=2)
            near = np.hstack([distances[at], np.where(seen, np.inf, near)])
            who = np.hstack([neighbors[at], at[who]])
            first = np.argsort(near, axis=1, kind="stable")[:, :k]
            distances[at] = np.take_along_axis(near, first, axis=1)
            neighbors[at] = np.take_along_axis(who, first, axis=1)
            bar.update(len(at) * share)
    bar.close()
    return distances, neighbors


def cells_of(
    points: Array, rows: Array, size: int, rng: np.random.RandomState
) -> list[Array]:
    """Split rows in halves until they are small: near ones mostly stay together.

    Each time by the place on the line through one row and that of a few which is
    farthest from it.
    """
    if len(rows) <= size:
        return [rows]
    few = points[rng.choice(rows, N_FEW)]
    line = few[np.argmax(((few - few[0]) ** 2).sum(axis=1))] - few[0]
    order = rows[np.argpartition(points[rows] @ line, half := len(rows) // 2)]
    return [
        cell
        for part in (order[:half], order[half:])
        for cell in cells_of(points, part, size, rng)
    ]


def within(points: Array, k: int) -> tuple[Array, Array]:
    """Distances to the k neighbours inside one cell, or to all, and their places."""
    k = min(k, len(points) - 1)
    if len(points) > SMALL:
        with config_context(assume_finite=True, skip_parameter_validation=True):
            search = NearestNeighbors(n_neighbors=k, algorithm="brute")
            return search.fit(points.astype(np.float32, copy=False)).kneighbors()
    away = cdist(points, points)
    np.fill_diagonal(away, np.inf)
    first = np.argsort(away, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(away, first, axis=1), first


class Voters:
    """Those among whom neighbours are looked for, all of the points or some."""

    def __init__(self, points: Array, voters: Array) -> None:
        self.points, self.voters = points, voters
        self.mean = points.mean(axis=0)  # far from 0 digits are lost
        self.others = (points[voters] - self.mean).T
        self.of_others = np.square(self.others).sum(axis=0)
        # What products may miss a squared distance by: what is as near is as near.
        self.eps = 1e-12 if points.dtype == np.float64 else 4e-6

    def nearest(self, rows: Array, k: int) -> tuple[Array, Array]:
        """Which voters (r, v) are nearer to some rows than the k-th, and as near."""
        some = self.points[rows] - self.mean
        norms = np.square(some).sum(axis=1, keepdims=True)
        away = (-2 * some) @ self.others
        away += norms
        away += self.of_others
        rounding = self.eps * (norms + self.of_others)
        away[rows[:, None] == self.voters] = np.inf
        away -= np.partition(away, k - 1, axis=1)[:, [k - 1]]
        return away < -rounding, np.abs(away) <= rounding


def neighbor_votes(
    points: Array,
    codes: Array,
    k: Array,
    voters: Array | None = None,
    *,
    in_single: bool = False,
) -> tuple[Array, Array]:
    """Count the votes (n,) of each row's k nearest others, by Euclidean distance.

    Of those for the row's own class, and for the other class that has most. `k` (n,) is
    below the number of voters, which are all rows or some; where it is 0 there are no
    votes. Those that are as near as the k-th share what is left: ties have no order.

    `in_single` looks in single precision first, and again where that cannot tell many
    apart: in a few groups that lie far from each other.
    """
    voters = np.arange(len(codes)) if voters is None else voters
    labels, n_classes = codes[voters], int(codes.max()) + 1
    looked_at = points.astype(np.float32, copy=False) if in_single else points
    first, exact = Voters(looked_at, voters), None
    # Beside a block of distances stand what is compared with them.
    n_held = memory_limit() / (8 * looked_at.itemsize)
    own, other = np.zeros((2, len(codes)))
    for size in np.unique(k[k > 0]):
        of_size = np.flatnonzero(k == size)
        n_rows = max(1, min(128, int(n_held / max(len(voters), n_classes))))
        for rows in np.split(of_size, range(n_rows, len(of_size), n_rows)):
            near, tied = first.nearest(rows, size)
            again = in_single & (tied.sum(axis=1) > 1 + size // 10)
            if again.any():
                exact = exact or Voters(points.astype(np.float64), voters)
                near[again], tied[again] = exact.nearest(rows[again], size)
            shares = (size - near.sum(axis=1)) / tied.sum(axis=1)
            row, at = np.nonzero(near | tied)
            votes = np.where(near[row, at], 1.0, shares[row])
            places = row * n_classes + labels[at]
            found = np.bincount(places, votes, len(rows) * n_classes)
            found = found.reshape(len(rows), n_classes)
            here = np.arange(len(rows)), codes[rows]
            own[rows], found[here] = found[here], 0.0
            other[rows] = found.max(axis=1)
    return own, other
