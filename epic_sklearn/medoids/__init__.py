"""Facility location over one class after another, on apricot."""

from .distances import MAX_CLASS_SIZE, METRICS, directions, distances_between
from .find import (
    SIZE,
    Medoids,
    approximate,
    budget_of,
    find_medoids,
    find_medoids_within,
)
from .greedy import OPTIMIZER_NAMES
from .neighbors import nearest_neighbors, neighbor_votes

__all__ = [
    "MAX_CLASS_SIZE",
    "METRICS",
    "OPTIMIZER_NAMES",
    "SIZE",
    "Medoids",
    "approximate",
    "budget_of",
    "directions",
    "distances_between",
    "find_medoids",
    "find_medoids_within",
    "nearest_neighbors",
    "neighbor_votes",
]
