"""Attacks to try a defence on: clean-label poisons against transfer learning."""

from epic_sklearn.attacks._base import Poisons
from epic_sklearn.attacks._bullseye_polytope import BullseyePolytope
from epic_sklearn.attacks._feature_collision import FeatureCollision

__all__ = ["BullseyePolytope", "FeatureCollision", "Poisons"]
