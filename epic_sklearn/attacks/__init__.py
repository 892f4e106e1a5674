"""Attacks to try a defence on: on features, on gradients, and by wrong labels."""

from .feature_collision import FeatureCollision
from .gradient_matching import GradientMatching
from .poisons import BackdoorPoisons, PatchTrigger, Poisons
from .polytopes import BullseyePolytope, ConvexPolytope
from .random_shift_flip import RandomShiftFlip
from .sleeper_agent import SleeperAgent
from .wrong_labels import BadNets, LabelFlip

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
