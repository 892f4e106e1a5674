"""Attacks to try a defence on: on features, on gradients, and on the data alone."""

from .base import Attack
from .data_alone import BadNets, LabelFlip, LookAlikes
from .features import BullseyePolytope, FeatureCollision
from .gradient_matching import GradientMatching
from .poisons import BackdoorPoisons, PatchTrigger, Poisons
from .random_shift_flip import RandomShiftFlip
from .report import attack_report
from .sleeper_agent import SleeperAgent
from .trials import AttackReport, AttackTrials

__all__ = [
    "Attack",
    "AttackReport",
    "AttackTrials",
    "BackdoorPoisons",
    "BadNets",
    "BullseyePolytope",
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
