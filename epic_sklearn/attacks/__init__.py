"""Attacks to try a defence on: on features, on gradients, and by wrong labels."""

from .bad_nets import BadNets
from .bullseye_polytope import BullseyePolytope
from .convex_polytope import ConvexPolytope
from .feature_collision import FeatureCollision
from .gradient_matching import GradientMatching
from .label_flip import LabelFlip
from .poisons import BackdoorPoisons, PatchTrigger, Poisons
from .random_shift_flip import RandomShiftFlip
from .sleeper_agent import SleeperAgent

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
