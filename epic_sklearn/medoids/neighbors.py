"""Distances to near neighbours inside each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..gradients.features import Gradients
from .distances import Array, Distances, compiled

STRIDE = 64  # entries looked at together: mostly none of them is near


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
    metric: str = "euclidean",
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
    found = np.empty((len(codes), len(ranks)))
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        inside = gradients if len(rows) == len(codes) else gradients[rows]
        found[rows] = within(Distances(inside, metric, torch.get_num_threads()), ranks)
    return found


def within(distances: Distances, ranks: Sequence[int]) -> Array:
    """Distances (n, len(ranks)) to neighbours inside one class."""
    kept = np.empty((distances.shape[0], max(ranks)), dtype=np.float32)

    def keep(rows: Array) -> None:
        nearest_of_rows(distances.rows(rows), rows, near := kept[rows])
        kept[rows] = near

    distances.in_blocks(keep, np.arange(len(kept)))
    wanted = kept[:, np.asarray(ranks) - 1].astype(np.float64)
    return np.ldexp(wanted, distances.exponent)
