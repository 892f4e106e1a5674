"""Attacks to try a defence on: on features, on gradients, and by wrong labels."""

from ._augment import RandomShiftFlip
from ._bad_nets import BadNets
from ._bullseye_polytope import BullseyePolytope
from ._convex_polytope import ConvexPolytope
from ._feature_collision import FeatureCollision
from ._gradient_matching import GradientMatching
from ._label_flip import LabelFlip
from ._poisons import BackdoorPoisons, Poisons
from ._sleeper_agent import SleeperAgent
from ._trigger import PatchTrigger

__all__ = [
    "BackdoorPoisons",
    "BadNets",
    "BullseyePolytope",
    "ConvexPolytope",
    "FeatureCollision",
    "GradientMatching",
    "LabelFlip",
    "PatchTrigger",
    "Poisons",
    "RandomShiftFlip",
    "SleeperAgent",
]
