"""What medoids there are: of one class, with their clusters, and of all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import _kernels
from ._distances import Distances
from ._facility_location import FacilityLocation
from ._layout import fill_blocks


@dataclass(frozen=True)
class Medoids:
    """Medoids of each class and the clusters around them.

    Returned by :func:`find_medoids`. n is the number of examples, m that of
    medoids.

    Attributes
    ----------
    indices : ndarray of shape (m,), int64
        Row numbers of the medoids, class by class, in order of selection.
    gains : ndarray of shape (m,), float64
        What each added to its class's facility-location function. Gradient
        distances are scaled inside a class, so gains compare only within one.
    assigned_to : ndarray of shape (n,), int64
        Row number of each row's own medoid: the nearest, and of equally near
        ones the first chosen.
    cluster_size : ndarray of shape (n,), int64
        Size of the cluster that each row is in, its medoid included.
    gap : ndarray of shape (n,), float64
        Distance to the nearest other example of the class, relative to the
        median of that distance over the class's examples that have no double.
    """

    indices: np.ndarray
    gains: np.ndarray
    assigned_to: np.ndarray
    cluster_size: np.ndarray
    gap: np.ndarray


def from_lazy(
    distances: Distances,
    indices: np.ndarray,
    gains: np.ndarray,
    selection: FacilityLocation,
) -> Medoids:
    """Clusters as the lazy greedy left them, in the class's own order."""
    owner = np.empty(len(distances.order), dtype=np.int64)
    nearest_other = np.empty(len(owner), dtype=np.float32)
    owner[distances.order] = selection.owner
    nearest_other[distances.order] = selection.nearest_other
    return with_sizes(indices, gains, owner, nearest_other)


def with_clusters(
    distances: Distances, indices: np.ndarray, gains: np.ndarray
) -> Medoids:
    """Assign every example of the class to its nearest medoid."""
    n = distances.shape[0]
    nearest = fill_blocks(np.full(n, np.inf, dtype=np.float32), -1.0)
    owner = np.zeros(nearest.shape, dtype=np.int64)
    _kernels.assign(distances.source, indices, nearest, owner)
    nearest_other = distances.statistics[2]
    return with_sizes(indices, gains, owner.ravel()[:n], nearest_other)


def with_sizes(
    indices: np.ndarray,
    gains: np.ndarray,
    owner: np.ndarray,
    nearest_other: np.ndarray,
) -> Medoids:
    """Medoids of a class from each example's medoid, by its place in `indices`."""
    sizes = np.bincount(owner, minlength=len(indices))
    gap = _relative_gap(nearest_other)
    return Medoids(indices, gains, indices[owner], sizes[owner], gap)


def _relative_gap(nearest_other: np.ndarray) -> np.ndarray:
    """Distance to the nearest other example, over its median in the class."""
    if len(nearest_other) == 1:
        return np.zeros(1)
    gap = nearest_other.astype(np.float64)
    positive = gap[gap > 0]
    return gap / np.median(positive) if len(positive) else gap


def join_classes(classes: list[np.ndarray], parts: list[Medoids]) -> Medoids:
    """Put the classes' results together under the row numbers of the whole."""
    n = sum(len(rows) for rows in classes)
    assigned_to = np.empty(n, dtype=np.int64)
    cluster_size = np.empty(n, dtype=np.int64)
    gap = np.empty(n)
    for rows, part in zip(classes, parts, strict=True):
        assigned_to[rows] = rows[part.assigned_to]
        cluster_size[rows] = part.cluster_size
        gap[rows] = part.gap
    indices = np.concatenate(
        [rows[part.indices] for rows, part in zip(classes, parts, strict=True)]
    )
    gains = np.concatenate([part.gains for part in parts])
    return Medoids(indices, gains, assigned_to, cluster_size, gap)
