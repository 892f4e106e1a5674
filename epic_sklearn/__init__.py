"""Find and drop poisoned training examples while a model trains."""

from importlib.metadata import version

from . import attacks, baselines, datasets
from ._features import OuterProductGradients
from ._rounds import Round
from .filter import EPICFilter
from .filtered_classifier import FilteredClassifier
from .gradients import (
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    PrecomputedGradients,
    logit_gradients,
)
from .isolation import flag_isolated, isolation_score
from .medoids import Medoids, find_medoids
from .metrics import (
    attack_success_rate,
    clean_retention,
    make_attack_success_scorer,
    poison_recall,
)
from .plotting import (
    ClusterSizeDisplay,
    DropHistoryDisplay,
    GradientSpaceDisplay,
    TradeoffDisplay,
)
from .resampler import EPICResampler
from .schedule import DropSchedule
from .training import (
    EPICCallback,
    EPICClassifier,
    EPICSubsetSampler,
    TorchClassifier,
)

__version__ = version("epic-sklearn")

__all__ = [
    "ClusterSizeDisplay",
    "DropHistoryDisplay",
    "DropSchedule",
    "EPICCallback",
    "EPICClassifier",
    "EPICFilter",
    "EPICResampler",
    "EPICSubsetSampler",
    "FilteredClassifier",
    "GradientSpaceDisplay",
    "LastLayerGradients",
    "LastLayerInputGradients",
    "LogitGradients",
    "Medoids",
    "OuterProductGradients",
    "PrecomputedGradients",
    "Round",
    "TorchClassifier",
    "TradeoffDisplay",
    "attack_success_rate",
    "attacks",
    "baselines",
    "clean_retention",
    "datasets",
    "find_medoids",
    "flag_isolated",
    "isolation_score",
    "logit_gradients",
    "make_attack_success_scorer",
    "poison_recall",
]
