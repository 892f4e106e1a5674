"""Find and drop poisoned training examples while a model trains."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import attacks, baselines, datasets
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
    from .gradients.features import OuterProductGradients
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

# Where names live. They are imported when first asked for: the command line's help
# and a wrong option need neither torch nor scikit-learn, which take seconds.
_NAMES: dict[str, list[str]] = {
    "_rounds": ["Round"],
    "filter": ["EPICFilter"],
    "filtered_classifier": ["FilteredClassifier"],
    "gradients": [
        "OuterProductGradients",
        "LastLayerGradients",
        "LastLayerInputGradients",
        "LogitGradients",
        "PrecomputedGradients",
        "logit_gradients",
    ],
    "isolation": ["flag_isolated", "isolation_score"],
    "medoids": ["Medoids", "find_medoids"],
    "metrics": [
        "attack_success_rate",
        "clean_retention",
        "make_attack_success_scorer",
        "poison_recall",
    ],
    "plotting": [
        "ClusterSizeDisplay",
        "DropHistoryDisplay",
        "GradientSpaceDisplay",
        "TradeoffDisplay",
    ],
    "resampler": ["EPICResampler"],
    "schedule": ["DropSchedule"],
    "training": [
        "EPICCallback",
        "EPICClassifier",
        "EPICSubsetSampler",
        "TorchClassifier",
    ],
    "attacks": [],
    "baselines": [],
    "datasets": [],
}
_PLACES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return import_module(f".{name}", __name__)
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_NAMES})


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
