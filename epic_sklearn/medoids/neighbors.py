"""Distances to near neighbours inside each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

from .distances import MAX_CLASS_SIZE, Array, Points, directions

N_TREES = 4  # in each, an example is compared with those of its cell
N_FEW = 256  # examples among which the far end of a line is chosen


def neighbor_distances(
    features: Array,
    codes: Array,
    ranks: Sequence[int],
    *,
    metric: str = "euclidean",
    max_class_size: int | None = MAX_CLASS_SIZE,
    seed: int = 0,
) -> Array:
    """Distances (n, len(ranks)) of each example to its k-th nearest others.

    Others of its class, `codes` (n,), for each k in `ranks`; infinite in classes of at
    most k examples. `metric` as in :func:`epic_sklearn.find_medoids`: a cosine distance
    is half the squared one of directions. By scikit-learn's brute force, from products
    in double precision: copies are up to 1e-7 of their length apart.

    In classes above `max_class_size` distances are approximate, never too small:
    neighbours are looked for in the cells of four random projection trees (Dasgupta and
    Freund, 2008) of at most a quarter of this size, drawn by `seed`. None: in no class.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.medoids import neighbor_distances
    >>> features = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> neighbor_distances(features, np.array([0, 0, 0, 1]), ranks=(1, 2))
    array([[ 1.,  3.],
           [ 1.,  2.],
           [ 2.,  3.],
           [inf, inf]])
    """
    found = np.full((len(codes), len(ranks)), np.inf)
    order = np.argsort(codes, kind="stable")
    size = max((max_class_size or 0) // N_TREES, 2 * max(ranks) + 2)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
            inside = features[rows]
            scaled = Points(directions([inside])[0] if metric == "cosine" else inside)
            points, cells = scaled.points, [np.arange(len(rows))]
            if max_class_size and len(rows) > max_class_size:
                rng = np.random.RandomState(seed)
                trees = (cells_of(points, cells[0], size, rng) for _ in range(N_TREES))
                cells = [cell for tree in trees for cell in tree]
            for cell in cells:
                near = np.ldexp(within(points[cell], ranks), scaled.exponent)
                found[rows[cell]] = np.minimum(found[rows[cell]], near)
    return found**2 / 2 if metric == "cosine" else found


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


def within(points: Array, ranks: Sequence[int]) -> Array:
    """Distances (n, len(ranks)) to neighbours inside one cell."""
    found = np.full((len(points), max(ranks)), np.inf)
    if (k := min(max(ranks), len(points) - 1)) > 0:
        search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points)
        found[:, :k] = search.kneighbors()[0]
    return found[:, np.asarray(ranks) - 1]
