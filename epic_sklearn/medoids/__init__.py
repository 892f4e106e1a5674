"""Facility location over one class after another, on apricot."""

import numpy as np

from ._distances import Distances
from ._facility_location import OPTIMIZER_NAMES, FacilityLocation
from ._find import METRICS, budget_of, find_medoids, find_medoids_within
from ._medoids import Medoids


def distances_between(gradients, rows, columns, metric):
    """Temporary."""
    both = np.concatenate([rows, columns])
    d = Distances(gradients[both], metric, max_bytes=0)
    return np.vstack([d[i][len(rows) :] for i in range(len(rows))])


__all__ = [
    "METRICS",
    "OPTIMIZER_NAMES",
    "FacilityLocation",
    "Medoids",
    "budget_of",
    "distances_between",
    "find_medoids",
    "find_medoids_within",
]
