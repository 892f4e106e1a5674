"""Find and drop poisoned training examples while a model trains."""

from ._features import OuterProductGradients
from .filter import EPICFilter, EPICResampler, FilteredClassifier
from .gradients import (
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    PrecomputedGradients,
    logit_gradients,
)
from .isolation import flag_isolated, isolation_score
from .medoids import Medoids, find_medoids

__all__ = [
    "EPICFilter",
    "EPICResampler",
    "FilteredClassifier",
    "LastLayerGradients",
    "LastLayerInputGradients",
    "LogitGradients",
    "Medoids",
    "OuterProductGradients",
    "PrecomputedGradients",
    "find_medoids",
    "flag_isolated",
    "isolation_score",
    "logit_gradients",
]
