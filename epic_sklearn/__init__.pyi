from . import attacks, datasets, gradients, metrics, plotting, rules, training
from .attacks import attack_report
from .filtered_classifier import FilteredClassifier
from .filters import EPICFilter, EPICResampler
from .gradients import (
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    OuterProductGradients,
    PrecomputedGradients,
    logit_gradients,
)
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
    TraceDisplay,
    TradeoffDisplay,
)
from .rules import flag_isolated, isolation_score
from .schedule import DropSchedule, Round
from .tracing import Trace, trace
from .training import (
    EPICCallback,
    EPICClassifier,
    EPICSubsetSampler,
    RememberStates,
    TorchClassifier,
)

__version__: str
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
    "RememberStates",
    "Round",
    "TorchClassifier",
    "Trace",
    "TraceDisplay",
    "TradeoffDisplay",
    "attack_report",
    "attack_success_rate",
    "attacks",
    "clean_retention",
    "datasets",
    "find_medoids",
    "flag_isolated",
    "gradients",
    "isolation_score",
    "logit_gradients",
    "make_attack_success_scorer",
    "metrics",
    "plotting",
    "poison_recall",
    "rules",
    "trace",
    "training",
]
