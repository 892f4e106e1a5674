"""Distances to near neighbours inside each class."""

from __future__ import annotations

from collections.abc import Sequence

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
def nearest_of_rows(block: Array, rows: Array, out: Array) -> None:
    """Fill `out` (r, k) with the k smallest of each row (r, n), its own apart."""
    last = out.shape[1] - 1
    for at in range(len(rows)):
        line, kept = block[at], out[at]
        line[rows[at]], kept[:] = np.inf, np.inf
        for begin in range(0, len(line), STRIDE):
            part, limit, n_near = line[begin : begin + STRIDE], kept[last], 0
            for j in range(len(part)):
                n_near += int(part[j] < limit)
            for j in range(len(part) if n_near else 0):
                place = last
                if part[j] < kept[last]:
                    while place and kept[place - 1] > part[j]:
                        kept[place] = kept[place - 1]
                        place -= 1
                    kept[place] = part[j]


def neighbor_distances(
    gradients: Gradients,
    codes: Array,
    ranks: Sequence[int],
    *,
    metric: str = "euclidean",
    max_class_size: int | None = MAX_CLASS_SIZE,
    seed: int = 0,
) -> Array:
    """Distance of each example to its k-th nearest other of its class.

    Parameters
    ----------
    gradients : ndarray of shape (n, d) or OuterProductGradients
        Finite.
    codes : ndarray of shape (n,), int
        Class of each example: 0, 1, ...
    ranks : sequence of int
        The k wanted, from 1 on.
    metric : {"euclidean", "cosine"}, default="euclidean"
        See :func:`epic_sklearn.find_medoids`; a cosine distance is half the
        squared distance of directions.
    max_class_size : int or None, default=20_000
        In larger classes distances are approximate, never too small: neighbours
        are looked for in the cells of four random projection trees (Dasgupta and
        Freund, 2008) of at most a quarter of this size. None: always exact.
    seed : int, default=0
        For the trees.

    Returns
    -------
    ndarray of shape (n, len(ranks)), float64
        Infinite in classes of at most k examples.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.medoids import neighbor_distances
    >>> gradients = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> neighbor_distances(gradients, np.array([0, 0, 0, 1]), ranks=(1, 2))
    array([[ 1.,  3.],
           [ 1.,  2.],
           [ 2.,  3.],
           [inf, inf]])
    """
    found = np.full((len(codes), len(ranks)), np.inf)
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        cells = [rows] if len(rows) > min(ranks) else []
        if max_class_size and len(rows) > max_class_size:
            size = max(max_class_size // N_TREES, 2 * max(ranks) + 2)
            rng = np.random.RandomState(seed)
            cells = []
            for _ in range(N_TREES):
                cells += cells_of(gradients, rows, metric, size, rng)
        for cell in cells:
            inside = gradients if len(cell) == len(codes) else gradients[cell]
            distances = Distances(inside, metric, torch.get_num_threads())
            found[cell] = np.minimum(found[cell], within(distances, ranks))
    return found


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


def within(distances: Distances, ranks: Sequence[int]) -> Array:
    """Distances (n, len(ranks)) to neighbours inside one class."""
    kept = np.empty((distances.shape[0], max(ranks)), dtype=np.float32)

    def keep(rows: Array) -> None:
        nearest_of_rows(distances.rows(rows), rows, near := kept[rows])
        kept[rows] = near

    distances.in_blocks(keep, np.arange(len(kept)))
    wanted = kept[:, np.asarray(ranks) - 1].astype(np.float64)
    return np.ldexp(wanted, distances.exponent)
