"""Facility location over one class after another, on apricot."""

from ._facility_location import OPTIMIZER_NAMES, FacilityLocation
from ._find import METRICS, Medoids, find_medoids

__all__ = ["METRICS", "OPTIMIZER_NAMES", "FacilityLocation", "Medoids", "find_medoids"]
