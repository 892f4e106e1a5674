"""Nearest neighbours inside each class."""

from __future__ import annotations

import numpy as np
import torch

from ..gradients.features import Gradients
from .distances import (
    MAX_CLASS_SIZE,
    Array,
    Distances,
    compiled,
    distances_between,
)

STRIDE = 64  # entries looked at together: mostly none of them is near
N_TREES = 4  # in each, an example is compared with those of its cell
N_FEW = 256  # examples among which the far end of a line is chosen


@compiled
def nearest_of_rows(block: Array, rows: Array, near: Array, who: Array) -> None:
    """Fill `near` (r, k) with the k smallest of each row (r, n), its own apart.

    And `who` with their places in the row.
    """
    last = near.shape[1] - 1
    for at in range(len(rows)):
        line, kept = block[at], near[at]
        line[rows[at]], kept[:], who[at] = np.inf, np.inf, -1
        for begin in range(0, len(line), STRIDE):
            part, limit, n_near = line[begin : begin + STRIDE], kept[last], 0
            for j in range(len(part)):
                n_near += int(part[j] < limit)
            for j in range(len(part) if n_near else 0):
                place = last
                if part[j] < kept[last]:
                    while place and kept[place - 1] > part[j]:
                        kept[place] = kept[place - 1]
                        who[at, place] = who[at, place - 1]
                        place -= 1
                    kept[place], who[at, place] = part[j], begin + j


def nearest_neighbors(
    gradients: Gradients,
    codes: Array,
    k: int,
    *,
    metric: str = "euclidean",
    max_class_size: int | None = MAX_CLASS_SIZE,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Find the k nearest others of each example's class.

    Parameters
    ----------
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Finite.
    codes : ndarray of shape (n,), int
        Class of each example: 0, 1, ...
    k : int
        How many.
    metric : {"euclidean", "cosine"}, default="euclidean"
        See :func:`epic_sklearn.find_medoids`; a cosine distance is half the
        squared distance of directions.
    max_class_size : int or None, default=20_000
        In larger classes the result is approximate, distances never too small:
        neighbours are looked for in the cells of four random projection trees
        (Dasgupta and Freund, 2008) of at most a quarter of this size. None: always
        exact.
    seed : int, default=0
        For the trees.

    Returns
    -------
    distances : ndarray of shape (n, k), float64
        From near to far; infinite where the class has fewer others.
    neighbors : ndarray of shape (n, k), int
        Whose they are; -1 where the class has fewer others.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.medoids import nearest_neighbors
    >>> gradients = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> distances, neighbors = nearest_neighbors(gradients, np.array([0, 0, 0, 1]), 2)
    >>> distances
    array([[ 1.,  3.],
           [ 1.,  2.],
           [ 2.,  3.],
           [inf, inf]])
    >>> neighbors
    array([[ 1,  2],
           [ 0,  2],
           [ 1,  0],
           [-1, -1]])
    """
    distances = np.full((len(codes), k), np.inf)
    neighbors = np.full((len(codes), k), -1)
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        cells = [rows] if len(rows) > 1 else []
        if max_class_size and len(rows) > max_class_size:
            size = max(max_class_size // N_TREES, 2 * k + 2)
            rng = np.random.RandomState(seed)
            cells = []
            for _ in range(N_TREES):
                cells += cells_of(gradients, rows, metric, size, rng)
        for cell in cells:
            inside = gradients if len(cell) == len(codes) else gradients[cell]
            near, who = within(Distances(inside, metric, torch.get_num_threads()), k)
            who = np.where(who < 0, -1, cell[who])
            if len(cells) > 1:
                seen = (who[:, :, None] == neighbors[cell][:, None]).any(axis=2)
                near = np.hstack([distances[cell], np.where(seen, np.inf, near)])
                who = np.hstack([neighbors[cell], who])
                first = np.argsort(near, axis=1, kind="stable")[:, :k]
                near = np.take_along_axis(near, first, axis=1)
                who = np.take_along_axis(who, first, axis=1)
            distances[cell], neighbors[cell] = near, who
    return distances, neighbors


def cells_of(
    gradients: Gradients,
    rows: Array,
    metric: str,
    size: int,
    rng: np.random.RandomState,
) -> list[Array]:
    """Split rows in halves until they are small: near ones mostly stay together.

    Each time along the line through a row and the one of a few that is farthest
    from it, on which the difference of squared distances to the two is the place.
    """
    if len(rows) <= size:
        return [rows]
    few = rng.choice(rows, N_FEW)
    farthest = int(distances_between(gradients, few[:1], few, metric).argmax())
    pair = few[[0, farthest]]
    places = []
    for start in range(0, len(rows), MAX_CLASS_SIZE):
        some = rows[start : start + MAX_CLASS_SIZE]
        away = distances_between(gradients, pair, some, metric)
        # Cosine distances are half squared ones of directions.
        places.append(-np.diff(away if metric == "cosine" else away**2, axis=0)[0])
    order = np.argpartition(np.concatenate(places), half := len(rows) // 2)
    halves = np.sort(rows[order[:half]]), np.sort(rows[order[half:]])
    return [
        cell for part in halves for cell in cells_of(gradients, part, metric, size, rng)
    ]


def within(distances: Distances, k: int) -> tuple[Array, Array]:
    """Distances (n, k) to neighbours inside one class, and their places."""
    n = distances.shape[0]
    near, who = np.empty((n, k), dtype=np.float32), np.empty((n, k), dtype=np.int64)

    def keep(rows: Array) -> None:
        some, places = near[rows], who[rows]
        nearest_of_rows(distances.rows(rows), rows, some, places)
        near[rows], who[rows] = some, places

    distances.in_blocks(keep, np.arange(n))
    return np.ldexp(near.astype(np.float64), distances.exponent), who
