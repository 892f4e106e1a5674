"""Nearest neighbours inside each class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn import config_context
from sklearn.neighbors import NearestNeighbors

from .distances import MAX_CLASS_SIZE, Array, Points, directions

N_TREES = 4  # in each, an example is compared with those of its cell
SMALL = 64  # classes of so few rows of one size are searched at once
STACK_ROWS = 4096  # of them at a time
N_FEW = 256  # examples among which the far end of a line is chosen


def nearest_neighbors(
    features: Array,
    codes: Array,
    k: int,
    *,
    metric: str = "euclidean",
    max_class_size: int | None = MAX_CLASS_SIZE,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Find the k nearest others of each example's class: distances (n, k) and whose.

    From near to far; infinite and -1 where the class, by `codes` (n,), has fewer
    others. `metric` as in :func:`epic_sklearn.find_medoids`: a cosine distance is half
    the squared one of directions. By scikit-learn's brute force, from products in
    double precision: copies are up to 1e-7 of their length apart.

    In classes above `max_class_size` the result is approximate, distances never too
    small: neighbours are looked for in the cells of four random projection trees
    (Dasgupta and Freund, 2008) of at most a quarter of this size, drawn by `seed`.
    None: always exact.

    Examples
    --------
    >>> import numpy as np
    >>> from epic_sklearn.medoids import nearest_neighbors
    >>> features = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> distances, neighbors = nearest_neighbors(features, np.array([0, 0, 0, 1]), 2)
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
    for classes in stacks_of(codes, min(SMALL, max_class_size or SMALL)):
        rows, size = classes.ravel(), classes.shape[1]
        points, exponent, cells = features[rows], 0, [np.arange(len(rows))]
        if metric == "cosine":
            points = directions([points])[0]
        if len(classes) == 1:
            scaled = Points(points)
            points, exponent = scaled.points, scaled.exponent
        if max_class_size and size > max_class_size:
            cell_size = max(max_class_size // N_TREES, 2 * k + 2)
            rng = np.random.RandomState(seed)
            trees = (cells_of(points, cells[0], cell_size, rng) for _ in range(N_TREES))
            cells = [cell for tree in trees for cell in tree]
        for cell in cells:
            at = rows[cell]
            near, who = within(points[cell], min(size, len(cell)), k)
            near, who = np.ldexp(near, exponent), at[who]
            seen = (who[:, :, None] == neighbors[at][:, None]).any(axis=2)
            near = np.hstack([distances[at], np.where(seen, np.inf, near)])
            who = np.hstack([neighbors[at], who])
            first = np.argsort(near, axis=1, kind="stable")[:, :k]
            distances[at] = np.take_along_axis(near, first, axis=1)
            neighbors[at] = np.take_along_axis(who, first, axis=1)
    return distances**2 / 2 if metric == "cosine" else distances, neighbors


def stacks_of(codes: Array, small: int) -> Iterator[Array]:
    """Rows (c, s) of each class, small ones of one size together."""
    sizes = np.bincount(codes)[codes]
    order = np.lexsort((codes, sizes))
    for rows in np.split(order, np.flatnonzero(np.diff(sizes[order])) + 1):
        classes = rows.reshape(-1, sizes[rows[0]])
        together = (
            max(1, STACK_ROWS // len(classes[0])) if len(classes[0]) <= small else 1
        )
        yield from np.split(classes, range(together, len(classes), together))


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


def within(points: Array, size: int, k: int) -> tuple[Array, Array]:
    """Distances to k neighbours, or all, inside each `size` rows, and their places."""
    k = min(k, size - 1)
    if size > SMALL:
        with config_context(assume_finite=True, skip_parameter_validation=True):
            search = NearestNeighbors(n_neighbors=k, algorithm="brute")
            return search.fit(points).kneighbors()
    # scikit-learn's checks take longer than so few rows.
    points = points.reshape(-1, size, points.shape[1]).astype(np.float64)
    points -= points.mean(axis=1, keepdims=True)
    squares = -2 * points @ points.swapaxes(1, 2)
    own = np.arange(size)
    norms = squares[:, own, own] / -2
    squares += norms[:, :, None] + norms[:, None]
    squares[:, own, own] = np.inf
    first = np.argsort(squares, axis=2, kind="stable")[:, :, :k]
    near = np.sqrt(np.take_along_axis(squares, first, axis=2).clip(0))
    first += size * np.arange(len(points))[:, None, None]
    return np.concatenate(near), np.concatenate(first)
