"""Facility location over one class after another, on apricot."""

from ._facility_location import OPTIMIZER_NAMES, FacilityLocation
from ._find import METRICS, find_medoids
from ._medoids import Medoids

__all__ = ["METRICS", "OPTIMIZER_NAMES", "FacilityLocation", "Medoids", "find_medoids"]
