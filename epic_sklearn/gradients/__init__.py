"""What an example's gradient is, and how models give it."""

from .extractors import (
    GradientExtractor,
    LastLayerGradients,
    LastLayerInputGradients,
    LogitGradients,
    PrecomputedGradients,
    logit_gradients,
)
from .features import Gradients, OuterProductGradients, check_gradients

__all__ = [
    "GradientExtractor",
    "Gradients",
    "LastLayerGradients",
    "LastLayerInputGradients",
    "LogitGradients",
    "OuterProductGradients",
    "PrecomputedGradients",
    "check_gradients",
    "logit_gradients",
]
