"""Attacks to try a defence on: on features, on gradients, and by wrong labels."""

from .feature_collision import FeatureCollision
from .gradient_matching import GradientMatching
from .look_alikes import LookAlikes
from .poisons import BackdoorPoisons, PatchTrigger, Poisons
from .polytopes import BullseyePolytope, ConvexPolytope
from .random_shift_flip import RandomShiftFlip
from .report import attack_report
from .sleeper_agent import SleeperAgent
from .trials import AttackReport, AttackTrials
from .wrong_labels import BadNets, LabelFlip

__all__ = [
    "AttackReport",
    "AttackTrials",
    "BackdoorPoisons",
    "BadNets",
    "BullseyePolytope",
    "ConvexPolytope",
    "FeatureCollision",
    "GradientMatching",
    "LabelFlip",
    "LookAlikes",
    "PatchTrigger",
    "Poisons",
    "RandomShiftFlip",
    "SleeperAgent",
    "attack_report",
]
